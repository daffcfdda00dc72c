"""Trials: a run of a suite is killed at a random moment, and the seconds count until nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import psutil
from robot.api import TestSuite
from robot.errors import DataError

from rekindle.ledger import Ledger
from rekindle.snapshot_records import SnapshotRecords, SnapshotState
from rekindle.target import STATE_DIR
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.detection.trials import SMALL, first_failure
from tests.leak.witness import LOOK, NOT_OURS, Witness

Killed = Literal["robot", "robot and guard", "everything"]
# How often each is chosen, of ten.
SHARES: dict[Killed, int] = {"robot": 6, "robot and guard": 2, "everything": 2}

WITHIN: dict[Killed, float] = {"robot": 10.0, "robot and guard": 60.0, "everything": 60.0}
LOST_AFTER = 90.0  # what is there then is called a leak
QUIET = 1.0  # so long nothing may be seen before the next run begins; the witness looks on
RUN_WITHIN = 300.0
GUARD_WITHIN = 120.0
TRIES = 4
WAKES = "wake_hibernation"  # may wake a machine that an earlier run has hibernated
_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # the kernel ends it when the thread ends that started it
SWEEP = ("--include", "sweep", "--variable", "BUDGET_USD:0")
# In these the cloud itself is broken on purpose, and stays so when the run is killed: that is no leak of the run.
BROKEN = frozenset({"faults"})


class Stopped(Exception):
    """The experiment was called off."""


@dataclass(frozen=True)
class Plan:
    """One trial: the suite, the share of its time after which it is killed, and what is killed."""

    number: int
    suite: str
    share: float
    killed: Killed


@dataclass
class Outcome:
    """What became of a trial.

    Attributes:
        moment: seconds from the start of Robot to the kill.
        there: what was rented in the last look before it.
        seconds: from the kill until nothing of the run was listed any more; 0 when nothing was rented.
        runs: the runs of which something was seen.
        most: how much of it was rented at once, at most.
        left: what was still there when it was given up.
        stored: how many snapshots and manifests had come into the bucket in the last look before it.
        stored_seconds: from the kill until none of them was in the bucket any more; 0 when there had been none.
        stored_left: those that were still there when it was given up.
        trouble: what else went wrong.
    """

    plan: Plan
    moment: float = 0.0
    there: tuple[str, ...] = ()
    seconds: float = 0.0
    runs: tuple[str, ...] = ()
    most: int = 0
    left: tuple[str, ...] = ()
    stored: int = 0
    stored_seconds: float = 0.0
    stored_left: tuple[str, ...] = ()
    trouble: str = ""
    killed_at: float = field(default=0.0, repr=False)

    @property
    def leaked(self) -> bool:
        return bool(self.left or self.stored_left) or self.seconds > WITHIN[self.plan.killed]


def suites() -> dict[str, tuple[str, ...]]:
    """Every suite that rents, by name, with its options. Of a suite whose tests are all long each test is one."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted((PROJECT_DIR / "suites").rglob("*.robot")):
        if path.stem == "__init__" or path.parent.name in {"sweep", *BROKEN}:
            continue
        this = ("--suite", path.stem)
        tests = list(TestSuite.from_file_system(path).all_tests)
        if all("long" in test.tags for test in tests):
            found |= {f"{path.stem}/{test.name}": (*this, "--test", test.name) for test in tests}
        else:
            found[path.stem] = (*this, "--exclude", "long")
    return found


