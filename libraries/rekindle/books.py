"""The books of a run: everything that it paid for, by our own measure, beside what is billed for it.

That is more than the machines that we rented ourselves: others lose a race, one is kept warm, a standby lives at the
CPU cloud, a workspace lies on a volume. All of them carry a label of the run, and by that they are found in the bills.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from rekindle.billed_item import Charge, Item
from rekindle.budget import RACE_MINUTES
from rekindle.cost import TRAFFIC, Cost, Life
from rekindle.settled_bill import RunBill

# So many seconds may the clocks of a cloud and of this computer differ.
CLOCKS = 60.0


class Connection(Protocol):
    """The part of an SSH connection that bounds the traffic of its machine."""

    tree_bytes: int


class EndedMachine(Protocol):
    """The part of a rented machine that a bill is compared with."""

    @property
    def id(self) -> int: ...
    @property
    def traffic_prices(self) -> Mapping[str, float]: ...
    @property
    def ssh(self) -> Connection | None: ...
    def moved(self) -> Mapping[str, int]: ...


class Order(Protocol):
    """The part of a row of the ledger that explains a row of a bill."""

    @property
    def label(self) -> str: ...
    @property
    def offer_id(self) -> int | None: ...
    @property
    def instance_id(self) -> int | None: ...


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

    def machine_ended(self, machine: EndedMachine, cost: Cost) -> None:
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
        rents: Sequence[Order] = (),
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

    def _others(
        self, bill: Mapping[str, Sequence[Charge]], label_prefix: str, rents: Sequence[Order]
    ) -> Iterator[Item]:
        """What came under our labels without our seeing it: it can have cost no more than since the run began."""
        for source, rows in bill.items():
            if label_prefix not in rows[0].description:
                continue
            rates: dict[str, float] = {}
            for row in rows:
                rates[row.kind] = 0.0 if row.kind in TRAFFIC else max(row.rate, rates.get(row.kind, 0.0))
            window = time.monotonic() - self.begun_at + CLOCKS
            what = f"{source.replace('instance-', 'machine ').replace('-', ' ')} (billed as {rows[0].description})"
            cost = Cost(math.fsum(rates.values()), Life(0.0, window))
            yield Item(what, cost, tuple(rows), ordered=_is_explained(source, rows[0], rents))


def _is_explained(source: str, row: Charge, rents: Iterable[Order]) -> bool:
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
