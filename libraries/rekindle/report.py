"""The report of one test: what was used, how long each step took, what it cost, what was checked.

The JSON shape is `{test_name, timestamp, resources, timings, cost, validation, …}`; keys are added, never renamed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from rekindle import bill_parts
from rekindle.cost import SECONDS_PER_HOUR, TRAFFIC, Cost
from rekindle.documents import Json, write_document
from rekindle.errors import RekindleError, Unknown
from rekindle.failure import cause, failures, first_sentence
from rekindle.money import dollars
from rekindle.wording import number

RULE = "=" * 70
NO_FAILURE = "it to pass"
HEADLINE = ("files", "bytes", "objects")
NOTHING: Mapping[str, float] = {}
STEP_NUMBER = re.compile(r"^\s*\[\d+/\d+\]\s*")


@dataclass(frozen=True)
class Step:
    """One timed step of a test: a `GROUP` of the suite.

    `begun` is in seconds since the test began, `seconds` is how long the step took, both monotonic. `depth` counts the
    steps that it stood in.
    """

    name: str
    begun: float
    seconds: float
    passed: bool
    depth: int = 0

    @property
    def key(self) -> str:
        """`[2/5] Create files` becomes `create_files_sec`."""
        words = STEP_NUMBER.sub("", self.name).lower()
        return re.sub(r"\W+", "_", words).strip("_") + "_sec"


@dataclass(frozen=True)
class Check:
    """Something that was looked at: what, how many of it, by which witness."""

    what: str
    counted: Mapping[str, int]
    witness: str

    def document(self) -> dict[str, Json]:
        """Return the check as it is written to the JSON report."""
        return {"what": self.what, "witness": self.witness, "counted": dict(self.counted), "passed": True}


@dataclass(frozen=True)
class FailedCheck:
    """A check that failed: the keyword that made it, its library, and expected and actual values in words.

    `message` is the whole text that it failed with.
    """

    what: str
    witness: str
    expected: str
    actual: str
    message: str

    def document(self) -> dict[str, Json]:
        """Return the check as it is written to the JSON report."""
        return {
            "what": self.what,
            "witness": self.witness,
            "counted": {},
            "passed": False,
            "expected": self.expected,
            "actual": self.actual,
            "message": self.message,
        }

    def line(self) -> str:
        """Return the check as the console prints it."""
        expected, actual = self.expected.removesuffix("."), self.actual.removesuffix(".")
        return f"✗ {self.what}: expected {expected}; actual {actual}  (by {self.witness})"


@dataclass
class MachineCost:
    """One machine of a test. `rented_at` is monotonic; the rest is known when it is gone: seconds and USD, at most.

    `bill_usd` stays None when the market is no witness; `billed` is what it is made of, under the kinds of its rows.
    """

    instance_id: int
    gpu_name: str
    hourly_usd: float
    rented_at: float
    seconds: float | None = None
    bill_usd: float | None = None
    billed: Mapping[str, float] = field(default_factory=dict)
    cost: Cost | None = None

    def document(self, now: float) -> dict[str, Json]:
        """As it stands in a report; of a machine that is not gone, what it has cost so far."""
        timed = sum(usd for kind, usd in self.billed.items() if kind not in TRAFFIC)
        known = self.cost is not None and self.bill_usd is not None
        return {
            "instance_id": str(self.instance_id),
            "gpu_name": self.gpu_name,
            "gpu_hourly_usd": self.hourly_usd,
            "seconds": round(self.lived(now), 3),
            "estimated_usd": round(self.usd(now), 6),
            "market_bill_usd": None if self.bill_usd is None else round(self.bill_usd, 6),
            "measured_least_usd": round(self.cost.at_least_usd, 6) if self.cost else None,
            "billed": {kind: round(usd, 6) for kind, usd in self.billed.items()},
            "difference_usd": round(self.cost.difference_usd(timed), 6) if self.cost and known else None,
            "billing_unit_usd": round(self.cost.unit_usd, 6) if self.cost else None,
            "bill_agrees": self.cost.agrees_with(timed) if self.cost and known else None,
            "gone": self.seconds is not None,
        }

    def usd(self, now: float) -> float:
        """What it cost, or has cost so far."""
        return self.hourly_usd * self.lived(now) / SECONDS_PER_HOUR

    def lived(self, now: float) -> float:
        """Seconds."""
        return now - self.rented_at if self.seconds is None else self.seconds


class Section(Protocol):
    """A part of a report that a kind of test brings along: its keys, its numbers, its lines, its pictures."""

    def document(self) -> Mapping[str, Json]: ...
    def metrics(self) -> Mapping[str, Json]: ...
    def headline(self) -> list[str]: ...
    def lines(self) -> list[str]: ...
    def html(self) -> Iterator[str]: ...


@dataclass
class Report:
    """Collects what one test finds out. Times are monotonic seconds; money is USD."""

    test_name: str
    begun_at: datetime = field(default_factory=lambda: datetime.now().astimezone())
    resources: dict[str, Json] = field(default_factory=dict)
    machines: dict[int, MachineCost] = field(default_factory=dict)
    standbys: dict[str, Cost] = field(default_factory=dict)
    validation: dict[str, Json] = field(default_factory=dict)
    claims: dict[str, Json] = field(default_factory=dict)
    metrics: dict[str, Json] = field(default_factory=dict)
    not_witnessed: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    failed_checks: list[FailedCheck] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    _running: list[tuple[str, float]] = field(default_factory=list)
    _begun: float = field(default_factory=time.monotonic)
    _seconds: float | None = None
    _failed_keywords: dict[str, FailedCheck] = field(default_factory=dict)

    def elapsed(self) -> float:
        """Seconds since the test began, or that it took once it has ended."""
        return time.monotonic() - self._begun if self._seconds is None else self._seconds

    def now(self) -> float:
        """The moment that the report is of (monotonic): this one, or the end of the test."""
        return self._begun + self.elapsed()

    def end(self) -> None:
        """Stops the clock of the whole test."""
        self._seconds = self.elapsed()

    def start_step(self, name: str) -> None:
        """Starts the clock of a step; steps may be nested."""
        self._running.append((name, self.elapsed()))

    def end_step(self, *, passed: bool) -> Step:
        """Stops the clock of the step that was started last."""
        name, begun = self._running.pop()
        step = Step(name, begun, self.elapsed() - begun, passed, depth=len(self._running))
        self.steps.append(step)
        return step

    def seconds_of(self, *steps: str) -> float:
        """How long the named steps took together (`provision`, `restore`: their keys without `_sec`).

        Raises:
            Unknown: one of them has not ended, so that its seconds are not known.
        """
        timings = self.timings()
        missing = [step for step in steps if f"{step}_sec" not in timings]
        if missing or not steps:
            ended = ", ".join(dict.fromkeys(step.key.removesuffix("_sec") for step in self.steps))
            raise Unknown(
                f"The seconds of {', '.join(missing) or 'no step'} cannot be summed up: steps that have ended in this "
                f"test are {ended or 'none'}."
            )
        return sum(timings[f"{step}_sec"] for step in steps)

    def add_check(self, what: str, witness: str, **counted: int) -> None:
        """Says that something was checked, and how many of it."""
        self.checks.append(Check(what, counted, witness))

    def keyword_failed(
        self, keyword: str, library: str, documentation: str, message: str, error: BaseException | None = None
    ) -> None:
        """Note a failed keyword; it is a failed check only if the test fails because of it.

        Args:
            keyword: its name.
            library: the library that it belongs to.
            documentation: its first line, which stands for the expectation where the error carries none.
            message: what it failed with.
            error: what it raised, where that is known; a RekindleError may carry expected and actual values.
        """
        expected, actual = (error.expected, error.actual) if isinstance(error, RekindleError) else (None, None)
        # Robot's own keywords document how they fail, not what they expect.
        documented = NO_FAILURE if library == "BuiltIn" else first_sentence(documentation)
        for one in failures(message):
            check = FailedCheck(
                keyword,
                library,
                expected or documented or keyword,
                actual or first_sentence(one),
                one,
            )
            self._failed_keywords.setdefault(one, check)  # a keyword that runs others fails after them

    def test_failed(self, error: str) -> None:
        """List every failure in a test's message among the checks, in the order in which they happened."""
        place = self.steps[-1].name if self.steps and not self.steps[-1].passed else self.test_name
        self.failed_checks = [
            self._failed_keywords.get(one)
            or FailedCheck(place, "Robot Framework", NO_FAILURE, first_sentence(one), one)
            for one in failures(error)
        ]

    def machine_rented(self, instance_id: int, gpu_name: str, hourly_usd: float, rented_at: float) -> None:
        """Says that the test has this machine, since that moment (monotonic)."""
        self.machines[instance_id] = MachineCost(instance_id, gpu_name, hourly_usd, rented_at)

    def machine_gone(
        self, instance_id: int, gpu_name: str, cost: Cost, bill_usd: float | None, billed: Mapping[str, float] = NOTHING
    ) -> None:
        """Says what a machine cost that is proven gone; also one that was rented before the test began."""
        seconds = cost.life.at_most
        rented_at = time.monotonic() - seconds
        self.machines[instance_id] = MachineCost(
            instance_id, gpu_name, cost.hourly_usd, rented_at, seconds, bill_usd, billed, cost
        )

    def standby_gone(self, name: str, cost: Cost) -> None:
        """Says what a standby cost that is proven gone."""
        self.standbys[name] = cost

    @property
    def cost(self) -> dict[str, Json]:
        """Totals over all machines of the test, from the life of each, USD; empty when it had none.

        The bill is None as long as that of one machine is not known.
        """
        if not self.machines:
            return {}
        now = self.now()
        machines = list(self.machines.values())
        bills = [machine.bill_usd for machine in machines if machine.bill_usd is not None]
        return {
            "gpu_hourly_usd": round(sum(machine.hourly_usd for machine in machines), 6),
            "estimated_total_usd": round(sum(machine.usd(now) for machine in machines), 6),
            "market_bill_usd": round(sum(bills), 6) if len(bills) == len(machines) else None,
            "market_bill_parts_usd": {name: round(usd, 6) for name, usd in self._billed_parts().items()},
            "machines": [machine.document(now) for machine in machines],
            **self._standby_costs(),
        }

    def _billed_parts(self) -> dict[str, float]:
        return bill_parts.sum_of(bill_parts.parts(machine.billed) for machine in self.machines.values())

    def _standby_costs(self) -> dict[str, Json]:
        if not self.standbys:
            return {}
        return {
            "standby_usd": round(sum(cost.usd for cost in self.standbys.values()), 6),
            "standbys": [
                {
                    "name": name,
                    "hourly_usd": round(cost.hourly_usd, 6),
                    "seconds": round(cost.life.at_most, 3),
                    "estimated_usd": round(cost.usd, 6),
                }
                for name, cost in self.standbys.items()
            ],
        }

    def timings(self) -> dict[str, float]:
        """Seconds of each step under its key, then the sum. A step that ran twice counts twice."""
        seconds: dict[str, float] = {}
        for step in self.steps:
            seconds[step.key] = seconds.get(step.key, 0.0) + step.seconds
        total = self.elapsed()
        return {key: round(value, 3) for key, value in seconds.items()} | {
            "total_sec": round(total, 3),
            "total_min": round(total / 60, 3),
        }

    def document(self, *, passed: bool, error: str | None) -> dict[str, Json]:
        """The whole report as it is written to disk."""
        return {
            "test_name": self.test_name,
            "timestamp": self.begun_at.isoformat(timespec="seconds"),
            "resources": self.resources,
            "timings": dict(self.timings()),
            "cost": self.cost,
            "validation": {
                "success": passed,
                **self.validation,
                "error": error,
                "cause": None if error is None else cause(error),
            },
            "metrics": self.all_metrics(),
            "claims": self.claims,
            "checks": [check.document() for check in (*self.failed_checks, *self.checks)],
            "not_witnessed": list(dict.fromkeys(self.not_witnessed)),
            **{key: value for section in self.sections for key, value in section.document().items()},
        }

    def all_metrics(self) -> dict[str, Json]:
        """The numbers that keywords have recorded, and those of the sections."""
        return self.metrics | {key: value for section in self.sections for key, value in section.metrics().items()}

    def write(self, folder: Path, *, passed: bool, error: str | None) -> Path:
        """Writes `<test>_report_<epoch>.json`, whole or not at all, and never over another report.

        Raises:
            OSError: the folder cannot be written, or the disk is full; nothing is left behind then.
        """
        return write_document(folder, f"{self.test_name}_report", self.document(passed=passed, error=error))

    def headline(self) -> str:
        """What the test found out, in one line: seconds, what was checked, USD."""
        figures = [f"{self.elapsed():.1f} s"]
        figures += [part for section in self.sections for part in section.headline()]
        figures += [
            f"{name.removesuffix('_sec').replace('_', ' ')} {value:.1f} s" for name, value in self._seconds_metrics()
        ]
        most: dict[str, int] = {}
        for check in self.checks:
            most |= {name: max(count, most.get(name, 0)) for name, count in check.counted.items()}
        checked = {name: most[name] for name in HEADLINE if name in most}
        figures += [f"checked {counts(checked)}"] if checked else []
        cost, bill = self.cost.get("estimated_total_usd"), self.cost.get("market_bill_usd")
        if isinstance(bill, float):
            return ", ".join([*figures, f"{dollars(bill, 4)} billed"])
        return ", ".join([*figures, *([f"{dollars(cost, 4)} estimated"] if isinstance(cost, float) else [])])

    def _seconds_metrics(self) -> list[tuple[str, float]]:
        metrics = self.metrics.items()
        return [(name, value) for name, value in metrics if name.endswith("_sec") and isinstance(value, float)]

    def summary(self, *, error: str | None) -> list[str]:
        """The block of lines that ends a test on the console."""
        lines = ["", RULE, f"REPORT: {self.test_name.replace('_', ' ').upper()} TEST", RULE]
        for heading, values in (
            ("Resources", self.resources),
            ("Timings", {key: f"{value:.2f}" for key, value in self.timings().items()}),
            ("Cost", self._cost_lines()),
            ("Metrics", self.all_metrics()),
            ("Claims of the product, not measured", self.claims),
        ):
            if values:
                lines += [f"{heading}:", *(f"   {key + ':':<28} {value}" for key, value in values.items())]
        lines += [line for section in self.sections for line in section.lines()]
        lines += ["Checked:"] if self.checks or self.failed_checks else []
        lines += [f"   {check.line()}" for check in self.failed_checks]
        lines += [f"   {check.what}: {counts(check.counted)}  (by {check.witness})" for check in summed_up(self.checks)]
        lines += [f"   not witnessed: {witness}" for witness in dict.fromkeys(self.not_witnessed)]
        lines += [f"Result: {'✓ passed' if error is None else '✗ ' + cause(error)}", RULE]
        return lines

    def _cost_lines(self) -> dict[str, Json]:
        totals = self.cost
        machines = totals.pop("machines", [])
        totals.pop("standbys", None)
        if totals.pop("market_bill_parts_usd", None):
            billed = self._billed_parts()
            traffic = " (traffic is not part of the estimate)" if bill_parts.PARTS["upload"] in billed else ""
            totals["market_bill_parts"] = bill_parts.in_words(billed) + traffic
        if isinstance(machines, list) and len(machines) > 1:
            totals |= {"machines": len(machines)}
        return totals


def summed_up(checks: Iterable[Check]) -> list[Check]:
    """Puts checks together that were made several times: their counts are added, their name tells how often."""
    same: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        same.setdefault((check.what, check.witness), []).append(check)
    return [
        Check(f"{what}, {len(found)} times" if len(found) > 1 else what, _sums(found), witness)
        for (what, witness), found in same.items()
    ]


def _sums(checks: Sequence[Check]) -> dict[str, int]:
    names = dict.fromkeys(name for check in checks for name in check.counted)
    return {name: sum(check.counted.get(name, 0) for check in checks) for name in names}


def counts(counted: Mapping[str, int]) -> str:
    """`{"files": 1007, "bytes": 64, "looks": 1}` as `1 007 files, 64 bytes, 1 look`."""
    named = {name.replace("_", " "): count for name, count in counted.items()}
    return ", ".join(
        f"{number(count)} {name if count != 1 else name.removesuffix('s')}" for name, count in named.items()
    )


class _Running:
    report = Report("no_test")


def begin(report: Report) -> None:
    """Makes this the report that keywords add to; a process runs one test at a time."""
    _Running.report = report


def current() -> Report:
    """The report of the test that runs now."""
    return _Running.report
