"""Renting a machine so that it cannot be lost: reserved, written down, created once, watched until it answers.

The order is the point: money reserved → guard ready → intent on disk → create call → id on disk. Whichever step a run
dies in, somebody knows the label to look for. A create call whose answer is lost is never sent again: the machine is
looked for by its label instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rekindle import destruction
from rekindle.budget import RACE_MINUTES, Beside, Budget, Reservation, hourly_at_most
from rekindle.destruction import Destroyer, Listing, Row
from rekindle.dumont import AmbiguousCreate
from rekindle.dumont_views import InstanceView, Offer
from rekindle.errors import Mismatch, RekindleError, Unknown, Weather
from rekindle.gpu_catalogue import KNOWN, reject_unknown
from rekindle.gpus import gpu_told_by, is_model
from rekindle.http import RateLimited, Refused, StorageFull
from rekindle.labels import Label
from rekindle.ledger import Ledger
from rekindle.local_space import NO_SPACE
from rekindle.market import MarketInstance
from rekindle.money import dollars
from rekindle.rented import Held, RentedMachine
from rekindle.ssh import Machine, SshRefused
from rekindle.variable_checks import check_argument
from rekindle.waiting import Clock, Timeout, wait_until
from rekindle.wording import in_words, named

MINUTES = 30.0
CREATE_TIMEOUT = 300.0
READY_TIMEOUT = 600.0
# How long a machine is looked for when the answer to its create call was lost.
LOST_TIMEOUT = 30.0
# How long the product may need to give back what it rented besides, seconds.
LEAVING_TIMEOUT = 10.0
# How long the product may be behind the market in telling that a machine runs, seconds.
BEHIND = 30.0
# How many offers the market must have that the product does not show, so that it is no chance; each at so much of the
# highest price.
HIDDEN_OFFERS, WELL_UNDER = 3, 0.9
MIN_RELIABILITY = 0.95
# What the product gives a machine that it rents by itself.
PRODUCTS_DISK_GB = 100.0
# What a CPU standby costs at most, USD an hour, its disk included.
STANDBY_USD = 0.15
# How many offers the product rents at once, at most, to keep the machine that answers first.
RACE = 15
# How many times the price of its machine a warm one may cost: the product's own limit.
WARM_DEARER = 1.5
# With this strategy the workspace lies on a volume, which is paid for beside the machine.
VOLUME_STRATEGY = "regional_volume"
UNKNOWN_GPU = "unknown GPU"
# From these no machine becomes ready any more.
TERMINAL = frozenset({"exited", "error", "offline", "stopped", "paused"})


class Dumont(Listing, Protocol):
    """What of the product is needed to rent."""

    def offers(self, **filters: Any) -> list[Offer]: ...
    def instance(self, instance_id: int, /) -> InstanceView | None: ...
    def instances(self) -> list[InstanceView]: ...
    def create_instance(
        self,
        offer_id: int,
        label: str,
        disk_gb: float,
        /,
        *,
        timeout: float,
        failover_strategy: str | None = None,
    ) -> int: ...


class Market(destruction.Market, Protocol):
    """What of the market is needed besides."""

    def instance(self, instance_id: int, /) -> MarketInstance | None: ...
    def offers(self, max_price: float, disk_gb: float, gpu_name: str | None = None, /) -> list[int]: ...
    def gpu_names(self) -> list[str]: ...


class Watcher(Protocol):
    """Who destroys what this process leaves behind when it dies."""

    def ensure_ready(self) -> None: ...


@dataclass(frozen=True)
class _Wish:
    """What is about to be rented. `what` names it in messages; `price` is the highest possible one in USD an hour."""

    what: str
    label: str
    offer_id: int | None
    price: float
    disk_gb: float
    minutes: float
    gpu_name: str
    race: Beside | None = None


@dataclass(frozen=True)
class Expected:
    """A machine that is about to be rented: the money is reserved, and the intent is on disk.

    `before`: the ids of all machines that were there then; `asked_at`: monotonic seconds.
    """

    wish: _Wish
    before: frozenset[int]
    intent: int
    reservation: Reservation
    asked_at: float

    @property
    def label(self) -> str:
        """Label that the machine must be given."""
        return self.wish.label

    @property
    def hourly_usd(self) -> float:
        """Highest price in USD/h, disk included."""
        return hourly_at_most(self.wish.price, self.wish.disk_gb)

    def rented(self, instance_id: int) -> RentedMachine:
        """The machine that came of it."""
        wish = self.wish
        return RentedMachine(
            instance_id,
            wish.label,
            wish.gpu_name,
            self.hourly_usd,
            self.asked_at,
            self.intent,
            self.reservation,
            before=self.before,
        )


class _NotReady(str):
    """A machine that never came up, in words: the market's mood, not the product's fault."""

    __slots__ = ()


@dataclass(frozen=True)
class _Boot:
    """One look at a machine that boots: what the product says, and how SSH refused us (None: it was not asked)."""

    view: InstanceView | None = None
    refusal: str | None = None
    ready: bool = False

    @property
    def status(self) -> str:
        return self.view.actual_status or "created" if self.view else "unknown to Dumont Cloud"

    def hopeless(self) -> str | None:
        return f"`{self.status}` is final" if self.status in TERMINAL else None


class Renter:
    """Rents machines for one run. Thread-safe: several may be rented at once."""

    def __init__(
        self,
        dumont: Dumont,
        market: Market | None,
        ledger: Ledger,
        guard: Watcher,
        budget: Budget,
        destroyer: Destroyer,
        run_id: str,
        known_hosts: Path,
        key: Path,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Rents nothing yet.

        Args:
            dumont: the product, through which machines are rented.
            market: the second place to look for a machine; None when the user has no key for it.
            ledger: where each rent is written down first.
            guard: ready before the first machine is rented.
            budget: out of which each rent is reserved.
            destroyer: ends machines that never become ready.
            run_id: part of every label.
            known_hosts: where the machines' host keys are pinned.
            key: the private SSH key that opens the machines.
            clock: time and pause.
        """
        self._dumont = dumont
        self._market = market
        self._ledger = ledger
        self._guard = guard
        self._budget = budget
        self._destroyer = destroyer
        self._run_id = run_id
        self._known_hosts = known_hosts
        self._key = key
        self._clock = clock or Clock()
        self._numbers = itertools.count(1)
        self._expected: dict[int, Expected] = {}
        self._for_standbys: dict[int, Reservation] = {}

    def rent(
        self,
        *,
        max_price: float,
        disk_gb: float,
        gpu_name: str | None = None,
        region: str | None = None,
        minutes: float = MINUTES,
        create_timeout: float = CREATE_TIMEOUT,
        ready_timeout: float = READY_TIMEOUT,
        failover_strategy: str | None = None,
    ) -> RentedMachine:
        """Rents the cheapest reliable machine and waits until a command can run on it.

        Args:
            max_price: USD an hour.
            disk_gb: its disk.
            gpu_name: the GPU model, as the market names it; any when None.
            region: `US`, `EU` or `ASIA`; any when None.
            minutes: how long it may live at worst; so much money is reserved.
            create_timeout: how long the answer to the create call may take, seconds.
            ready_timeout: how long it may take to become ready, seconds.
            failover_strategy: where the product must know it when it rents (`regional_volume`).

        Raises:
            Weather: no offers, all of them taken, or the machine never became ready (it is destroyed then).
            Mismatch: something else came than was agreed, or more; it is destroyed then. Or the product named a machine
                that was there before, which is not touched.
            Misconfigured: a value is out of bounds, there is no such GPU, or the budget does not allow it.
            AmbiguousCreate: the answer was lost and no machine is to be found. Nothing is rented twice.
        """
        check_argument("minutes", "MACHINE_MINUTES", minutes)
        check_argument("create_timeout", "INSTANCE_CREATE_TIMEOUT", create_timeout)
        check_argument("ready_timeout", "INSTANCE_READY_TIMEOUT", ready_timeout)
        offers = self.offers(max_price=max_price, disk_gb=disk_gb, gpu_name=gpu_name, region=region)
        volume: list[Held] = []
        if failover_strategy == VOLUME_STRATEGY:
            volume.append(self._hold(f"a volume of {disk_gb:g} GB", 0, minutes, disk_gb))
        try:
            rented = self._rent_one_of(offers, max_price, disk_gb, minutes, create_timeout, failover_strategy)
        except BaseException:
            for held in volume:
                self._budget.settle(held.reservation, 0)
            raise
        rented.beside += volume
        return self._until_ready(rented, ready_timeout, call="One create call", labelled=True)

    def _rent_one_of(
        self,
        offers: Sequence[Offer],
        max_price: float,
        disk_gb: float,
        minutes: float,
        create_timeout: float,
        failover_strategy: str | None,
    ) -> RentedMachine:
        for offer in offers:
            what = f"offer {offer.id} ({offer.gpu_name}, {dollars(offer.dph_total)}/h)"
            label = self.new_label(minutes)

            def make(offer: Offer = offer, label: str = label) -> int:
                return self._dumont.create_instance(
                    offer.id, label, disk_gb, timeout=create_timeout, failover_strategy=failover_strategy
                )

            try:
                return self._obtain(
                    _Wish(what, label, offer.id, offer.dph_total, disk_gb, minutes, offer.gpu_name),
                    make,
                    keep_lost=True,
                )
            except Refused as refused:
                if refused.status in {404, 409, 410}:  # somebody else was faster
                    continue
                raise
        raise Weather(
            f"No GPU offers available under {dollars(max_price)}/h any more: all {len(offers)} that were listed had "
            "been taken when we asked for them. Wait some minutes or raise MAX_PRICE."
        )

    def adopt(
        self,
        label: str,
        make: Callable[[], int],
        *,
        what: str,
        max_price: float,
        disk_gb: float = PRODUCTS_DISK_GB,
        ready_timeout: float = READY_TIMEOUT,
    ) -> RentedMachine:
        """Takes over a machine that the product itself rents for us (wake, restore on a new machine).

        Args:
            label: the label that the product will give it: that of the machine it replaces. It also tells how long
                the new one may live.
            make: has the product do it; returns the new machine's id.
            what: the machine, as messages name it: "a machine to wake 29070001 on".
            max_price: USD an hour that the product was told not to exceed.
            disk_gb: its disk, at most; it is paid for beside the machine.
            ready_timeout: as in `rent`.

        Raises:
            Mismatch: the product failed and left a machine rented, rented too dear a one, or more than one (all are
                destroyed then); or it named a machine that was there before (which is not touched).
            Weather, Misconfigured, AmbiguousCreate: as `rent`; and whatever `make` raises.
        """
        wish = self._products_wish(label, what, max_price, disk_gb)
        rented = self._obtain(wish, make, keep_lost=False)
        return self._until_ready(rented, ready_timeout, call=f"One call for {what}")

    def expect(
        self,
        label: str,
        *,
        what: str,
        max_price: float,
        disk_gb: float = PRODUCTS_DISK_GB,
    ) -> Expected:
        """Makes ready for a machine that the product will rent by itself, some time after this (failover, migration).

        Money is reserved and the intent on disk when this returns: whoever dies from now on, somebody knows the label
        to look for. `arrived` or `did_not_arrive` must follow.

        Args and errors as for `adopt`.
        """
        expected = self._intend(self._products_wish(label, what, max_price, disk_gb))
        self._expected[expected.intent] = expected
        return expected

    def arrived(self, expected: Expected, instance_id: int, ready_timeout: float = READY_TIMEOUT) -> RentedMachine:
        """Takes over the machine that was expected, and waits until a command can run on it.

        Raises:
            Mismatch: it is too dear, or the market has no such machine.
            Weather: it never became ready; it is destroyed then.
        """
        machine = self._noted(expected, instance_id)
        self._expected.pop(expected.intent, None)
        return self._until_ready(machine, ready_timeout)

    def did_not_arrive(self, expected: Expected, error: RekindleError) -> RekindleError:
        """Destroys what came all the same, and closes the books. Returns the error that tells everything."""
        self._expected.pop(expected.intent, None)
        lost = [expected.rented(found) for found in self._find(expected.wish.label, expected.before, error)]
        if lost:
            return self._cleared(expected.wish, lost, error)
        self._never_came(expected, error)
        return error

    def expect_no_more(self) -> None:
        """Closes the books of what was expected and will not come any more, because what it depends on is gone.

        Whatever came all the same is left to the guard, which goes by the label.
        """
        there = self._everything()
        for expected in list(self._expected.values()):
            if all(id_ in expected.before or label != expected.label for id_, label in there.items()):
                self._never_came(expected, Unknown("It was not needed."))
                del self._expected[expected.intent]

    def everything(self) -> dict[int, str | None]:
        """Label by id of every GPU machine that anybody lists."""
        return self._everything()

    def unclaimed(self, before: Container[int]) -> list[int]:
        """The machines that came since, have no label, and are none that this computer knows to have rented.

        Other users of the account may have rented them.

        Args:
            before: the ids of all machines that were there then.
        """
        return self._unclaimed(self._came_since(before))

    def _unclaimed(self, came: Iterable[Row]) -> list[int]:
        found = {row.id for row in came if not row.label}
        return sorted(found - {rent.instance_id for rent in self._ledger.open_rents()}) if found else []

    def intend_standby(self, machine: RentedMachine) -> int:
        """Writes down that a machine is about to get a CPU standby, whose name will hold the machine's label.

        Raises:
            Misconfigured: the budget does not allow it.
        """
        minutes = _minutes(machine.label)
        what = f"a CPU standby of machine {machine.id} (up to {dollars(STANDBY_USD)}/h, its disk included)"
        reservation = self._budget.reserve(what, STANDBY_USD, minutes)
        try:
            self._guard.ensure_ready()
            intent = self._ledger.intend(self._run_id, machine.label, None, STANDBY_USD, minutes)
        except BaseException:
            self._budget.settle(reservation, 0)
            raise
        self._for_standbys[intent] = reservation
        return intent

    def standby_gone(self, intent: int, proof: str, spent_usd: float = 0.0) -> None:
        """Writes down that a standby is proven gone, and what it cost."""
        self._ledger.destroyed(intent, proof)
        if reservation := self._for_standbys.pop(intent, None):
            self._budget.settle(reservation, spent_usd)

    def keep_warm(self, machine: RentedMachine, disk_gb: float = PRODUCTS_DISK_GB) -> Held:
        """Sets the money aside for a machine that the product keeps warm for this one.

        Raises:
            Misconfigured: the budget does not allow it.
        """
        price = WARM_DEARER * machine.hourly_usd
        what = f"a machine to keep warm for {machine.id} (up to {dollars(price)}/h)"
        held = replace(self._hold(what, price, _minutes(machine.label), disk_gb), warm=True)
        machine.beside.append(held)
        return held

    def not_kept(self, machine: RentedMachine, held: Held) -> None:
        """Gives that money back: the product has refused."""
        machine.beside.remove(held)
        self._budget.settle(held.reservation, 0)

    def _hold(self, what: str, price: float, minutes: float, disk_gb: float) -> Held:
        reservation = self._budget.reserve(what, price, minutes, disk_gb)
        return Held(reservation, hourly_at_most(price, disk_gb), self._clock.now())

    def new_label(self, minutes: float = MINUTES) -> str:
        """Return a label of this run, for a machine that may live that long.

        Raises:
            Misconfigured: the minutes are out of bounds.
        """
        check_argument("minutes", "MACHINE_MINUTES", minutes)
        return str(Label(self._run_id, next(self._numbers), math.ceil(minutes)))

    def _products_wish(self, label: str, what: str, max_price: float, disk_gb: float) -> _Wish:
        check_argument("max_price", "MAX_PRICE", max_price)
        # Where nothing is offered, the product's refusal could not be told from a failure that has rented something.
        offers = sum(offer.dph_total <= max_price for offer in self._dumont.offers(max_price=max_price))
        if not offers:
            told = f"No GPU offers available under {dollars(max_price)}/h for {what}"
            if hidden := self.hidden_offers(max_price, disk_gb):
                raise Mismatch(f"{told} in Dumont Cloud, {hidden}")
            raise Weather(f"{told}. Wait some minutes or raise MAX_PRICE.")
        return _Wish(
            what, label, None, max_price, disk_gb, _minutes(label), gpu_name="", race=_race(offers, max_price, disk_gb)
        )

    def offers(
        self, *, max_price: float, disk_gb: float, gpu_name: str | None = None, region: str | None = None
    ) -> list[Offer]:
        """The offers that may be taken, cheapest first. The product's own filter is not trusted with our money.

        Args:
            max_price, disk_gb, gpu_name, region: as in `rent`.

        Raises:
            Weather: there is none.
            Misconfigured: a value is out of bounds, or no market knows the GPU.
            Mismatch: the product shows none, but the market has some.
        """
        check_argument("max_price", "MAX_PRICE", max_price)
        check_argument("disk_gb", "DISK_GB", disk_gb)
        wish = {"max_price": max_price, "min_disk": disk_gb, "gpu_name": gpu_name, "region": region, "limit": 100}
        offers = self._dumont.offers(**{name: value for name, value in wish.items() if value is not None})
        affordable = [
            offer
            for offer in offers
            if 0 < offer.dph_total <= max_price and offer.disk_space >= disk_gb and gpu_name in {None, offer.gpu_name}
        ]
        reliable = [offer for offer in affordable if offer.reliability >= MIN_RELIABILITY]
        if not reliable:
            if gpu_name and not affordable:
                self.check_gpu(gpu_name, called="gpu_name", example="gpu_name=RTX 4090")
            wanted = " ".join(filter(None, (gpu_name and f"for {gpu_name}", region and f"in {region}", "with")))
            passed = (
                f" ({len(affordable)} were passed over: their reliability is under {MIN_RELIABILITY:g})"
                if affordable
                else ""
            )
            told = f"No GPU offers available under {dollars(max_price)}/h {wanted} {disk_gb:g} GB of disk{passed}"
            # Where a region is, is for the product to say.
            if not affordable and not region and (hidden := self.hidden_offers(max_price, disk_gb, gpu_name)):
                raise Mismatch(f"{told} in Dumont Cloud, {hidden}")
            raise Weather(f"{told}. Wait some minutes or raise MAX_PRICE.")
        return sorted(reliable, key=lambda offer: (offer.dph_total, -offer.reliability, offer.id))

    def check_gpu(self, name: str, *, called: str, example: str) -> None:
        """Reject a GPU name that no market knows. A GPU that is merely not on offer now passes.

        Args:
            name: as the user gave it.
            called: the variable or argument, for the message.
            example: a legal value of it, as it is typed.

        Raises:
            Misconfigured: no market knows the name; suggests similar ones.
        """
        if name in KNOWN:
            return
        listed: list[str] = []
        if self._market:
            with suppress(RekindleError):  # the product's offers are the second catalogue
                listed += self._market.gpu_names()
        listed += [offer.gpu_name for offer in self._dumont.offers(gpu_name=name, limit=1)]
        reject_unknown(name, listed, called=called, example=example)

    def hidden_offers(self, max_price: float, disk_gb: float, gpu_name: str | None = None) -> str | None:
        """Names what the market offers although the product shows nothing that fits, now as before.

        Few offers prove nothing, as they come and go, and the product may pass some over.

        Args:
            max_price: USD an hour.
            disk_gb: the least disk.
            gpu_name: the GPU model; any when None.

        Returns:
            The end of a sentence, which begins with that the product shows none; None when the market has none either.
        """
        if not self._market:
            return None

        def offered() -> set[int]:
            assert self._market  # noqa: S101 - it was looked at
            return set(self._market.offers(WELL_UNDER * max_price, disk_gb, gpu_name))

        try:
            offers = offered()
            if len(offers) < HIDDEN_OFFERS:
                return None
            wish = {"max_price": max_price, "min_disk": disk_gb, "gpu_name": gpu_name, "limit": 100}
            shown = self._dumont.offers(**{name: value for name, value in wish.items() if value is not None})
            offers &= offered()
        except RekindleError:  # what cannot be asked is not held against the product
            return None
        if len(offers) < HIDDEN_OFFERS or any(0 < offer.dph_total <= max_price for offer in shown):
            return None
        return f"asked twice, but the market has offers that fit: {named([str(id_) for id_ in sorted(offers)])}."

    def _obtain(self, wish: _Wish, make: Callable[[], int], *, keep_lost: bool) -> RentedMachine:
        """Reserves, writes the intent down, has the machine made, writes its id down.

        What is no error of ours (Ctrl-C, above all) leaves the intent open, for the guard to look after.

        Args:
            wish: what to rent.
            make: rents it, once.
            keep_lost: whether a machine is wanted even when the answer of `make` was lost and it had to be looked for.
        """
        expected = self._intend(wish)
        try:
            instance_id = make()
        except RekindleError as error:
            lost = [expected.rented(found) for found in self._find(wish.label, expected.before, error)]
            if not lost:
                self._never_came(expected, error)
                if isinstance(error, AmbiguousCreate):
                    raise self._explained(error, wish.label) from error
                raise
            if len(lost) > 1 or not keep_lost:
                raise self._cleared(wish, lost, error) from error
            instance_id = lost[0].id
        if instance_id in expected.before:
            raise self._named_another(expected, instance_id)
        return self._noted(expected, instance_id)

    def _named_another(self, expected: Expected, other: int) -> Mismatch:
        """The answer names a machine that was there before: nothing is done to that one. What was really rented is
        looked for by its label, and destroyed. Returns the error that tells everything.
        """
        told = (
            f"Dumont Cloud answered that machine {other} is the one that was rented ({expected.wish.what}), but that "
            "machine was there before we asked, so it was not touched."
        )
        lost = AmbiguousCreate(told)
        try:
            made = [expected.rented(found) for found in self._find(expected.label, expected.before, lost)]
            for machine in made:
                self._destroyer.destroy_and_prove(machine)
        except RekindleError as error:  # the intent stays open: the guard goes by the label
            return Mismatch(f"{told} {error}")
        if not made:
            self._never_came(expected, lost)
            return Mismatch(str(self._explained(lost, expected.label)))
        ids = in_words([f"machine {machine.id}" for machine in made])
        return Mismatch(f"{told} Really rented was {ids} (label {expected.label}); destroyed now, and proven gone.")

    def _intend(self, wish: _Wish) -> Expected:
        """Money, guard, inventory, and the intent on disk; in this order."""
        reservation = self._budget.reserve(wish.what, wish.price, wish.minutes, wish.disk_gb, wish.race)
        try:
            self._guard.ensure_ready()
            before = frozenset(self._everything())
            intent = self._ledger.intend(self._run_id, wish.label, wish.offer_id, wish.price, wish.minutes)
        except BaseException:
            self._budget.settle(reservation, 0)
            raise
        return Expected(wish, before, intent, reservation, self._clock.now())

    def _noted(self, expected: Expected, instance_id: int) -> RentedMachine:
        """Writes the machine's id down."""
        try:
            self._ledger.created(expected.intent, instance_id)
        except RekindleError:
            with suppress(RekindleError):  # the label is still in the ledger, and the guard finds it
                self._dumont.destroy(instance_id)
            raise
        return expected.rented(instance_id)

    def _never_came(self, expected: Expected, error: RekindleError) -> None:
        self._ledger.never_created(expected.intent, str(error))
        self._budget.settle(expected.reservation, 0)

    def _everything(self) -> dict[int, str | None]:
        """Label by id of every machine that anybody lists."""
        listings: Sequence[Listing] = [self._dumont, self._market] if self._market else [self._dumont]
        return {row.id: row.label for listing in listings for row in listing.instances()}

    def _came_since(self, before: Container[int]) -> list[Row]:
        """What costs money and was not there before, by id."""
        rows = (self._market or self._dumont).instances()
        return sorted((row for row in rows if row.id not in before), key=lambda row: row.id)

    def _find(self, label: str, before: frozenset[int], error: RekindleError) -> list[int]:
        """The machines of this label that were not there before. Looks for a while when the answer was lost."""

        def look() -> list[int]:
            return sorted(id_ for id_, its in self._everything().items() if its == label and id_ not in before)

        if isinstance(error, RateLimited | Refused) and not isinstance(error, StorageFull):  # nothing was rented
            return []
        if not isinstance(error, AmbiguousCreate):
            return look()
        try:
            return wait_until(f"machine {label}", look, bool, timeout=LOST_TIMEOUT, floor=0.25, clock=self._clock).value
        except Timeout:
            return []

    def _explained(self, error: AmbiguousCreate, label: str) -> RekindleError:
        listings = "Dumont Cloud and the marketplace" if self._market else "Dumont Cloud"
        told = (
            f"{error} In {LOST_TIMEOUT:g} s no machine labelled {label} appeared in the listings of {listings}, "
            "so none was rented."
        )
        return Weather(told) if error.market_is_away else AmbiguousCreate(told)

    def _cleared(self, wish: _Wish, lost: Sequence[RentedMachine], error: RekindleError) -> RekindleError:
        """Destroys what a failed call left behind; returns the error that tells it."""
        for machine in lost:
            self._destroyer.destroy_and_prove(machine)
        left = " and ".join(f"machine {machine.id}" for machine in lost)
        return Mismatch(
            f"Renting {wish.what} failed and left {left} rented; destroyed now, and proven gone. The failure was: "
            f"{error}"
        )

    def _until_ready(
        self, rented: RentedMachine, timeout: float, *, call: str | None = None, labelled: bool = False
    ) -> RentedMachine:
        """Waits until a command can run on the machine. One that does not come so far is destroyed.

        Args:
            rented: which one.
            timeout: how long it may take, seconds.
            call: what has made it, as messages name it; it may have made no other. None: that is looked at elsewhere.
            labelled: we gave it the label ourselves; otherwise the product may have chosen another one.
        """
        label = rented.label
        try:
            trouble = (
                self._boot(rented, timeout)
                or self._disagreement(rented, ours=labelled)
                or _another_gpu(rented)
                or (self._twins(rented, label, call) if call else None)
            )
        except RekindleError:
            self._destroyer.destroy_and_prove(rented)
            raise
        except BaseException:
            with suppress(RekindleError):  # there is no time for a proof now; the guard looks after it
                self._dumont.destroy(rented.id)
            raise
        if not trouble:
            return rented
        full = self._full_disk(rented) if isinstance(trouble, _NotReady) else None
        try:
            proof = self._destroyer.destroy_and_prove(rented)
        except Mismatch as mismatch:
            raise Mismatch(f"{trouble} {mismatch}") from None
        destroyed = f"It was destroyed, and was proven gone {proof.seconds:.1f} s later."
        if isinstance(trouble, _NotReady):
            if full:
                raise Unknown(f"{full} {trouble} {destroyed}")
            raise Weather(f"{trouble} {destroyed} Rent again, or allow more time.")
        raise Mismatch(f"{trouble} {destroyed}")

    def _full_disk(self, rented: RentedMachine) -> str | None:
        """Return what the market says of a machine that did not boot because a disk is full; None of any other."""
        words = None
        if self._market:
            with suppress(RekindleError):  # the machine must be destroyed all the same
                row = self._market.instance(rented.id)
                words = row.status_msg if row else None
        return words if words and NO_SPACE.search(words) else None

    def _twins(self, rented: RentedMachine, label: str, call: str) -> str | None:
        """Destroys what one call has made beside the machine, under the label that was asked for; says so.

        Notes what has come without any label: nobody can tell whose that is, so it is not destroyed.
        """
        left: list[Row] = []

        def alone() -> bool:
            came = self._came_since(rented.before | {rented.id})
            rented.unclaimed = self._unclaimed(came)
            left[:] = [row for row in came if row.label == label]
            if left:  # what is kept warm for it comes with it, and ends with it
                warm = {row.id for row in self._dumont.instances() if row.warm_for == rented.id}
                left[:] = [row for row in left if row.id not in warm]
            return not left

        with suppress(Timeout):
            wait_until(f"{rented} to be the only one", alone, bool, timeout=LEAVING_TIMEOUT, clock=self._clock)
        for row in left:
            twin = replace(rented, id=row.id, hourly_usd=row.dph_total, provision_seconds=0.0, ssh=None, beside=[])
            self._destroyer.destroy_and_prove(twin)
        ids = in_words([str(row.id) for row in left]) if left else ""
        return f"{call} made {rented} and {ids} beside, destroyed and proven gone already." if left else None

    def _boot(self, rented: RentedMachine, timeout: float) -> str | None:
        """Returns None when the machine is ready, else what became of it instead."""
        boot = _Boot()

        def look() -> _Boot:
            nonlocal boot
            boot = self._look(rented)
            return boot

        begun = self._clock.now()
        try:
            wait_until(
                f"{rented} to be ready",
                look,
                lambda boot: boot.ready,
                timeout=timeout,
                hopeless=_Boot.hopeless,
                tolerate=(Unknown, Weather),
                clock=self._clock,
            )
        except Timeout as timed_out:
            seconds = self._clock.now() - begun
            if defect := self._hidden_by_product(rented, seconds):
                return defect
            if boot.hopeless():
                return _NotReady(f"Instance not ready: {rented} ended up `{boot.status}` after {seconds:.1f} s.")
            if boot.refusal:
                return _NotReady(
                    f"SSH connection refused: {rented} is `{boot.status}`, but after {seconds:.0f} s {boot.refusal}"
                )
            if boot.view is None:
                return _NotReady(f"Instance not ready after {seconds:.0f} s. {timed_out}")
            return _NotReady(f"Instance not ready after {seconds:.0f} s: {rented} stayed `{boot.status}`.")
        rented.provision_seconds = self._clock.now() - rented.asked_at
        rented.seen_alive(self._clock.now())
        return None

    def _hidden_by_product(self, rented: RentedMachine, seconds: float) -> str | None:
        """Asks the market and the machine itself about one that the product has not shown as ready.

        It is the product's fault when the market says that it runs, and SSH answers where the market says; and when
        that is so for a while, because the product may be behind. What cannot be asked is not held against it.
        """
        defect: str | None = None

        def look() -> bool:
            nonlocal defect
            defect = None
            row = self._market.instance(rented.id) if self._market else None
            if not isinstance(row, MarketInstance) or row.actual_status != "running":
                return True
            if not row.ssh_host or not row.ssh_port:
                return True
            boot = self._look(rented)
            if boot.ready:
                return True
            told = boot.view.ssh_host if boot.view else None, boot.view.ssh_port if boot.view else None
            if boot.refusal and told == (row.ssh_host, row.ssh_port):
                return True
            if not self._answers(rented, row.ssh_host, row.ssh_port):
                return True
            if boot.refusal:
                shown = f"is at {told[0]}:{told[1]}, where SSH is refused"
            else:
                no_address = " without an SSH address" if boot.status == "running" else ""
                shown = f"is `{boot.status}`{no_address}, {seconds:.0f} s after it was rented and later"
            defect = (
                f"Dumont Cloud says that {rented} {shown}; but the market says that it runs, with SSH on "
                f"{row.ssh_host}:{row.ssh_port}, and there SSH answers."
            )
            return False

        with suppress(Timeout, Unknown, Weather):
            wait_until(f"what is said of {rented}", look, bool, timeout=BEHIND, floor=0.5, clock=self._clock)
        return defect

    def _answers(self, rented: RentedMachine, host: str, port: int) -> bool:
        ssh = Machine(host, port, self._key, self._known_hosts, f"{_alias(rented)}.market")
        try:
            ssh.pin()
        except SshRefused:
            return False
        finally:
            ssh.close()
        return True

    def _look(self, rented: RentedMachine) -> _Boot:
        view = self._dumont.instance(rented.id)
        if view is None or not view.ready or view.ssh_host is None or view.ssh_port is None:
            return _Boot(view)
        ssh = rented.ssh
        if ssh is None or (ssh.host, ssh.port) != (view.ssh_host, view.ssh_port):
            ssh = rented.ssh = Machine(view.ssh_host, view.ssh_port, self._key, self._known_hosts, _alias(rented))
        try:
            ssh.pin()
        except SshRefused as refusal:
            return _Boot(view, refusal=str(refusal))
        return _Boot(view, ready=True)

    def _disagreement(self, rented: RentedMachine, *, ours: bool) -> str | None:
        """Asks the market whether it rented to us what the product says, at which price and under which label.

        `ours`: we gave it the label ourselves; otherwise the product may have chosen another one.
        """
        row = (self._market or self._dumont).instance(rented.id)
        if row is None:
            return f"Dumont Cloud says that {rented} runs, but the marketplace has no such machine."
        if (row.label or "") != rented.label:
            if ours and self._market:
                shown = f"the label {row.label}" if row.label else "no label"
                return (
                    f"{rented} was rented with that label, but the market shows {shown}: it could not be found again."
                )
            rented.label = row.label or ""
            self._ledger.relabelled(rented.intent, rented.label)
        rented.gpu_name = rented.gpu_name or row.gpu_name or UNKNOWN_GPU
        agreed, rented.hourly_usd = rented.hourly_usd, row.dph_total
        if isinstance(row, MarketInstance):
            prices = {"upload": row.inet_up_cost, "download": row.inet_down_cost}
            rented.traffic_prices = {kind: price for kind, price in prices.items() if price is not None}
        if row.dph_total > agreed:
            return f"{rented} costs {dollars(row.dph_total, 4)}/h, although at most {dollars(agreed, 4)}/h was agreed."
        return None


def _alias(rented: RentedMachine) -> str:
    """Ids begin anew when an embedded cloud is reset, labels never: together they name one machine for ever."""
    return f"{rented.label or 'unlabelled'}.{rented.id}"


def _race(offers: int, price: float, disk_gb: float) -> Beside | None:
    """What those that lose the race for a machine may cost, when there are so many offers."""
    losers = min(RACE, offers) - 1
    usd = losers * hourly_at_most(price, disk_gb) * RACE_MINUTES / 60
    return Beside(f"{losers} more in a race, for up to {RACE_MINUTES:g} min", usd) if losers else None


def _another_gpu(rented: RentedMachine) -> str | None:
    """Asks the machine itself which GPU it has."""
    told = gpu_told_by(rented.machine)
    if rented.gpu_name == UNKNOWN_GPU or is_model(told, rented.gpu_name):
        return None
    return f"{rented} was rented as {rented.gpu_name}, but nvidia-smi on it says {told!r}."


def _minutes(label: str) -> float:
    """How long a machine may live that the product rents under a label: as long as the label tells everybody."""
    known = Label.read(label)
    return known.minutes if known else MINUTES
