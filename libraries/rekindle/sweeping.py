"""Sweeping: what runs that are over have left is found, destroyed and proven gone, on whichever cloud it is.

Only what can be proven to be ours and to be left over is touched. The label tells whose a machine is. That its run is
over is told

- by the ledger, where the run was one of this computer: its process has ended; or else
- by the label: the minutes for which the run might keep the machine are over. This needs a clock that can be believed:
  when this computer's differs from the market's or the product's, no age is judged.

Whatever else carries our mark is left, with the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rekindle.billed_item import Charge
from rekindle.books import by_source
from rekindle.clearing import CPU_CLOUD, MARKET, PRODUCT, VOLUMES, Cleared, Clearing, Volumes, of
from rekindle.clocks import ServiceClock, disagreement
from rekindle.cost import BILLING_UNIT
from rekindle.dumont import DumontClient
from rekindle.errors import Mismatch, Unknown
from rekindle.gcp import GcpClient
from rekindle.labels import LABEL_MARK, Label
from rekindle.ledger import Ledger, Rent, is_alive
from rekindle.market import MarketClient
from rekindle.waiting import Clock
from rekindle.wording import named

# The market's clock is not ours, and the guard of a living run needs its time to end what is due.
SLACK = 300.0


@dataclass(frozen=True)
class Seen:
    """A machine or a volume in a listing: where, whose, USD an hour, epoch seconds of its beginning; None: not told."""

    where: str
    id: int
    label: str
    hourly_usd: float | None = None
    since: float | None = None

    def __str__(self) -> str:
        kind = {VOLUMES: "volume", CPU_CLOUD: "CPU machine"}.get(self.where, "machine")
        return f"{kind} {self.id} ({self.label})"


@dataclass(frozen=True)
class Judged:
    """What carries our mark, whether it is left over, and how that is known."""

    seen: Seen
    left_over: bool
    why: str

    def __str__(self) -> str:
        return f"{self.seen}: {self.why}"


@dataclass
class Swept:
    """Result of a sweep.

    Attributes:
        looked: number of machines (or volumes) in each listing, by name of the listing.
        found: leftovers, each with `seen` and `why`; destroyed now, except those in `cleared.unsettled`.
        kept: machines that carry a label of Rekindle and were not touched, each with `seen` and `why`.
        seconds: duration of the sweep in seconds.
        clocks: why no age could be judged, as a sentence; None when that was possible, or not needed.
    """

    looked: dict[str, int] = field(default_factory=dict)
    found: list[Judged] = field(default_factory=list)
    kept: list[Judged] = field(default_factory=list)
    cleared: Cleared = field(default_factory=Cleared)
    seconds: float = 0.0
    clocks: str | None = None

    @property
    def of_others(self) -> int:
        """Number of machines without a mark of Rekindle; they are never touched."""
        return sum(self.looked.values()) - len(self.found) - len(self.kept)

    @property
    def ended_nothing(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.found or self.cleared.destroyed or self.cleared.unsettled)

    def ended_since(self, first: Swept) -> list[Judged]:
        """Return what an earlier sweep rightly kept, because its run ended, or its time ran out, only afterwards."""
        kept = {(one.seen.where, one.seen.id, one.seen.label) for one in first.kept}
        return [one for one in self.found if (one.seen.where, one.seen.id, one.seen.label) in kept]

    def __str__(self) -> str:
        return str(self.cleared)


@dataclass(frozen=True)
class Account:
    """The market's bill, as far as a sweep reads it.

    `machines`: how many are on it; `usd`: what those that were swept have cost, by id. None: no row tells.
    """

    machines: int
    usd: Mapping[int, float | None]


class Sweeper:
    """Sweeps one target."""

    def __init__(
        self,
        dumont: DumontClient,
        market: MarketClient | None,
        gcp: GcpClient | None,
        ledger: Ledger,
        say: Callable[[str], None] = lambda _: None,
        clock: Clock | None = None,
    ) -> None:
        """`market` and `gcp` are None when the user has no key for them; `say` is told each step."""
        self._dumont = dumont
        self._market = market
        self._gcp = gcp
        self._ledger = ledger
        self._say = say
        self._clock = clock or Clock()
        self._no_age: str | None = None

    def sweep(self) -> Swept:
        """Finds what is left over, destroys it and sees that it is gone.

        Raises:
            Unknown, Weather: a listing could not be had; nothing was touched.
        """
        begun = self._clock.now()
        open_rents = self._ledger.open_rents()
        living = {rent.label for rent in open_rents if rent.label and is_alive(rent.owner)}
        dead = [rent for rent in open_rents if rent.label not in living and not is_alive(rent.owner)]
        listings = self.look()
        self._no_age = _no_age(self._dumont, self._market, self._gcp)
        rows = [seen for listing in listings.values() for seen in listing]
        # One standby may stand by a machine that was replaced again and again: the youngest of a label counts.
        youngest = {
            label: max((seen.since for seen in rows if seen.label == label and seen.since is not None), default=None)
            for label in {seen.label for seen in rows}
        }
        judged = [
            verdict for seen in rows if (verdict := self._judge(seen, dead, living, youngest[seen.label])) is not None
        ]
        swept = Swept(
            {where: len(listing) for where, listing in listings.items()},
            [one for one in judged if one.left_over],
            [one for one in judged if not one.left_over],
        )
        if self._no_age and any(one.why.endswith(self._no_age) for one in swept.kept):
            swept.clocks = f"The age of what other runs have left cannot be judged, so it stays: {self._no_age}."
        for one in swept.found:
            self._say(str(one))
        rents = [rent for rent in dead if rent.target == self._ledger.target or _is_among(rent, swept.found)]
        if rents or swept.found:
            known, due = of(rents), {(one.seen.label, one.seen.id) for one in swept.found}
            swept.cleared = self._clearing().clear(
                rents, lambda label, id_: known(label, id_) or (label or "", id_) in due
            )
        swept.seconds = self._clock.now() - begun
        return swept

    def look(self) -> dict[str, list[Seen]]:
        """Everything that is listed, by who lists it."""
        listings: dict[str, list[Seen]] = {}
        if self._market:
            listings[MARKET] = [
                Seen(MARKET, row.id, row.label or "", row.dph_total, row.start_date) for row in self._market.instances()
            ]
            listings[VOLUMES] = [
                Seen(VOLUMES, row.id, row.label or "", row.hourly_usd) for row in self._market.volumes()
            ]
        else:
            listings[PRODUCT] = [
                Seen(PRODUCT, row.id, row.label or "", row.dph_total) for row in self._dumont.instances()
            ]
        if self._gcp:
            listings[CPU_CLOUD] = [
                Seen(CPU_CLOUD, row.id, row.label or "", row.hourly_usd, row.named_at) for row in self._gcp.instances()
            ]
        return listings

    def account(self, swept: Swept) -> Account:
        """Reads the bill twice, more than a billing unit apart.

        Raises:
            Mismatch: the bill grows of a machine or volume that was destroyed, or of one that no list shows.
            Unknown: there is no key for the market, or it does not tell.
        """
        if self._market is None:
            raise Unknown("Without VAST_API_KEY nobody can tell what is billed.")
        before = by_source(self._market.statement())
        self._clock.pause(BILLING_UNIT * 1.1)
        # Listed before the bill is read again: what was rented meanwhile is on the list as well as on the bill.
        listed = {f"instance-{row.id}" for row in self._market.instances()}
        listed |= {f"volume-{row.id}" for row in self._market.volumes()}
        after = by_source(self._market.statement())
        grows = [source for source in sorted(after) if _grows(before.get(source, ())) and _grows(after[source])]
        if unseen := [_in_words(source) for source in grows if source not in listed]:
            raise Mismatch(
                f"The bill of {named(unseen)} grows, although the market does not list it. Look at the market: "
                "something is paid for that nobody sees."
            )
        swept_ids = [one.seen.id for one in swept.found if one.seen.where == MARKET]
        rows = {id_: after.get(f"instance-{id_}") for id_ in swept_ids}
        machines = sum(source.startswith("instance-") for source in after)
        return Account(machines, {id_: _usd(its) if its else None for id_, its in rows.items()})

    def _judge(self, seen: Seen, dead: Sequence[Rent], living: set[str], since: float | None) -> Judged | None:
        """None for what is none of ours. `since`: of the youngest that has the same label."""
        owner = next((rent for rent in dead if rent.is_of(seen.label, seen.id)), None)
        if owner:
            return Judged(seen, left_over=True, why=f"run {owner.run_id} has ended")
        if not seen.label.startswith(LABEL_MARK):
            return None
        ours = Label.read(seen.label)
        if ours is None:
            return Judged(seen, left_over=False, why="the label is not one that Rekindle gives: not proven to be ours")
        lives = self._ledger.lives(ours.run_id)
        if lives or seen.label in living:
            return Judged(seen, left_over=False, why="its run goes on")
        if lives is False and all(rent.label != seen.label for rent in self._ledger.rents(ours.run_id)):
            return Judged(seen, left_over=True, why=f"run {ours.run_id} has ended")
        # The ledger knows that it was destroyed, but it can have been woken on another computer.
        whose = f"run {ours.run_id} is not of this computer" if lives is None else "it may have been woken elsewhere"
        return _judge_by_age(seen, ours, whose, since, self._no_age)

    def _clearing(self) -> Clearing:
        volumes = Volumes(self._market) if self._market else None
        return Clearing(
            self._dumont, self._market, self._ledger, self._say, volumes=volumes, cpu_cloud=self._gcp, clock=self._clock
        )


def _no_age(*clients: DumontClient | MarketClient | GcpClient | None) -> str | None:
    """Return why no age can be judged, as a phrase; None when this computer's clock agrees with all others."""
    clocks: list[ServiceClock] = [client.clock for client in clients if client]
    silent = [clock.owner for clock in clocks if not clock.is_known]
    if silent:
        return f"the answers of {named(silent)} show no time to compare this computer's clock with"
    return disagreement(clocks)


def _judge_by_age(seen: Seen, label: Label, whose: str, since: float | None, no_age: str | None) -> Judged:
    if no_age:
        return Judged(seen, left_over=False, why=f"{whose}, and {no_age}")
    if since is None:
        return Judged(seen, left_over=False, why=f"{whose}, and nobody tells since when it is there")
    over_for = time.time() - since - label.minutes * 60
    if over_for < SLACK:
        minutes = math.ceil((SLACK - over_for) / 60)
        return Judged(seen, left_over=False, why=f"{whose}, and may be kept for {minutes} min more")
    why = f"the {label.minutes} min for which its run might keep it have been over for {over_for / 60:.0f} min"
    return Judged(seen, left_over=True, why=why)


def _is_among(rent: Rent, found: Sequence[Judged]) -> bool:
    return any(rent.is_of(one.seen.label, one.seen.id) for one in found)


def _in_words(source: str) -> str:
    return source.replace("instance-", "machine ").replace("-", " ")


def _grows(rows: Sequence[Charge]) -> bool:
    return any(row.end is None for row in rows)


def _usd(rows: Sequence[Charge]) -> float:
    return math.fsum(row.usd for row in rows)
