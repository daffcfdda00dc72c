"""Destroying a machine, and proving it: no witness may see it any more, and its bill must stand still.

That the product says "destroyed" is a claim. Whoever else could know is asked, twice, more than a billing second apart:
the market and Dumont Cloud, each by id and by a full listing, the machine's SSH port, and the market's bill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from rekindle.budget import Budget
from rekindle.cost import BILLING_UNIT, SECONDS_PER_HOUR, BillRow, Cost, Reconciled, of_traffic, reconcile
from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.ledger import Ledger
from rekindle.money import dollars
from rekindle.rented import STOPPED, RentedMachine
from rekindle.ssh import HostKeyChanged, Machine
from rekindle.waiting import Clock, Timeout, wait_until

PATIENCE = 30.0
NOT_WITNESSED = "VAST_API_KEY is not given"


class Row(Protocol):
    """A machine as a listing shows it."""

    @property
    def id(self) -> int: ...
    @property
    def label(self) -> str | None: ...
    @property
    def actual_status(self) -> str | None: ...
    @property
    def gpu_name(self) -> str | None: ...
    @property
    def dph_total(self) -> float: ...


class Listing(Protocol):
    """Where machines can be looked up and destroyed."""

    def instance(self, instance_id: int, /) -> Row | None: ...
    def instances(self) -> Sequence[Row]: ...
    def destroy(self, instance_id: int, /) -> bool: ...


class Market(Listing, Protocol):
    """The market: it also writes the bill."""

    def charges(self, instance_id: int, since: float | None, /) -> Sequence[BillRow]: ...


@dataclass(frozen=True)
class Witness:
    """Who was asked what, what was seen, and how many seconds the asking took.

    Of one who could not be asked (`witnessed` is False) `seen` says why not.
    """

    name: str
    checked: str
    seen: str
    seconds: float = 0.0
    witnessed: bool = True


@dataclass(frozen=True)
class Gone:
    """That something is gone, and by whom it is witnessed. `seconds`: how long the proof took."""

    witnesses: tuple[Witness, ...]
    seconds: float

    @property
    def asked(self) -> list[Witness]:
        """Those who could be asked."""
        return [witness for witness in self.witnesses if witness.witnessed]

    @property
    def not_witnessed(self) -> list[str]:
        """What nobody could tell, for the report."""
        return [f"{witness.name}: {witness.seen}" for witness in self.witnesses if not witness.witnessed]


@dataclass(frozen=True)
class Proof(Gone):
    """That a machine is gone, and what it cost.

    `seconds` runs from the destroy call (or from the first look) to the end of the proof, `gone_after` to the first
    look that no longer found the machine. `bill` is None when the market is no witness.
    """

    instance_id: int
    gone_after: float
    cost: Cost
    bill: tuple[BillRow, ...] | None

    @property
    def bill_usd(self) -> float | None:
        """What the market billed; None when it is no witness."""
        return None if self.bill is None else _sum(self.bill)

    def reconciled(self) -> Reconciled:
        """Our cost and the market's bill, which agree.

        Raises:
            Unknown: the market is no witness, or there is no bill.
            Mismatch: they differ by more than a billing second.
        """
        return reconcile(f"machine {self.instance_id}", self.cost, self.bill or ())

    def __str__(self) -> str:
        return "; ".join(f"{witness.name}: {witness.seen}" for witness in self.witnesses)


class Destroyer:
    """Destroys our machines and proves that they are gone; writes it in the ledger and settles the budget."""

    def __init__(
        self,
        dumont: Listing,
        market: Market | None,
        ledger: Ledger,
        budget: Budget,
        *,
        patience: float = PATIENCE,
        ended: Callable[[RentedMachine, Cost], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Destroys nothing yet.

        Args:
            dumont: the product, which is asked to destroy.
            market: None when the user has no key for it.
            ledger, budget: where the end of each machine is written down.
            patience: how long a machine may take to vanish, seconds.
            ended: is told what each machine cost that is proven gone.
            clock: time and pause.
        """
        self._dumont = dumont
        self._market = market
        self._ledger = ledger
        self._budget = budget
        self._patience = patience
        self._ended = ended
        self._clock = clock or Clock()

    def destroy_and_prove(self, rented: RentedMachine, *, patience: float | None = None) -> Proof:
        """Destroys the machine through Dumont Cloud and proves that it is gone.

        Args:
            rented: which one.
            patience: seconds that it may take to vanish, when not those of this destroyer.

        Raises:
            Mismatch: it lives on, or its bill grows on. With a key for the market it was then destroyed there; the
                message says whether that helped.
            Unknown: a witness could not be asked; the ledger keeps the machine as not destroyed.
        """
        begun = self._clock.now()
        row = (self._market or self._dumont).instance(rented.id)
        if row is not None and row.actual_status not in STOPPED:
            rented.seen_alive(begun)
        try:
            known = self._dumont.destroy(rented.id)
        except RekindleError as refusal:
            claim = f"Dumont Cloud did not destroy {rented} ({str(refusal).rstrip('.')})"
        else:
            claim = f"Dumont Cloud answered that {rented} {'was destroyed' if known else 'is unknown to it'}"
        return self._prove(rented, claim, begun, patience)

    def prove_gone(self, rented: RentedMachine, *, patience: float | None = None) -> Proof:
        """Proves that a machine which the product destroyed by itself (hibernation, failover) is gone.

        Args:
            rented, patience: as for `destroy_and_prove`.

        Raises:
            Mismatch, Unknown: as `destroy_and_prove`.
        """
        return self._prove(
            rented, f"Dumont Cloud should have destroyed {rented} by itself", self._clock.now(), patience
        )

    def _prove(self, rented: RentedMachine, claim: str, begun: float, patience: float | None) -> Proof:
        observers = self._observers(rented)
        if traces := self._wait_until_unseen(rented, observers, self._patience if patience is None else patience):
            raise self._rescue(rented, claim, traces)
        gone_at = self._clock.now()
        before = self._bill(rented)
        self._clock.pause(BILLING_UNIT * 1.1)
        if traces := _traces(observers):
            raise self._rescue(rented, claim, traces)
        after = self._bill(rented)
        cost = rented.cost(gone_at)
        witnesses = (*(observer.witness() for observer in observers), _compare_bills(rented, before, after))
        proof = Proof(witnesses, self._clock.now() - begun, rented.id, gone_at - begun, cost, after)
        self._close(rented, str(proof), cost, of_traffic(after or ()))
        return proof

    def _wait_until_unseen(self, rented: RentedMachine, observers: Sequence[_Observer], patience: float) -> list[str]:
        """Returns what was seen at the last look: nothing, when the machine is gone."""
        seen: list[str] = []

        def look() -> bool:
            seen[:] = _traces(observers)
            return not seen

        with suppress(Timeout):
            wait_until(f"{rented} to be gone", look, bool, timeout=patience, clock=self._clock)
        return seen

    def _observers(self, rented: RentedMachine) -> list[_Observer]:
        """Everybody who could know that the machine still lives."""
        dumont, market, ssh = self._dumont, self._market, rented.ssh
        both = "by id and in full listings"
        observers = [_Observer("Dumont Cloud", both, self._clock, lambda: _listed("Dumont Cloud", dumont, rented.id))]
        if market:
            observers.append(
                _Observer("market", both, self._clock, lambda: _listed("the marketplace", market, rented.id))
            )
        if ssh:
            address = f"SSH on {ssh.host}:{ssh.port}"
            observers.append(
                _Observer("machine", address, self._clock, lambda: f"{address} still answers" if _lives(ssh) else None)
            )
        if market:
            observers.append(_Observer("bill", "rows that grow", self._clock, lambda: _growing(self._bill(rented))))
        return observers

    def _bill(self, rented: RentedMachine) -> tuple[BillRow, ...] | None:
        return tuple(self._market.charges(rented.id, rented.asked_at_epoch())) if self._market else None

    def _rescue(self, rented: RentedMachine, claim: str, traces: Sequence[str]) -> Mismatch:
        """Saves the money first, then returns the error that tells everything."""
        finding = f"{claim}, but {_in_words(traces)}."
        by_hand = f"Destroy it at the market: `vastai destroy instance {rented.id}`."
        if not self._market:
            return self._still_there(
                traces, f"{finding} {by_hand} (Rekindle has no VAST_API_KEY, so it could not do that itself.)"
            )
        begun = self._clock.now()
        try:
            self._market.destroy(rented.id)
            left = self._wait_until_unseen(rented, self._observers(rented), self._patience)
        except RekindleError as error:
            return self._still_there(traces, f"{finding} {by_hand} Rekindle tried that and failed: {error}")
        seconds = self._clock.now() - begun
        if left:
            return self._still_there(
                traces,
                f"{finding} {by_hand} Rekindle did that, but {seconds:.0f} s later {_in_words(left)}. Look yourself.",
            )
        self._close(rented, f"destroyed at the market, because {finding}", rented.cost(self._clock.now()))
        return self._still_there(
            traces, f"{finding} Rekindle has destroyed it at the market itself; it was gone after {seconds:.1f} s."
        )

    @staticmethod
    def _still_there(traces: Sequence[str], message: str) -> Mismatch:
        return Mismatch(message, expected="no witness sees it, and its bill has ended", actual=_in_words(traces))

    def _close(self, rented: RentedMachine, proof: str, cost: Cost, traffic_usd: float = 0.0) -> None:
        self._ledger.destroyed(rented.intent, proof)
        self._budget.settle(rented.reservation, cost.usd + traffic_usd)
        for held in rented.beside:
            self._budget.settle(held.reservation, held.hourly_usd * (self._clock.now() - held.since) / SECONDS_PER_HOUR)
        if self._ended:
            self._ended(rented, cost)
        rented.gone = True
        if rented.ssh:
            rented.ssh.close()


