"""What a machine cost: its price times the life that we measured, and whether the market's bill says the same.

We see the two ends of a life only through calls that take time: it began somewhere between the create call and the
first command that ran on it, and ended somewhere between the destroy call and the first look that found it gone. So
a life is an interval, and so is its cost; a bill within it (and one billing second at either end) is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rekindle.errors import Mismatch, Unknown
from rekindle.money import dollars

SECONDS_PER_HOUR = 3600
BILLING_UNIT = 1.0  # seconds; the market bills by the second
# What is billed by the GB, not by the second: kinds of rows.
TRAFFIC = frozenset({"upload", "download"})
# Prices are rounded where they are shown, USD an hour.
ROUNDED_USD = 0.0005


class BillRow(Protocol):
    """One row of the market's bill. `end` is None while the row still grows; `kind` such as `gpu` or `disk`; `rate` is
    in USD an hour, or of traffic in USD a GB.
    """

    @property
    def end(self) -> float | None: ...
    @property
    def usd(self) -> float: ...
    @property
    def kind(self) -> str: ...
    @property
    def rate(self) -> float: ...


@dataclass(frozen=True)
class Life:
    """How long a machine was rented, monotonic seconds, measured by us.

    at_least: from the moment at which it surely ran to the last one at which it was surely still rented.
    at_most: from the create call to the first moment at which it was surely gone.
    """

    at_least: float
    at_most: float


@dataclass(frozen=True)
class Cost:
    """What a life cost at a price in USD an hour, disk included."""

    hourly_usd: float
    life: Life

    @property
    def usd(self) -> float:
        """The cost at most: we never tell a sum that is too small."""
        return self.hourly_usd * self.life.at_most / SECONDS_PER_HOUR

    @property
    def at_least_usd(self) -> float:
        return self.hourly_usd * self.life.at_least / SECONDS_PER_HOUR

    @property
    def unit_usd(self) -> float:
        """What one billing unit costs."""
        return self.hourly_usd / SECONDS_PER_HOUR * BILLING_UNIT

    def difference_usd(self, billed_usd: float) -> float:
        """By how much a bill is more than the longest life that we measured (or less than the shortest: negative)."""
        return max(billed_usd - self.usd, 0.0) + min(billed_usd - self.at_least_usd, 0.0)

    def agrees_with(self, billed_usd: float) -> bool:
        """Whether a bill differs by no more than one billing unit."""
        return abs(self.difference_usd(billed_usd)) <= self.unit_usd + 1e-9  # bills are rounded


@dataclass(frozen=True)
class Reconciled:
    """Our cost and the market's bill, which agree."""

    cost_usd: float
    bill_usd: float
    tolerance_usd: float
    rows: int


def reconcile(what: str, cost: Cost, bill: Sequence[BillRow]) -> Reconciled:
    """Compares our cost with the market's bill of the same machine.

    Args:
        what: the machine, for the message.
        cost: from the life that we measured.
        bill: the rows of this machine, none of them growing any more.

    Raises:
        Unknown: there is no bill, or it still grows, so that nothing can be compared.
        Mismatch: it is at a dearer price than was agreed, or more than a billing second outside of what the measured
            life costs.
    """
    if not bill:
        raise Unknown(f"The market shows no bill for {what}, so its cost could not be compared with anything.")
    if any(row.end is None for row in bill):
        raise Unknown(f"The market's bill for {what} still grows; it can be compared when the machine is gone.")
    if dearer := too_dear(what, cost.hourly_usd, bill):
        raise Mismatch(f"{dearer}. Compare the bill's rows at the market.")
    billed = of_time(bill)
    if not cost.agrees_with(billed):
        life = cost.life
        raise Mismatch(
            f"The market bills {dollars(billed, 6)} for {what}, but at {dollars(cost.hourly_usd, 4)}/h the "
            f"{life.at_least:.1f} to {life.at_most:.1f} s that it lived cost {dollars(cost.at_least_usd, 6)} to "
            f"{dollars(cost.usd, 6)}. One billing second is {dollars(cost.unit_usd, 6)}. Compare the bill's rows at "
            "the market.",
            expected=f"{dollars(cost.at_least_usd, 6)} to {dollars(cost.usd, 6)}",
            actual=dollars(billed, 6),
        )
    return Reconciled(cost.usd, billed, cost.unit_usd, len(bill))


def too_dear(what: str, hourly_usd: float, bill: Iterable[BillRow]) -> str | None:
    """Says so when a bill asks more for an hour than was agreed, however short the life was. Not a whole sentence."""
    rates: dict[str, float] = {}
    for row in bill:
        if row.kind not in TRAFFIC:
            rates[row.kind] = max(row.rate, rates.get(row.kind, 0.0))
    rate = math.fsum(rates.values())
    return (
        f"{what}: billed at {dollars(rate, 4)}/h, agreed {dollars(hourly_usd, 4)}/h"
        if rate > hourly_usd + ROUNDED_USD
        else None
    )


def of_time(bill: Iterable[BillRow]) -> float:
    """What of a bill was paid for time: the machine and its disk, without the traffic. USD."""
    return math.fsum(row.usd for row in bill if row.kind not in TRAFFIC)


def of_traffic(bill: Iterable[BillRow]) -> float:
    """What of a bill was paid for traffic, USD."""
    return math.fsum(row.usd for row in bill if row.kind in TRAFFIC)


def by_kind(bill: Iterable[BillRow]) -> dict[str, float]:
    """The sums of a bill, USD, under their kinds."""
    rows = list(bill)
    return {kind: math.fsum(row.usd for row in rows if row.kind == kind) for kind in sorted({row.kind for row in rows})}
