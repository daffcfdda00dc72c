"""Failovers in a row: what each of them took and proved, and what can be said of all of them together."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from rekindle.cycle_chart import Bar, chart
from rekindle.documents import Json
from rekindle.errors import Mismatch, RekindleError, Unknown, Weather
from rekindle.failover import Failover
from rekindle.report import Check, Step
from rekindle.tables import table
from rekindle.wording import counted, number

STATISTICS = ("mean", "min", "max", "stdev", "p50", "p95")
COMPARED = "workspace equals manifest"
TOTAL = "total"

_KIND = re.compile(r"(WEATHER|UNKNOWN): ")
_COLUMN = 10


@dataclass(frozen=True)
class Statistics:
    """Of several durations, in seconds. The deviation is that of a sample; 0 of a single value."""

    count: int
    mean: float
    min: float
    max: float
    stdev: float
    p50: float
    p95: float

    def document(self) -> dict[str, Json]:
        """As it stands in a report."""
        seconds = {f"{name}_sec": round(value, 3) for name, value in asdict(self).items() if name != "count"}
        return {"count": self.count, **seconds}


def statistics_of(values: Sequence[float]) -> Statistics:
    """What can be said of these values; there must be one at least."""
    return Statistics(
        count=len(values),
        mean=statistics.fmean(values),
        min=min(values),
        max=max(values),
        stdev=statistics.stdev(values) if len(values) > 1 else 0.0,
        p50=percentile(values, 50),
        p95=percentile(values, 95),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent lie, between two values in proportion to their distance."""
    ranked = sorted(values)
    place = (len(ranked) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ranked) - 1)
    return ranked[below] + (ranked[above] - ranked[below]) * (place - below)


@dataclass(frozen=True)
class Cycle:
    """One failover, whatever became of it.

    Attributes:
        number: from 1.
        nonce: what was written into the files of this cycle alone.
        old, new: ids of the machine that was left and of the one that took over; None when none did.
        snapshot_id: what was restored; None when the cycle did not come so far.
        phases: seconds by the name of the step, in the order in which they ran.
        seconds: of the whole cycle.
        files, bytes: how many were compared on the new machine.
        error: why it failed; None when it succeeded.
        failed_in: the step in which it failed, when it was one.
        failover: the product's own one that the cycle was about, if any.
    """

    number: int
    nonce: str
    old: int
    new: int | None
    snapshot_id: str | None
    phases: Mapping[str, float]
    seconds: float
    files: int
    bytes: int
    error: str | None = None
    failed_in: str | None = None
    failover: Failover | None = None

    @property
    def succeeded(self) -> bool:
        return self.error is None

    @property
    def kind(self) -> str | None:
        """`WEATHER` or `UNKNOWN` when it failed for a reason that is not known to be the product's."""
        found = _KIND.match(self.error or "")
        return found[1] if found else None

    @property
    def words(self) -> str:
        """The error without its kind."""
        return _KIND.sub("", self.error or "", count=1)

    @property
    def place(self) -> str:
        """Where it failed, to be put behind "failed"."""
        return f" in {self.failed_in}" if self.failed_in else ""

    @property
    def measured(self) -> Mapping[str, float]:
        """Seconds of the product's own failover: `rto`, and `rpo` where files were written meanwhile."""
        if not self.failover or not self.failover.wall_seconds:
            return {}
        loss = self.failover.loss
        return {"rto": self.failover.wall_seconds} | ({"rpo": loss.seconds} if loss else {})

    def document(self) -> dict[str, Json]:
        """As it stands in a report."""
        timings: dict[str, Json] = {f"{name}_sec": round(seconds, 3) for name, seconds in self.phases.items()}
        return {
            "success": self.succeeded,
            "nonce": self.nonce,
            "old_instance_id": str(self.old),
            "new_instance_id": None if self.new is None else str(self.new),
            "snapshot_id": self.snapshot_id,
            "timings": timings | {"total_sec": round(self.seconds, 3)},
            "files_compared": self.files,
            "bytes_compared": self.bytes,
            "failed_in": self.failed_in,
            "error": self.error,
            **{f"{name}_sec": round(seconds, 3) for name, seconds in self.measured.items()},
            **(self.failover.document() if self.failover else {}),
        }