@dataclass
class _Observer:
    """Looks for one kind of trace and keeps count of it."""

    name: str
    checked: str
    clock: Clock
    find: Callable[[], str | None]
    looks: int = 0
    seconds: float = 0.0

    def look(self) -> str | None:
        begun = self.clock.now()
        trace = self.find()
        self.looks += 1
        self.seconds += self.clock.now() - begun
        return trace

    def witness(self) -> Witness:
        return Witness(self.name, self.checked, f"no trace in {self.looks} looks", self.seconds)


def _traces(observers: Sequence[_Observer]) -> list[str]:
    return [trace for observer in observers if (trace := observer.look())]


def _listed(name: str, listing: Listing, instance_id: int) -> str | None:
    by_id = listing.instance(instance_id)
    in_list = next((row for row in listing.instances() if row.id == instance_id), None)
    found = by_id or in_list
    return f"{name} still lists it as {found.actual_status or 'not yet running'}" if found else None


def _lives(ssh: Machine) -> bool:
    try:
        return ssh.answers()
    except HostKeyChanged:  # the address was given to another machine already
        return False


def _growing(bill: Sequence[BillRow] | None) -> str | None:
    bill = bill or ()
    rate = math.fsum(row.rate for row in bill if row.end is None)
    return f"it still bills {dollars(rate)}/h" if any(row.end is None for row in bill) else None


def _compare_bills(rented: RentedMachine, before: Sequence[BillRow] | None, after: Sequence[BillRow] | None) -> Witness:
    """The last witness: the sum at two moments more than a billing second apart."""
    checked = "the sum, twice"
    if before is None or after is None:
        return Witness("market", checked, NOT_WITNESSED, witnessed=False)
    if not after and rented.provision_seconds:
        raise Unknown(f"The market shows no bill for {rented}, so nobody can tell that it stopped. Look at the market.")
    if _sum(before) != _sum(after):
        raise Mismatch(
            f"The market's bill of {rented} grew from {dollars(_sum(before), 6)} to {dollars(_sum(after), 6)} within "
            f"{BILLING_UNIT:g} s, although every row of it has ended and no witness sees the machine. Look at the "
            "market."
        )
    return Witness("bill", checked, f"{dollars(_sum(after), 6)} both times, {len(after)} rows, all ended")


def _sum(bill: Sequence[BillRow]) -> float:
    return math.fsum(row.usd for row in bill)


def _in_words(traces: Sequence[str]) -> str:
    *first, last = traces
    return f"{', '.join(first)}, and {last}" if first else last
