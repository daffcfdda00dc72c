"""Trials: one suite on a cloud with one saboteur at work, or with none."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from robot.api import ExecutionResult
from robot.errors import DataError

from sandbox.sabotage.saboteur import Saboteur
from tests.cloud_under_test import PROJECT_DIR
from tests.detection.at_work import AtWork, Nobody

Verdict = Literal["detected", "wrong reason", "missed", "not touched", "broken", "passed", "false alarm"]
WANTED: tuple[Verdict, ...] = ("detected", "passed")

RUN_WITHIN = 300.0  # seconds
_LOOK = 0.1
_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # the kernel ends it when this process ends, however it does

# The suites as small as they can be while they still see all that they look for.
SMALL = {
    "SMALL_FILES": "20",
    "LARGE_FILE_BYTES": "100000",
    "IDLE_SECONDS": "1",
    "GONE_TIMEOUT": "5s",
    "LARGE_FILE_MB": "8",
    "MANY_FILES": "300",
    "CYCLES": "2",
    "STAYS_LOST": "2s",
}


class Stopped(Exception):
    """The whole experiment was called off."""


@dataclass(frozen=True)
class Trial:
    """One suite, against one saboteur or none (an honest run)."""

    suite: str
    saboteur: Saboteur | None = None
    file: Path | None = None
    number: int = 1

    def __str__(self) -> str:
        return f"{self.saboteur.name if self.saboteur else 'honest'}-{self.suite}-{self.number}"


@dataclass
class Outcome:
    """What became of a trial.

    Attributes:
        message: the first failing check's; None when all passed.
        acts: what the saboteur said that it did.
        obstacle: why this account could not let the saboteur act; None when nothing prevented it.
        seconds: of the run.
        folder: what the run left, where it was kept.
    """

    trial: Trial
    verdict: Verdict
    seconds: float
    message: str | None = None
    acts: list[str] = field(default_factory=list)
    obstacle: str | None = None
    folder: str | None = None

    @property
    def as_wanted(self) -> bool:
        """Whether the experiment may be green with this outcome."""
        return self.verdict in WANTED or (self.verdict == "not touched" and self.obstacle is not None)


class Ground:
    """A cloud for trials, one after the other. For each saboteur it is a new one, and for who comes after it."""

    def __init__(self, results: Path, stop: threading.Event) -> None:
        self._results = results
        self._stop = stop
        self._root = Path(tempfile.mkdtemp(prefix="rekindle-detection-"))
        self._state_dir = self._root / "cloud"
        self._up = False
        self._clean = True  # no saboteur was at work since it was new

    def hold(self, trial: Trial) -> Outcome:
        """Runs a trial and judges it. The folder of a run that went as wanted is removed.

        Raises:
            Stopped: it was called off; nothing of the run is left.
        """
        folder = self._results / str(trial)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            outcome = self._hold(trial, folder)
        except BaseException:
            self._renew()
            raise
        self._clean = trial.saboteur is None and outcome.as_wanted
        if outcome.as_wanted:
            shutil.rmtree(folder)
        else:
            outcome.folder = str(folder.relative_to(self._results.parent))
        return outcome

    def close(self) -> None:
        """Stops the cloud and removes everything of it."""
        self._renew()
        shutil.rmtree(self._root, ignore_errors=True)

    def _hold(self, trial: Trial, folder: Path) -> Outcome:
        self._start(trial)
        with Nobody() if trial.file is None else AtWork(trial.file, self._state_dir) as work:
            begun = time.monotonic()
            ended = self._robot(trial, folder)
            seconds = time.monotonic() - begun
        if not ended:
            return Outcome(trial, "broken", seconds, f"It did not end within {RUN_WITHIN:g} s.", work.acts)
        if work.troubles:
            return Outcome(trial, "broken", seconds, f"The saboteur itself failed: {work.troubles[0]}", work.acts)
        try:
            message = first_failure(folder / "output.xml")
        except (DataError, ValueError) as error:
            console = (folder / "console.txt").read_text(errors="replace").strip()[-500:]
            return Outcome(trial, "broken", seconds, f"There is no result ({error}). Robot said: {console}", work.acts)
        obstacle = work.obstacles[0] if work.obstacles and not work.acts else None
        verdict = judge(trial.saboteur, message, work.acts, obstacle)
        return Outcome(trial, verdict, seconds, message, work.acts, obstacle)

    def _start(self, trial: Trial) -> None:
        if self._up and (trial.saboteur or not self._clean):
            self._renew()
        if self._up:
            return
        done = self._sandbox("up", "--detach", "--lease", str(os.getpid()))
        if done.returncode:
            raise RuntimeError(f"The cloud in {self._state_dir} did not start: {done.stderr.strip()}")
        self._up = True

    def _renew(self) -> None:
        self._up = False
        if self._state_dir.exists():
            self._sandbox("down")
            self._sandbox("reset")

    def _sandbox(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sandbox", verb, "--state-dir", str(self._state_dir), *options],
            cwd=PROJECT_DIR, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            start_new_session=True,
        )  # fmt: skip

    def _robot(self, trial: Trial, folder: Path) -> bool:
        """Runs the suite. False when it did not end in time."""
        variables = {**SMALL, "STATE_DIR": str(self._state_dir)}
        options = ["--outputdir", str(folder)]
        options += [word for name, value in variables.items() for word in ("--variable", f"{name}:{value}")]
        plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with (folder / "console.txt").open("w") as console:
            process = subprocess.Popen(
                [*_WITH_US, sys.executable, "-m", "robot", *options, "--suite", trial.suite, "suites"],
                cwd=PROJECT_DIR, env=plain, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + RUN_WITHIN
        try:
            while time.monotonic() < deadline:
                try:
                    process.wait(_LOOK)
                except subprocess.TimeoutExpired:
                    if self._stop.is_set():
                        raise Stopped from None
                else:
                    return True
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def judge(saboteur: Saboteur | None, message: str | None, acts: list[str], obstacle: str | None = None) -> Verdict:
    """Whether a suite is right about its cloud.

    Args:
        saboteur: None for an honest run.
        message: of the first failing check; None when all passed.
        acts: what the saboteur did.
        obstacle: why this account could not let it act. The cloud was honest then, and the suite must pass.
    """
    if saboteur is None:
        return "passed" if message is None else "false alarm"
    if not acts:
        return "false alarm" if obstacle and message is not None else "not touched"
    if message is None:
        return "missed"
    return "detected" if saboteur.noticed.search(message) else "wrong reason"


def first_failure(output: Path) -> str | None:
    """The message of the check that failed first; None when all passed.

    Raises:
        DataError, ValueError: there is no result, or no test was run.
    """
    tests = list(ExecutionResult(str(output)).suite.all_tests)
    if not tests:
        raise ValueError("no test was run")
    failed = next((test for test in tests if test.failed), None)
    if failed is None:
        return None
    # Robot appends what failed later, such as a teardown, and numbers several failures of one test. What a test has
    # said that passed by itself is no failure: then it is the suite's teardown that failed first.
    own, *later = re.split(r"\n\nAlso (?:parent suite )?(?:setup|teardown) failed:\n", failed.message)
    passed = failed.body and not any(one.failed for one in (failed.setup, *failed.body, failed.teardown) if one)
    message = later[0] if later and passed else own
    message = re.sub(r"\A(?:Parent suite )?(?:Setup|Teardown|setup|teardown) failed:\n", "", message)
    several = re.match(r"Several failures occurred:\n\n1\) (.*?)(?:\n\n2\) |\Z)", message, re.DOTALL)
    return several[1] if several else message