def plans(names: Sequence[str], moments: int, seed: int) -> list[Plan]:
    """Every suite equally often, each moment as likely as any other."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    kinds = chance.choices(get_args(Killed), [SHARES[kind] for kind in get_args(Killed)], k=moments)
    order = [names[number % len(names)] for number in range(moments)]
    chance.shuffle(order)
    return [
        Plan(number, suite, chance.random(), killed)
        for number, (suite, killed) in enumerate(zip(order, kinds, strict=True), 1)
    ]


class Ground:
    """A cloud for trials, one after the other, and its witness."""

    def __init__(self, stop: threading.Event, durations: dict[str, float]) -> None:
        self._stop = stop
        self._durations = durations
        self._suites = suites()
        self._root = Path(tempfile.mkdtemp(prefix="rekindle-leak-"))
        self._cloud = CloudUnderTest(self._root / "cloud")
        self._cloud.up()
        self._witness = Witness(self._cloud.environment)
        self._guards: list[psutil.Process] = []
        self._stored_before: frozenset[str] = frozenset()
        ledger = Ledger(STATE_DIR / "ledger.db", self._cloud.environment["DUMONT_API_URL"])
        self._records = SnapshotRecords(ledger)

    def measure(self, suite: str) -> str | None:
        """Runs a suite to its end, to learn how long that takes. Returns what went wrong."""
        begun = time.monotonic()
        process = self._start(*self._suites[suite])
        try:
            self._wait(process, RUN_WITHIN)
        finally:
            _kill_all(process)
        self._durations[suite] = time.monotonic() - begun
        if not process.returncode:
            return None
        try:
            why = first_failure(self._root / "results" / "output.xml")
        except (DataError, ValueError) as error:
            why = f"there is no result: {error}"
        return f"{suite} ended with {process.returncode} although nobody killed it: {why}"

    def hold(self, plan: Plan) -> Outcome:
        """One trial.

        Raises:
            Stopped: it was called off.
        """
        outcome = Outcome(plan)
        before = self._witness.runs()
        self._stored_before = self._witness.stored()
        self._witness.wakes(f"woken in trial {plan.number}" if plan.suite == WAKES else None)
        for _ in range(TRIES):
            outcome.moment = plan.share * self._durations[plan.suite]
            begun = time.monotonic()
            process = self._start(*self._suites[plan.suite])
            try:
                self._wait(process, outcome.moment)
                left_over = self._kill(process, outcome) if process.poll() is None else None
            finally:
                _kill_all(process)
            if left_over is not None:
                break
            # It was faster than the last time: then the same share of what it took now.
            self._durations[plan.suite] = time.monotonic() - begun
        else:
            outcome.trouble = f"it ended before its moment, {TRIES} times"
            return outcome
        if plan.killed != "robot":
            outcome.trouble = self._sweep() or ""
        self._watch(outcome)
        self._watch_bucket(outcome)
        for survivor in left_over:
            with contextlib.suppress(psutil.NoSuchProcess):
                survivor.kill()
        outcome.runs = tuple(sorted(self._witness.runs() - before))
        outcome.most = sum(self._witness.most.get(run, 0) for run in outcome.runs)
        return outcome

    def close(self, outcomes: Sequence[Outcome]) -> str | None:
        """Waits until all guards have ended, and sweeps once more. What came late counts for its run.

        Returns:
            What went wrong.
        """
        try:
            _, alive = psutil.wait_procs(self._guards, GUARD_WITHIN)
            trouble = f"{len(alive)} guards did not end within {GUARD_WITHIN:g} s" if alive else None
            trouble = trouble or self._sweep(finds_nothing=True)
            for outcome in outcomes:
                late = [self._witness.last_seen[run] - outcome.killed_at for run in outcome.runs if run != NOT_OURS]
                outcome.seconds = max([outcome.seconds, *late])
        finally:
            self.give_up()
        return trouble

    def give_up(self) -> None:
        """Takes the cloud down and removes everything of it."""
        self._witness.close()
        self._cloud.run("down")
        self._cloud.run("reset")
        shutil.rmtree(self._root, ignore_errors=True)

    def _start(self, *options: str) -> subprocess.Popen[bytes]:
        folder = self._root / "results"
        shutil.rmtree(folder, ignore_errors=True)
        variables = {**SMALL, "STATE_DIR": str(self._cloud.state_dir)}
        words = [word for name, value in variables.items() for word in ("--variable", f"{name}:{value}")]
        plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with (self._root / "console.txt").open("w") as console:
            return subprocess.Popen(
                [*_WITH_US, sys.executable, "-m", "robot", "--outputdir", str(folder), *words, *options, "suites"],
                cwd=PROJECT_DIR,
                env=plain,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        """Waits for the end of the process, and for so long at most."""
        deadline = time.monotonic() + seconds
        while process.poll() is None and (left := deadline - time.monotonic()) > 0:
            if self._stop.is_set():
                raise Stopped
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(left, 0.5))

    def _kill(self, process: subprocess.Popen[bytes], outcome: Outcome) -> list[psutil.Process]:
        """Kills what the plan says with -9. Returns what of the run is still there, but for a guard that shall work."""
        robot = psutil.Process(process.pid)
        children = robot.children(recursive=True)
        guards = [child for child in children if _is_guard(child)]
        others = [child for child in children if child not in guards]
        sight = self._witness.last
        outcome.there = sight.there if sight else ()
        outcome.stored = len(self._witness.stored() - self._stored_before)
        outcome.killed_at = time.monotonic()
        # The guard first, or it would begin its work in the moment between.
        victims = {"robot": [robot], "robot and guard": [*guards, robot], "everything": [*guards, robot, *others]}
        for victim in victims[outcome.plan.killed]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        process.wait()
        self._guards += guards
        return others

    def _watch(self, outcome: Outcome) -> None:
        """Looks until nothing is rented and nothing comes for a while."""
        sight = self._witness.after(outcome.killed_at, LOST_AFTER)
        while sight and sight.begun - max(self._witness.last_present, outcome.killed_at) < QUIET:
            if sight.there and sight.ended - outcome.killed_at > LOST_AFTER:
                outcome.left = sight.there
                break
            sight = self._witness.after(sight.ended, LOST_AFTER)
        if sight is None:
            outcome.trouble = f"{outcome.trouble} The listings could not be read.".strip()
        outcome.seconds = max(self._witness.last_present - outcome.killed_at, 0.0)

    def _watch_bucket(self, outcome: Outcome) -> None:
        """Wait until no snapshot of the run is in the bucket, nor the manifest of one.

        A run that was killed after its orderly end may have kept a hibernation: its ledger says so.
        """
        while True:
            kept = [one.snapshot_id or "" for one in self._records.on_target() if one.state is SnapshotState.KEPT]
            left = {
                key
                for key in self._witness.stored() - self._stored_before
                if not any(id_ and id_ in key for id_ in kept)
            }
            passed = time.monotonic() - outcome.killed_at
            if not left or passed > LOST_AFTER or self._stop.is_set():
                outcome.stored_left = tuple(sorted(left))
                outcome.stored_seconds = passed if outcome.stored else 0.0
                return
            time.sleep(LOOK)

    def _sweep(self, *, finds_nothing: bool = False) -> str | None:
        """Sweeps as a person does. Returns what went wrong."""
        process = self._start(*SWEEP)
        try:
            self._wait(process, RUN_WITHIN)
        finally:
            _kill_all(process)
        console = (self._root / "console.txt").read_text(errors="replace").strip()
        if process.returncode:
            failed = next((line for line in console.splitlines() if line.startswith("Result: ")), console[-300:])
            # An account on which nothing was ever rented is no proof, but it is no leak either.
            return None if "Nothing was looked at" in failed else f"the sweep failed: {failed}"
        if finds_nothing and "Destroyed: " in console:
            return f"the last sweep still found something: {[x for x in console.splitlines() if 'Destroyed: ' in x]}"
        return None


def _is_guard(process: psutil.Process) -> bool:
    try:
        return "rekindle.guard" in process.cmdline()
    except psutil.Error:
        return False


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    """Leaves no process of a run that goes on, but for its guard, which has a session of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
