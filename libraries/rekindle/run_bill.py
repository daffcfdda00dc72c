"""The bill of a run of several processes, and of a run that repeats failed tests of an earlier one."""

from __future__ import annotations

import filecmp
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rekindle.money import dollars
from rekindle.run_folder import CLOSED, RunFolder, closed_runs
from rekindle.wording import counted

EARLIER = "earlier"
BILLS = "bill_*.json"


@dataclass(frozen=True)
class Billed:
    """One bill: what a process paid, USD, and whether that agrees with what it measured."""

    usd: float
    agrees: bool


def sum_of_bills(folder: Path) -> str | None:
    """Return the sum of the bills in the folder of a run in words; None if there are fewer than two."""
    paths = sorted(folder.rglob(BILLS))
    if len(paths) < 2:
        return None
    earlier = [_read(path) for path in paths if path.is_relative_to(folder / EARLIER)]
    own = [_read(path) for path in paths if not path.is_relative_to(folder / EARLIER)]
    total = _usd([*earlier, *own])
    off = sum(not bill.agrees for bill in (*earlier, *own))
    verdict = f"{counted(off, 'bill')} of {len(paths)} off" if off else "each bill agrees with what was measured"
    if earlier:
        return f"{total}: {_usd(earlier)} before, {_usd(own)} in this run of failed tests; {verdict}"
    return f"{total} in {len(own)} bills: {', '.join(_usd([bill]) for bill in own)}; {verdict}"


def add_earlier(run: RunFolder, output: Path) -> None:
    """Link the bills of a run whose failed tests this run repeats, so that they count in its sum.

    Args:
        run: the run that repeats.
        output: the output file that `--rerunfailed` names. Its run is found by a copy of it in a run folder; without
            one, nothing is known of its bills.
    """
    for repeated in (output.parent, *reversed(closed_runs(output.parent))):
        if _is_run_of(repeated, output):
            for bill in repeated.rglob(BILLS):
                inside = bill.relative_to(repeated)
                name = inside if inside.parts[0] == EARLIER else Path(EARLIER, repeated.name, inside)
                run.add(bill, name)
            return


def _is_run_of(folder: Path, output: Path) -> bool:
    copies = [copy for copy in folder.glob("*.xml") if (folder / CLOSED).exists()]
    return any(filecmp.cmp(copy, output, shallow=False) for copy in copies)


def _read(path: Path) -> Billed:
    document = json.loads(path.read_text())
    return Billed(float(document["billed_usd"]), bool(document["agrees"]))


def _usd(bills: Sequence[Billed]) -> str:
    return dollars(math.fsum(bill.usd for bill in bills), 4)
