"""The books of a run: everything that it paid for, by our own measure, beside what is billed for it.

That is more than the machines that we rented ourselves: others lose a race, one is kept warm, a standby lives at the
CPU cloud, a workspace lies on a volume. All of them carry a label of the run, and by that they are found in the bills.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from rekindle.cost import BILLING_UNIT, SECONDS_PER_HOUR, TRAFFIC, Cost, Life, by_kind, of_time, too_dear
from rekindle.errors import Mismatch
from rekindle.ledger import Rent
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.renting import RACE_MINUTES
from rekindle.report import Json, write_document
from rekindle.storage_cost import StorageCost
from rekindle.tables import table
from rekindle.wording import counted

HEADING = ("paid for", "USD/h", "measured, USD", "billed, USD", "of it", "traffic, USD", "difference, USD", "one unit")
NOT_WITNESSED = "not witnessed"
GB = 10**9  # bytes
# Bills are rounded, USD.
SMALLEST_USD = 1e-6
# What may have been on its way when a machine was ended.
ON_ITS_WAY_GB = 0.001
# What a machine may move besides its user's data: its image, and what the product installs.
IMAGE_GB = 20
# How many times it may move those data: saved, restored, and synced again and again.
TIMES = 10
# So many seconds may the clocks of a cloud and of this computer differ.
CLOCKS = 60.0


class Charge(Protocol):
    """One row of a bill; `source` such as `instance-29070001`. `rate` is in USD an hour; of traffic it is in USD a GB,
    and `seconds` are GB.
    """

    @property
    def source(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float | None: ...
    @property
    def seconds(self) -> float: ...
    @property
    def rate(self) -> float: ...
    @property
    def usd(self) -> float: ...


@dataclass(frozen=True)
class Item:
    """One thing that was paid for.

    `bill` is None where nobody could be asked for it. `traffic_prices` were agreed, USD a GB; `moved` is what we know
    of its traffic, bytes; both under the kinds of rows. `tree_bytes` is the largest workspace of the run.
    `ordered` is False for what nothing explains that was ordered.
    """

    what: str
    cost: Cost
    bill: tuple[Charge, ...] | None
    traffic_prices: Mapping[str, float] = field(default_factory=dict)
    moved: Mapping[str, int] = field(default_factory=dict)
    tree_bytes: int = 0
    ordered: bool = True

    @property
    def billed_usd(self) -> float:
        """All of it, traffic included; 0 where nobody could be asked."""
        return math.fsum(row.usd for row in self.bill or ())

    @property
    def time_usd(self) -> float:
        """What is billed for time, which is what we can measure."""
        return of_time(self.bill or ())

    @property
    def difference_usd(self) -> float:
        return 0.0 if self.bill is None else self.cost.difference_usd(self.time_usd)

    def trouble(self) -> str | None:
        """A sentence with both numbers when the bill is not what we measured."""
        if self.bill is None:
            return None
        growing = math.fsum(row.rate for row in self.bill if row.end is None and row.kind not in TRAFFIC)
        if any(row.end is None for row in self.bill):
            return f"{self.what}: its bill still grows, by {dollars(growing, 4)}/h"
        if not self.ordered:
            billed = dollars(self.billed_usd, 6)
            return f"{self.what}: billed {billed}, but nothing was ordered under its label that explains it"
        if dearer := too_dear(self.what, self.cost.hourly_usd, self.bill):
            return dearer
        if self.cost.agrees_with(self.time_usd):
            return self._sum_trouble() or self._traffic_trouble()
        off = self.difference_usd
        return (
            f"{self.what}: measured {dollars(self.cost.at_least_usd, 6)} to {dollars(self.cost.usd, 6)}, billed "
            f"{dollars(self.time_usd, 6)}, which is {dollars(abs(off), 6)} too {'much' if off > 0 else 'little'} (one "
            f"billing second is {dollars(self.cost.unit_usd, 6)})"
        )

    def _sum_trouble(self) -> str | None:
        """What is billed for time is the price of the row times its own seconds, to the billing second."""
        for row in self.bill or ():
            if row.kind in TRAFFIC:
                continue
            usd, unit = row.seconds * row.rate / SECONDS_PER_HOUR, row.rate / SECONDS_PER_HOUR * BILLING_UNIT
            if abs(row.usd - usd) > unit + SMALLEST_USD:
                return (
                    f"{self.what}: {row.seconds:.1f} s of {row.kind} are billed {dollars(row.usd, 6)}, but at "
                    f"{dollars(row.rate, 4)}/h, as the bill itself says, they cost {dollars(usd, 6)}"
                )
        return None

    def _traffic_trouble(self) -> str | None:
        """Traffic is billed at the agreed price; it is no less than what we moved ourselves, and no more than anybody
        can have moved.
        """
        for row in self.bill or ():
            if row.kind not in TRAFFIC:
                continue
            price = self.traffic_prices.get(row.kind, row.rate)
            if abs(row.usd - row.seconds * price) > SMALLEST_USD:
                return (
                    f"{self.what}: {row.seconds:.6f} GB of {row.kind} are billed {dollars(row.usd, 6)}, but at "
                    f"{dollars(price, 4)}/GB, as agreed, they cost {dollars(row.seconds * price, 6)}"
                )
            ours = self.moved.get(row.kind, 0) / GB
            if ours > row.seconds + ON_ITS_WAY_GB:
                return f"{self.what}: {row.seconds:.6f} GB of {row.kind} are billed, but ours alone was {ours:.6f} GB"
            if row.seconds > (most := IMAGE_GB + TIMES * (ours + self.tree_bytes / GB)):
                return (
                    f"{self.what}: {row.seconds:.6f} GB of {row.kind} are billed, but with all that was on it, "
                    f"{TIMES} times over, and an image of {IMAGE_GB} GB it can have been {most:.6f} GB at most"
                )
        return None

    def document(self) -> dict[str, Json]:
        """As it stands in a report."""
        return {
            "what": self.what,
            "hourly_usd": round(self.cost.hourly_usd, 6),
            "measured_least_usd": round(self.cost.at_least_usd, 6),
            "measured_usd": round(self.cost.usd, 6),
            "billed_usd": None if self.bill is None else round(self.billed_usd, 6),
            "billed": {kind: round(usd, 6) for kind, usd in by_kind(self.bill or ()).items()},
            "difference_usd": round(self.difference_usd, 6),
            "billing_unit_usd": round(self.cost.unit_usd, 6),
            "agrees": None if self.bill is None else self.trouble() is None,
        }

    def cells(self) -> list[str]:
        """For people; one cell for each column of `HEADING`."""
        kinds = by_kind(self.bill or ())
        of_it = ", ".join(f"{kind} {usd:.6f}" for kind, usd in kinds.items() if kind not in TRAFFIC)
        return [
            self.what,
            f"{self.cost.hourly_usd:.4f}",
            f"{self.cost.at_least_usd:.6f} to {self.cost.usd:.6f}",
            NOT_WITNESSED if self.bill is None else f"{self.billed_usd:.6f}",
            of_it,
            f"{math.fsum(usd for kind, usd in kinds.items() if kind in TRAFFIC):.6f}",
            f"{self.difference_usd:.6f}",
            f"{self.cost.unit_usd:.6f}",
        ]


@dataclass(frozen=True)
class RunBill:
    """What a run cost: measured by us, and billed."""

    run_id: str
    budget_usd: float
    items: tuple[Item, ...]
    not_witnessed: tuple[str, ...] = ()
    storage: tuple[StorageCost, ...] = ()

    @property
    def measured_usd(self) -> float:
        """At most: we never tell a sum that is too small."""
        return math.fsum(item.cost.usd for item in self.items)

    @property
    def billed_usd(self) -> float:
        return math.fsum(item.billed_usd for item in self.items)

    @property
    def troubles(self) -> list[str]:
        return [trouble for item in self.items if (trouble := item.trouble())]

    def raise_unless_agreed(self) -> None:
        """Nothing is billed that we did not measure, and the other way round.

        Raises:
            Mismatch: names each thing whose bill is off, with both numbers.
        """
        if self.troubles:
            raise Mismatch(
                f"The bill of this run does not agree with what we measured. {'; '.join(self.troubles)}. All in all "
                f"{dollars(self.billed_usd, 6)} is billed, and at most {dollars(self.measured_usd, 6)} was measured."
            )

    def document(self) -> dict[str, Json]:
        """As it is written to disk."""
        rows = [row for item in self.items for row in item.bill or ()]
        return {
            "run": self.run_id,
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "budget_usd": self.budget_usd if math.isfinite(self.budget_usd) else None,
            "measured_least_usd": round(math.fsum(item.cost.at_least_usd for item in self.items), 6),
            "measured_usd": round(self.measured_usd, 6),
            "billed_usd": round(self.billed_usd, 6),
            "billed": {kind: round(usd, 6) for kind, usd in by_kind(rows).items()},
            "agrees": not self.troubles,
            "not_witnessed": list(self.not_witnessed),
            "items": [item.document() for item in self.items],
            "storage": [one.document() for one in self.storage],
        }

    def line(self) -> str:
        """The sum, for the console."""
        off, unseen = len(self.troubles), sum(item.bill is None for item in self.items)
        verdicts = [f"{off} of them off"] if off else []
        verdicts += [f"{unseen} of them {NOT_WITNESSED}"] if unseen else []
        return (
            f"Bill: {dollars(self.billed_usd, 4)} for {counted(len(self.items), 'thing')}, of which at most "
            f"{dollars(self.measured_usd, 4)} was measured; {', '.join(verdicts) or 'each within a billing second'}"
        )

    def html(self) -> str:
        """The table for log.html."""
        sums = ["all in all", "", f"{self.measured_usd:.6f}", f"{self.billed_usd:.6f}", "", "", "", ""]
        return table(
            HEADING, [*(item.cells() for item in self.items), sums, *(_storage_cells(one) for one in self.storage)]
        )

    def write(self, folder: Path) -> Path:
        """Writes `bill_<epoch>.json`."""
        return write_document(folder, "bill", self.document())


def _storage_cells(one: StorageCost) -> list[str]:
    what = f"snapshot {one.snapshot_id}, expected{' while it is kept' if one.kept else ''}"
    measured = f"{one.cost.at_least_usd:.6f} to {one.cost.usd:.6f}"
    return [what, f"{one.cost.hourly_usd:.6f}", measured, NOT_WITNESSED, "", "", "", ""]


@dataclass
class Books:
    """What a run has paid for so far. Costs are noted as things end; the bills are asked for at the very end."""

    run_id: str
    budget_usd: float
    begun_epoch: float = field(default_factory=time.time)
    begun_at: float = field(default_factory=time.monotonic)
    _machines: dict[int, Item] = field(default_factory=dict)
    _standbys: dict[str, Cost] = field(default_factory=dict)
    _tree_bytes: int = 0

    def machine_ended(self, machine: RentedMachine, cost: Cost) -> None:
        """Notes a machine that is proven gone."""
        self._machines[machine.id] = Item(str(machine), cost, None, machine.traffic_prices, machine.moved())
        # A machine whose own was never read can have been given what was on another one.
        self._tree_bytes = max(self._tree_bytes, machine.ssh.tree_bytes if machine.ssh else 0)

    def race_lost(self, losers: Iterable[int], at_most: Cost) -> None:
        """Notes machines that lost a race, and what each of them can have cost: a race is over before long."""
        at_most = replace(at_most, life=Life(0.0, min(at_most.life.at_most, RACE_MINUTES * 60 + CLOCKS)))
        for loser in losers:
            self._machines.setdefault(loser, Item(f"machine {loser} (lost a race)", at_most, None))

    def standby_ended(self, name: str, cost: Cost) -> None:
        """Notes a standby that is proven gone."""
        self._standbys[name] = cost

    def settle(
        self,
        label_prefix: str,
        market_bill: Sequence[Charge] | None,
        cpu_bill: Sequence[Charge] | None,
        not_witnessed: Sequence[str] = (),
        rents: Sequence[Rent] = (),
    ) -> RunBill:
        """Puts the bills beside what was measured.

        Args:
            label_prefix: of this run's machines; what is billed under it is this run's, whoever ordered it.
            market_bill: of the whole account, since the run began; None where the market is no witness.
            cpu_bill: of the whole project at the CPU cloud; likewise.
            not_witnessed: what nobody could tell.
            rents: of this run, by the ledger.
        """
        market = by_source(market_bill or ())
        items = [
            replace(item, bill=None if market_bill is None else tuple(market.pop(f"instance-{id_}", ())))
            for id_, item in self._machines.items()
        ]
        items += self._others(market, label_prefix, rents)
        at_cpu_cloud = by_source(cpu_bill or ())
        for name, cost in self._standbys.items():
            sources = [source for source, rows in at_cpu_cloud.items() if _name(rows[0]) == name]
            rows = tuple(row for source in sources for row in at_cpu_cloud.pop(source))
            items.append(Item(f"standby {name}", cost, None if cpu_bill is None else rows))
        items += self._others(at_cpu_cloud, label_prefix, rents)
        items = [replace(item, tree_bytes=self._tree_bytes) for item in items]
        return RunBill(self.run_id, self.budget_usd, tuple(items), tuple(not_witnessed))

    def _others(self, bill: Mapping[str, Sequence[Charge]], label_prefix: str, rents: Sequence[Rent]) -> Iterator[Item]:
        """What came under our labels without our seeing it: it can have cost no more than since the run began."""
        for source, rows in bill.items():
            if label_prefix not in rows[0].description:
                continue
            rates: dict[str, float] = {}
            for row in rows:
                rates[row.kind] = 0.0 if row.kind in TRAFFIC else max(row.rate, rates.get(row.kind, 0.0))
            window = time.monotonic() - self.begun_at + CLOCKS
            what = f"{source.replace('instance-', 'machine ').replace('-', ' ')} (came beside: {rows[0].description})"
            cost = Cost(math.fsum(rates.values()), Life(0.0, window))
            yield Item(what, cost, tuple(rows), ordered=_is_explained(source, rows[0], rents))


def _is_explained(source: str, row: Charge, rents: Iterable[Rent]) -> bool:
    """Whether something that was ordered under the label of a row can be what is paid for.

    A rent of ours stands for one machine, with its volume. Where the product chooses the offer, it may rent several
    (a race, a warm machine, a standby, another try); and where no machine came of a rent, nobody saw which one failed.
    """
    return any(
        rent.offer_id is None
        or rent.instance_id is None
        or source == f"instance-{rent.instance_id}"
        or source.startswith("volume-")
        for rent in rents
        if rent.label and rent.label in row.description
    )


def by_source(bill: Iterable[Charge]) -> dict[str, list[Charge]]:
    """The rows of a bill by what is paid for."""
    found: dict[str, list[Charge]] = {}
    for row in bill:
        found.setdefault(row.source, []).append(row)
    return found


def _name(row: Charge) -> str:
    """The machine's name, which the description of a row of the CPU cloud's bill begins with."""
    return row.description.partition(",")[0]
