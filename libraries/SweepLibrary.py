"""Finds and destroys what runs that are over have left, and proves that nothing of it is there any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from robot.api import logger
from robot.api.deco import keyword, library

from library_parts.console import tell
from library_parts.returned import converters
from rekindle import report, target
from rekindle.clearing import CPU_CLOUD, MARKET, PRODUCT, VOLUMES
from rekindle.destruction import NOT_WITNESSED
from rekindle.documents import Json
from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.money import dollars
from rekindle.snapshot_sweeping import JudgedSnapshot, SweptSnapshots
from rekindle.sweeping import Judged, Swept
from rekindle.tables import table
from rekindle.wording import counted, in_words

BUCKET = "the bucket"
NOUNS = {MARKET: "machine", PRODUCT: "machine", VOLUMES: "volume", CPU_CLOUD: "CPU machine"}


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Swept))
class SweepLibrary:
    """Finds and destroys what runs that are over have left, and proves that nothing of it is there any more.

    Machines of the marketplace, their volumes, CPU standbys at the CPU cloud, and snapshots in the bucket are checked.
    Only what is proven to be ours and left over is touched: the label names the run; the ledger of this computer knows
    whether that has ended. Of runs of other computers the label names the minutes for which they may keep it. A
    hibernation that was kept for another day stays for 7 days.
    """

    def __init__(self) -> None:
        self._machines = Swept()
        self._snapshots = SweptSnapshots()

    @keyword
    def sweep_leftovers(self) -> Swept:
        """Finds what is left over, destroys it, and sees that it is gone. Tells what it was, and what it cost an hour.

        What was found when the target was opened belongs to it.

        Returns:
            The result, with `found`, `kept` and more; see [Swept].

        Raises:
            AssertionError: something is still there, or could not be looked at (`UNKNOWN:`); also because this
                computer's clock differs from the market's or the product's.
        """
        opened = target.current()
        swept = opened.sweeper.sweep()
        _raise_if_unsettled(swept)
        first, opened.swept = opened.swept, None
        if first:
            swept.found = first.found + swept.found
            swept.cleared.destroyed |= first.cleared.destroyed
        tell(f"Looked at: {_looked(swept.looked)}")
        for one in swept.found:
            price = "" if one.seen.hourly_usd is None else f", {dollars(one.seen.hourly_usd, 4)}/h"
            tell(f"Destroyed: {one.seen}{price}: {one.why}")
        for one in swept.kept:
            tell(f"Left: {one}")
        if swept.found:
            logger.warn(f"Runs that are over had left {counted(len(swept.found), 'machine')} rented; destroyed now.")
        try:
            snapshots = _swept_snapshots(opened)
        except RekindleError:
            _raise_if_clocks_differ(swept)  # then the store refuses requests as well
            raise
        self._machines, self._snapshots = swept, snapshots
        report.current().sections.append(_Leftovers(swept, snapshots))
        report.current().add_check(
            "what is listed was judged by its label", in_words([*swept.looked]), **_counts(swept)
        )
        _raise_if_snapshots_stay(snapshots)
        _raise_if_clocks_differ(swept)
        return swept

    @keyword
    def nothing_should_be_left_to_sweep(self) -> None:
        """Sweep once more.

        What the first sweep kept for a run that has ended since then is no leftover of it: the report names it.

        Raises:
            AssertionError: something was left over again; it is destroyed now.
        """
        again = target.current().sweeper.sweep()
        _raise_if_unsettled(again)
        later = again.ended_since(self._machines)
        if not again.ended_nothing and len(later) < max(len(again.found), 1):
            found = [str(one) for one in again.found if one not in later] or [str(again)]
            raise Mismatch(f"A second sweep found something again, and destroyed it: {'; '.join(found)}.")
        snapshots = target.current().snapshot_sweeper.sweep()
        kept = {one.id for one in self._snapshots.kept}
        later_snapshots = [one for one in snapshots.found if one.id in kept]
        if not snapshots.ended_nothing and (snapshots.unsettled or len(later_snapshots) < max(len(snapshots.found), 1)):
            raise Mismatch(f"A second sweep found something again in the bucket: {snapshots}.")
        for one in (*later, *later_snapshots):
            report.current().not_witnessed.append(f"second sweep: {one}, which ended after the first one")
        counts = _counts(again) | {"snapshots": snapshots.looked}
        report.current().add_check("a second sweep finds nothing", in_words([*again.looked, BUCKET]), **counts)

    @keyword
    def bill_should_tell_of_nothing_else(self, swept: Swept) -> None:
        """Makes sure that nothing is billed which no list shows, and tells what the destroyed machines have cost.

        A list without any machine is only believed when the bill of the last week shows that this is the account on
        which machines are rented.

        Args:
            swept: what was swept.

        Raises:
            AssertionError: something is billed that is not listed, or neither list nor bill has a single machine.
        """
        opened = target.current()
        looked = sum(swept.looked.values())
        if opened.market is None:
            report.current().not_witnessed.append(f"bill: {NOT_WITNESSED}")
        else:
            account = opened.sweeper.account(swept)
            looked += account.machines
            for section in report.current().sections:
                if isinstance(section, _Leftovers):
                    section.usd = account.usd
            for id_, usd in account.usd.items():
                tell(f"Machine {id_} had cost {'nothing that is billed' if usd is None else f'{dollars(usd, 6)}'}")
            tell(
                f"Bill: {counted(account.machines, 'machine')} of the last 7 days; it grows for none that is not listed"
            )
            report.current().add_check("nothing is billed that is not listed", MARKET, machines=account.machines)
        if not looked:
            raise Unknown(
                "Nothing was looked at: no machine is listed, and none is on the bill of the last 7 days. So nobody "
                "can tell whether this is the account on which the machines of Dumont Cloud are rented. Check "
                "VAST_API_KEY, or rent one: robot --include smoke suites"
            )


@dataclass
class _Leftovers:
    """What a sweep found, as a part of the report."""

    swept: Swept
    snapshots: SweptSnapshots
    usd: Mapping[int, float | None] = field(default_factory=dict)

    def document(self) -> Mapping[str, Json]:
        return {
            "swept": {
                "looked_at": dict(self.swept.looked),
                "of_others": self.swept.of_others,
                "destroyed": [self._row(one) for one in self.swept.found],
                "left": [self._row(one) for one in self.swept.kept],
            },
            "swept_snapshots": {
                "looked_at": self.snapshots.looked,
                "of_others": self.snapshots.of_others,
                "deleted": [_snapshot_row(one) for one in self.snapshots.found],
                "left": [_snapshot_row(one) for one in self.snapshots.kept],
                "removed": list(self.snapshots.manifests),
            },
        }

    def _row(self, one: Judged) -> dict[str, Json]:
        seen = one.seen
        return {
            "where": seen.where,
            "id": str(seen.id),
            "label": seen.label,
            "hourly_usd": seen.hourly_usd,
            "market_bill_usd": self.usd.get(seen.id),
            "why": one.why,
        }

    def metrics(self) -> Mapping[str, Json]:
        return {"leftovers": len(self.swept.found), "left_snapshots": len(self.snapshots.found)}

    def headline(self) -> list[str]:
        found = len(self.swept.found) + len(self.snapshots.found)
        snapshots = f"{counted(self.snapshots.looked, 'snapshot')} in {BUCKET}"
        return [f"{found} left over", f"looked at {_looked(self.swept.looked)}, {snapshots}"]

    def lines(self) -> list[str]:
        return []

    def html(self) -> Iterator[str]:
        rows = [("destroyed", one) for one in self.swept.found] + [("left", one) for one in self.swept.kept]
        if rows:
            header = ("", "what", "where", "USD/h", "on the bill", "why")
            cells = [
                (did, one.seen, one.seen.where, one.seen.hourly_usd, self.usd.get(one.seen.id), one.why)
                for did, one in rows
            ]
            yield table(header, [["not told" if cell is None else cell for cell in row] for row in cells])
        snapshots = [("deleted", one) for one in self.snapshots.found]
        snapshots += [("left", one) for one in self.snapshots.kept]
        if snapshots:
            rows_of = [(did, one.id, "unknown" if one.bytes is None else one.bytes, one.why) for did, one in snapshots]
            yield table(("", "snapshot", "bytes", "why"), [[str(cell) for cell in row] for row in rows_of])


def _swept_snapshots(opened: target.Target) -> SweptSnapshots:
    """Sweep snapshots, and tell what became of them. What was found when the target was opened belongs to it."""
    swept = opened.snapshot_sweeper.sweep()
    first, opened.swept_snapshots = opened.swept_snapshots, None
    if first:
        swept.found = first.found + swept.found
        swept.manifests = first.manifests + swept.manifests
        swept.looked = max(first.looked, swept.looked)
    tell(f"Checked: {counted(swept.looked, 'snapshot')} in {BUCKET}, {swept.of_others} of others")
    for one in swept.found:
        tell(f"Deleted: {one}")
    for key in swept.manifests:
        tell(f"Removed: {key}, which belongs to no snapshot or run any more")
    for one in swept.kept:
        tell(f"Left: {one}")
    if swept.found:
        logger.warn(f"Finished runs had left {counted(len(swept.found), 'snapshot')} in {BUCKET}; deleted now.")
    report.current().add_check(
        "snapshots in the bucket were judged by owner and lease", "our own client of the bucket", snapshots=swept.looked
    )
    return swept


def _raise_if_clocks_differ(swept: Swept) -> None:
    if swept.clocks:
        raise Unknown(f"{swept.clocks} Set the clock right, or sweep from another computer.")


def _snapshot_row(one: JudgedSnapshot) -> dict[str, Json]:
    return {"id": one.id, "bytes": one.bytes, "why": one.why}


def _raise_if_snapshots_stay(swept: SweptSnapshots) -> None:
    if swept.unsettled:
        raise Mismatch(
            f"What finished runs left in the bucket could not all be deleted, and it costs money: "
            f"{'; '.join(swept.unsettled)}."
        )


def _looked(looked: Mapping[str, int]) -> str:
    return ", ".join(
        f"{counted(count, NOUNS[where])} at {where}" for where, count in looked.items() if where != VOLUMES
    )


def _counts(swept: Swept) -> dict[str, int]:
    return {f"{NOUNS[where]}s".replace(" ", "_").lower(): count for where, count in swept.looked.items()}


def _raise_if_unsettled(swept: Swept) -> None:
    if swept.cleared.unsettled:
        raise Mismatch(f"What runs that are over have left could not all be destroyed, and it costs money: {swept}.")
