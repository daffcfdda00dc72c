"""One thing that a run paid for: what its time costs by our own measure, beside what is billed for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rekindle import bill_parts
from rekindle.cost import BILLING_UNIT, SECONDS_PER_HOUR, TRAFFIC, Cost, by_kind, of_time, of_traffic, too_dear
from rekindle.documents import Json
from rekindle.money import amount, dollars

HEADING = (
    "paid for",
    "USD/h",
    "expected for its time, USD",
    "billed, USD",
    "for its time, USD",
    "for traffic, USD",
    "difference, USD",
    "one billing second, USD",
)
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
    def traffic_usd(self) -> float:
        """What is billed for traffic, by the GB and not by the second."""
        return of_traffic(self.bill or ())

    @property
    def parts(self) -> dict[str, float]:
        """What is billed, USD by part. All time of a machine at the CPU cloud is that of a standby."""
        kinds = by_kind(self.bill or ())
        if "cpu" in kinds:
            kinds = {kind: usd for kind, usd in kinds.items() if kind in TRAFFIC} | {"cpu": self.time_usd}
        return bill_parts.parts(kinds)

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
        of_it = ", ".join(f"{kind} {amount(usd, 6)}" for kind, usd in kinds.items() if kind not in TRAFFIC)
        return [
            self.what,
            amount(self.cost.hourly_usd, 4),
            f"{amount(self.cost.at_least_usd, 6)} to {amount(self.cost.usd, 6)}",
            NOT_WITNESSED if self.bill is None else amount(self.billed_usd, 6),
            of_it,
            amount(self.traffic_usd, 6),
            amount(self.difference_usd, 6),
            amount(self.cost.unit_usd, 6),
        ]
