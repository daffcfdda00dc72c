"""The expected cost of snapshots in the bucket. The store shows no bill, so it is not compared with anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rekindle.cost import SECONDS_PER_HOUR, Cost
from rekindle.documents import Json
from rekindle.money import dollars
from rekindle.wording import counted

# Backblaze B2, USD for a gigabyte and month: https://www.backblaze.com/cloud-storage/pricing ($6 per terabyte and month
# in 2026; the free first 10 GB of an account are not deducted).
USD_PER_GB_MONTH = 0.006
HOURS_PER_MONTH = 730.0
GB = 10**9  # bytes
LEAST_USD = 1e-6  # that is shown as an amount


@dataclass(frozen=True)
class StorageCost:
    """One snapshot: its bytes in the bucket, and the price of them for as long as they lie there.

    `cost` covers the time so far at least, and at most the days for which a hibernation is kept.
    """

    snapshot_id: str
    bytes: int
    cost: Cost
    kept: bool

    @property
    def gb_months(self) -> float:
        """Gigabytes times months, at most."""
        return self.bytes / GB * self.cost.life.at_most / SECONDS_PER_HOUR / HOURS_PER_MONTH

    def document(self) -> dict[str, Json]:
        """As it stands in a report."""
        return {
            "snapshot": self.snapshot_id,
            "bytes": self.bytes,
            "gb_months": round(self.gb_months, 9),
            "least_usd": round(self.cost.at_least_usd, 9),
            "expected_usd": round(self.cost.usd, 9),
            "kept": self.kept,
        }


def hourly_usd(size: int) -> float:
    """Return the price of so many bytes, USD an hour."""
    return size / GB * USD_PER_GB_MONTH / HOURS_PER_MONTH


def in_words(costs: Sequence[StorageCost]) -> str:
    """Return the sum: "about $0.0012"; empty when it is too small to be shown."""
    usd = math.fsum(one.cost.usd for one in costs)
    return f"about {dollars(usd)}" if usd >= LEAST_USD else ""


def line(costs: Sequence[StorageCost]) -> str:
    """Return the sum in words, for the console; empty when it is too small to be shown."""
    if not (cost := in_words(costs)):
        return ""
    months = math.fsum(one.gb_months for one in costs)
    kept = sum(one.kept for one in costs)
    stay = f", {kept} of them kept for another day" if kept else ""
    snapshots = counted(len(costs), "snapshot")
    return (
        f"Storage: {cost} expected for {snapshots}{stay} ({months:.2g} GB-months at "
        f"${USD_PER_GB_MONTH:g}); not witnessed, because the store shows no bill"
    )
