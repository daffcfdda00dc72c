"""Finds and destroys what runs that are over have left, and proves that nothing of it is there any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from robot.api import logger
from robot.api.deco import keyword, library

from library_parts.console import tell
from rekindle import report, target
from rekindle.clearing import CPU_CLOUD, MARKET, PRODUCT, VOLUMES
from rekindle.destruction import NOT_WITNESSED
from rekindle.errors import Mismatch, Unknown
from rekindle.money import dollars
from rekindle.report import Json
from rekindle.sweeping import Judged, Swept
from rekindle.tables import table
from rekindle.wording import counted, in_words

NOUNS = {MARKET: "machine", PRODUCT: "machine", VOLUMES: "volume", CPU_CLOUD: "CPU machine"}


@library(scope="GLOBAL", doc_format="MARKDOWN")
class SweepLibrary:
    """Finds and destroys what runs that are over have left, and proves that nothing of it is there any more.

    Machines of the marketplace, their volumes, and CPU standbys at the CPU cloud are looked at. Only what is proven to
    be ours and left over is touched: the label tells the run; the ledger of this computer tells whether that has ended,
    or, for runs of other computers, the label tells whether the minutes are over for which they might keep it.
    """

    @keyword
    def sweep_leftovers(self) -> Swept:
        """Finds what is left over, destroys it, and sees that it is gone. Tells what it was, and what it cost an hour.

        What was found when the target was opened belongs to it.

        Returns:
            What was looked at, found and left.

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
        report.current().sections.append(_Leftovers(swept))
        report.current().add_check(
            "what is listed was judged by its label", in_words([*swept.looked]), **_counts(swept)
        )
        if swept.clocks:
            raise Unknown(f"{swept.clocks} Set the clock right, or sweep from another computer.")
        return swept

    @keyword
    def nothing_should_be_left_to_sweep(self) -> None:
        """Sweeps once more.

        Raises:
            AssertionError: something was left over again; it is destroyed now.
        """
        again = target.current().sweeper.sweep()
        _raise_if_unsettled(again)
        if not again.ended_nothing:
            found = [str(one) for one in again.found] or [str(again)]
            raise Mismatch(f"A second sweep found something again, and destroyed it: {'; '.join(found)}.")
        report.current().add_check("a second sweep finds nothing", in_words([*again.looked]), **_counts(again))

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
    usd: Mapping[int, float | None] = field(default_factory=dict)

    def document(self) -> Mapping[str, Json]:
        return {
            "swept": {
                "looked_at": dict(self.swept.looked),
                "of_others": self.swept.of_others,
                "destroyed": [self._row(one) for one in self.swept.found],
                "left": [self._row(one) for one in self.swept.kept],
            }
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
        return {"leftovers": len(self.swept.found)}

    def headline(self) -> list[str]:
        return [f"{len(self.swept.found)} left over", f"looked at {_looked(self.swept.looked)}"]

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


def _looked(looked: Mapping[str, int]) -> str:
    return ", ".join(
        f"{counted(count, NOUNS[where])} at {where}" for where, count in looked.items() if where != VOLUMES
    )


def _counts(swept: Swept) -> dict[str, int]:
    return {f"{NOUNS[where]}s".replace(" ", "_").lower(): count for where, count in swept.looked.items()}


def _raise_if_unsettled(swept: Swept) -> None:
    if swept.cleared.unsettled:
        raise Mismatch(f"What runs that are over have left could not all be destroyed, and it costs money: {swept}.")
