"""The bill of a run as it is shown and written: billed amount, expected range, parts and items."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rekindle import bill_parts, storage_cost
from rekindle.billed_item import HEADING, NOT_WITNESSED, Item
from rekindle.cost import TRAFFIC, by_kind
from rekindle.documents import Json, write_document
from rekindle.errors import Mismatch
from rekindle.money import SHOWN, amount, dollars
from rekindle.storage_cost import StorageCost
from rekindle.tables import table
from rekindle.wording import counted


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
    def _seen(self) -> list[Item]:
        """The items that a bill could be read for."""
        return [item for item in self.items if item.bill is not None]

    @property
    def expected_usd(self) -> tuple[float, float]:
        """The range in which the bill is expected, USD: the time that was measured, and the traffic that was billed."""
        traffic = math.fsum(item.traffic_usd for item in self._seen)
        return (
            traffic + math.fsum(item.cost.at_least_usd for item in self._seen),
            traffic + math.fsum(item.cost.usd for item in self._seen),
        )

    @property
    def parts(self) -> dict[str, float]:
        """What is billed, USD by part."""
        return bill_parts.sum_of(item.parts for item in self.items)

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
                f"The bill of this run does not agree with what we measured: {'; '.join(self.troubles)}. In all "
                f"{dollars(self.billed_usd, 6)} is billed ({bill_parts.in_words(self.parts)}); {self._range(6)} was "
                "expected.",
                expected=self._range(6),
                actual=dollars(self.billed_usd, 6),
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
            "parts_usd": {name: round(usd, 6) for name, usd in self.parts.items()},
            "expected_least_usd": round(self.expected_usd[0], 6),
            "expected_most_usd": round(self.expected_usd[1], 6),
            "explanation": self.explanation(),
            "agrees": not self.troubles,
            "not_witnessed": list(self.not_witnessed),
            "items": [item.document() for item in self.items],
            "storage": [one.document() for one in self.storage],
        }

    def line(self) -> str:
        """Return the billed amount, the expected range and the parts, for the console and the first screen."""
        if not self.items:
            return "Bill: nothing was rented"
        unseen = len(self.items) - len(self._seen)
        if unseen == len(self.items):
            return f"Bill: {NOT_WITNESSED}; {dollars(self.measured_usd, 4)} at most was measured"
        off, of = len(self.troubles), counted(len(self.items), "item")
        agree = "agrees" if len(self.items) == 1 else "agree"
        verdicts = [f"{off} of {of} {'does' if off == 1 else 'do'} not agree"] if off else []
        verdicts += [f"{unseen} of {of} {NOT_WITNESSED}"] if unseen else []
        stored = storage_cost.in_words(self.storage)
        storage = f"; storage {stored} (not billed)" if stored else ""
        parts = bill_parts.in_words(self.parts) + storage
        return (
            f"Bill: {dollars(self.billed_usd, 4)}, expected {self._range(4)}: {parts}; "
            f"{', '.join(verdicts) or f'{of} {agree} to the billing second'}"
        )

    def explanation(self) -> str:
        """Return why the bill is not what the prices of the machines alone make it; empty if nothing was rented."""
        if not self.items:
            return ""
        seen, traffic = self._seen, math.fsum(item.traffic_usd for item in self._seen)
        time_usd = math.fsum(item.time_usd for item in seen)
        least, most = (usd - traffic for usd in self.expected_usd)
        gigabytes = math.fsum(row.seconds for item in seen for row in item.bill or () if row.kind in TRAFFIC)
        expected = f"{dollars(least, 4)} to {dollars(most, 4)}"
        sentences = [
            f"Time is billed {dollars(time_usd, 4)}; the lives that were measured cost {expected}.",
            "Each life begins and ends between two observations.",
        ]
        if traffic >= SHOWN:
            sentences.append(f"Traffic adds {dollars(traffic, 4)} for {gigabytes:.3f} GB; no estimate includes it.")
        if others := [item for item in seen if not item.cost.life.at_least]:
            them, they = ("it", "it was") if len(others) == 1 else ("them", "they were")
            widened = math.fsum(item.cost.usd for item in others)
            sentences.append(
                f"The lives of {counted(len(others), 'item')} are not measured: the product rented {them} on its own, "
                f"or {they} not proven gone. That widens the range by {dollars(widened, 4)}."
            )
        return " ".join(sentences)

    def html(self) -> str:
        """Return the explanation, the parts and the items, for log.html."""
        least, most = self.expected_usd
        sums = ["sum", "", f"{amount(least, 6)} to {amount(most, 6)} with traffic", amount(self.billed_usd, 6)]
        items = [item.cells() for item in self.items]
        rows = [*items, [*sums, "", "", "", ""], *(_storage_cells(one) for one in self.storage)]
        billed = [*self.parts.items(), ("sum", self.billed_usd)]
        parts = table(("part of the bill", "USD"), [(name, amount(usd, 6)) for name, usd in billed])
        return f"<p>{escape(self.line())}.</p><p>{escape(self.explanation())}</p>{parts}<br>{table(HEADING, rows)}"

    def _range(self, decimals: int) -> str:
        return " to ".join(dollars(usd, decimals) for usd in self.expected_usd)

    def write(self, folder: Path) -> Path:
        """Writes `bill_<epoch>.json`."""
        return write_document(folder, "bill", self.document())


def _storage_cells(one: StorageCost) -> list[str]:
    what = f"snapshot {one.snapshot_id}, expected{' while it is kept' if one.kept else ''}"
    measured = f"{amount(one.cost.at_least_usd, 6)} to {amount(one.cost.usd, 6)}"
    return [what, amount(one.cost.hourly_usd, 6), measured, NOT_WITNESSED, "", "", "", ""]