@dataclass
class Failovers:
    """All failovers of a test: those that ran, and those that were wanted. A section of its report.

    `what` they are: cycles one after the other, or those of different machines.
    """

    wanted: int
    cycles: list[Cycle] = field(default_factory=list)
    what: Literal["cycle", "machine"] = "cycle"

    @property
    def succeeded(self) -> list[Cycle]:
        return [cycle for cycle in self.cycles if cycle.succeeded]

    @property
    def rate(self) -> float:
        """Percent of the wanted ones that succeeded; one that did not run counts against it."""
        return 100 * len(self.succeeded) / self.wanted

    @property
    def not_run(self) -> int:
        return self.wanted - len(self.cycles)

    def phases(self) -> list[str]:
        """The names of all phases, in the order in which they ran."""
        return list(dict.fromkeys(name for cycle in self.cycles for name in cycle.phases))

    def measured(self) -> list[str]:
        """The names of what was measured of the product's own failovers."""
        return list(dict.fromkeys(name for cycle in self.cycles for name in cycle.measured))

    def statistics(self) -> dict[str, Statistics]:
        """Of each phase, of the whole and of what was measured, over the cycles that succeeded; empty when none did."""
        good = [{**cycle.phases, TOTAL: cycle.seconds, **cycle.measured} for cycle in self.succeeded]
        names = [*self.phases(), TOTAL, *self.measured()]
        seconds = {name: [one[name] for one in good if name in one] for name in names}
        return {name: statistics_of(values) for name, values in seconds.items() if values}

    def raise_unless_all_succeeded(self) -> None:
        """Names every cycle that failed, and how many did not run.

        Raises:
            Mismatch: at least one failed for a reason of the product's.
            Unknown: at least one could not be judged, and the others have no other excuse than the weather.
            Weather: all that failed did so because the market gave no machine.
        """
        failed = [cycle for cycle in self.cycles if not cycle.succeeded]
        if not failed and not self.not_run:
            return
        kinds = {cycle.kind for cycle in failed} or {None}
        told = [
            f"{self.what.capitalize()} {cycle.number} of {self.wanted} failed{cycle.place}"
            + (f" ({cycle.kind.lower()})" if cycle.kind and len(kinds) > 1 else "")
            + f": {cycle.words}"
            for cycle in failed
        ]
        raise _error_of(kinds)("\n".join([*told, self.score()]))

    def score(self) -> str:
        """How many succeeded, in one sentence."""
        rest = f"; {number(self.not_run)} did not run" if self.not_run else ""
        return f"Failovers that succeeded: {len(self.succeeded)} of {self.wanted} ({self.rate:g} %){rest}."

    # What a report shows of it

    def document(self) -> dict[str, Json]:
        """Keys that are added to the report."""
        return {
            f"{self.what}s": [{self.what: cycle.number} | cycle.document() for cycle in self.cycles],
            "statistics": {name: found.document() for name, found in self.statistics().items()},
        }

    def metrics(self) -> dict[str, Json]:
        """Numbers that are added to the report's metrics."""
        found = self.statistics()
        seconds = {
            f"{prefix}_{key}": value
            for name, prefix in {TOTAL: "failover", **{name: name for name in self.measured()}}.items()
            if name in found
            for key, value in found[name].document().items()
            if key != "count"
        }
        return {
            f"{self.what}s_wanted": self.wanted,
            f"{self.what}s_run": len(self.cycles),
            f"{self.what}s_succeeded": len(self.succeeded),
            "success_rate_percent": round(self.rate, 2),
            "files_compared": sum(cycle.files for cycle in self.cycles),
            "bytes_compared": sum(cycle.bytes for cycle in self.cycles),
        } | seconds

    def headline(self) -> list[str]:
        """What stands in the one line that a test is told in."""
        told = [f"{len(self.succeeded)} of {self.wanted} failovers"]
        found = self.statistics()
        for name in self.measured() or [TOTAL]:
            if one := found.get(name):
                of = "" if name == TOTAL else f"{name.upper()} "
                told.append(f"{of}mean {one.mean:.1f} s, p95 {one.p95:.1f} s")
        return told

    def lines(self) -> list[str]:
        """A table for the console."""
        names = [*self.phases(), TOTAL, *self.measured()]
        lines = [
            "Failovers, in seconds:",
            f"   {self.what:<7}" + "".join(f"{name[: _COLUMN - 1]:>{_COLUMN}}" for name in names) + f"{'compared':>16}",
        ]
        for cycle in self.cycles:
            seconds = {**cycle.phases, TOTAL: cycle.seconds, **cycle.measured}
            row = "".join(f"{f'{seconds[name]:.2f}' if name in seconds else '-':>{_COLUMN}}" for name in names)
            result = "✓" if cycle.succeeded else f"✗ failed{cycle.place}"
            lines.append(f"   {cycle.number:<7}{row}{counted(cycle.files, 'file'):>16}  {result}")
        lines += [f"   {left:<7}{'did not run':>{_COLUMN + 1}}" for left in self._left()]
        if found := self.statistics():
            lines.append(f"   of the {counted(len(self.succeeded), self.what)} that succeeded:")
            for statistic in STATISTICS:
                values = [f"{getattr(found[name], statistic):.2f}" if name in found else "-" for name in names]
                lines.append(f"   {statistic:<7}" + "".join(f"{value:>{_COLUMN}}" for value in values))
        return [*lines, f"   {self.score()}"]

    def html(self) -> Iterator[str]:
        """The pictures: a bar a cycle, and what each one proved."""
        name = self.what.capitalize()
        bars = [
            Bar(f"{name} {cycle.number}", cycle.phases, cycle.seconds, f"failed{cycle.place}" if cycle.error else None)
            for cycle in self.cycles
        ]
        yield chart([*bars, *(Bar(f"{name} {left}", {}, 0.0, "did not run") for left in self._left())])
        failovers = [(cycle, cycle.failover) for cycle in self.cycles if cycle.failover]
        if failovers and self.what == "cycle":  # else the phases are those of the failovers already
            yield chart(
                [
                    Bar(f"RTO {cycle.number}", one.seconds_by_phase(), one.wall_seconds, cycle.error and "failed")
                    for cycle, one in failovers
                ]
            )
        yield table(
            (self.what, "from machine", "to machine", "snapshot", "compared", "total", "result"),
            (
                (
                    cycle.number,
                    cycle.old,
                    cycle.new or "none",
                    cycle.snapshot_id or "none",
                    f"{counted(cycle.files, 'file')}, {number(cycle.bytes)} bytes",
                    f"{cycle.seconds:.2f} s",
                    "succeeded" if cycle.succeeded else f"failed{cycle.place}: {cycle.error}",
                )
                for cycle in self.cycles
            ),
        )
        yield table(
            ("seconds of", f"{self.what}s", *STATISTICS),
            (
                (name, one.count, *(f"{getattr(one, statistic):.2f}" for statistic in STATISTICS))
                for name, one in self.statistics().items()
            ),
        )

    def _left(self) -> range:
        return range(len(self.cycles) + 1, self.wanted + 1)


AfterFailure = Literal["stop", "continue"]


def phases_of(steps: Sequence[Step]) -> dict[str, float]:
    """Seconds by the name of the step; one that ran twice counts twice. Steps within steps are left out."""
    outermost = min((step.depth for step in steps), default=0)
    phases: dict[str, float] = {}
    for step in steps:
        if step.depth == outermost:
            name = step.key.removesuffix("_sec")
            phases[name] = phases.get(name, 0.0) + step.seconds
    return phases


def compared(checks: Sequence[Check]) -> tuple[int, int]:
    """How many files and bytes these checks have compared on a machine."""
    found = [check.counted for check in checks if check.what == COMPARED]
    return sum(one.get("files", 0) for one in found), sum(one.get("bytes", 0) for one in found)


def _error_of(kinds: set[str | None]) -> type[RekindleError]:
    if None in kinds:
        return Mismatch
    return Unknown if "UNKNOWN" in kinds else Weather
