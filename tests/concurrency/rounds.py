"""Rounds: several runs start at the same moment on one cloud; each must pass, and together they must leave nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from robot.errors import DataError

from rekindle.gcp import GcpClient
from rekindle.market import MarketClient
from rekindle.objects import ObjectStore
from rekindle.settings import Settings
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.detection.trials import SMALL, first_failure

RUN_WITHIN = 900.0  # seconds that one of the runs may take
AFTER_TERM = 60.0  # seconds for a run to clean up after it is stopped
RUNS: Mapping[str, tuple[str, ...]] = {
    "phase 3, first": ("--include", "phase3"),
    "phase 3, second": ("--include", "phase3"),
    "journeys": ("--include", "journey", "--exclude", "long"),
    "phase 4": ("--include", "phase4", "--exclude", "long"),
}
SWEEP = ("--include", "sweep", "--variable", "BUDGET_USD:0")


class Stopped(Exception):
    """The experiment was called off."""


@dataclass
class Round:
    """The result of one round.

    Attributes:
        number: from 1.
        failures: first failure of each run that was not green, by the run's name.
        left: what is still there afterwards, in words.
        seconds: from the start until all runs ended.
    """

    number: int
    failures: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not (self.failures or self.left)


class Ground:
    """One cloud for all rounds, so that whatever one of them leaves meets the next.

    Args:
        stop: calls everything off when it is set.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._root = Path(tempfile.mkdtemp(prefix="rekindle-concurrency-"))
        self._cloud = CloudUnderTest(self._root / "cloud")
        self._cloud.up()
        settings = Settings.from_mapping(self._cloud.environment)
        assert settings.vast_url
        assert settings.vast_api_key
        assert settings.gcp_url
        assert settings.gcp_project
        assert settings.gcp_access_token
        assert settings.restic_repository
        self._market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
        self._gcp = GcpClient(settings.gcp_url, settings.gcp_project, settings.gcp_access_token.get_secret_value())
        self._store = ObjectStore(
            settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, settings.b2_application_key.get_secret_value()
        )
        self._repository = settings.restic_repository.rpartition("/")[2]

    def hold(self, number: int, runs: Mapping[str, tuple[str, ...]] = RUNS) -> Round:
        """Let all runs start at once, wait for their ends, and look at what they leave.

        Args:
            number: of the round.
            runs: the options of each run, by name.

        Raises:
            Stopped: it was called off.
        """
        held = Round(number)
        begun = time.monotonic()
        processes = {name: self._start(name, options) for name, options in runs.items()}
        try:
            for name, process in processes.items():
                self._wait(process)
                if process.returncode:
                    held.failures[name] = self._why(name, process.returncode)
        finally:
            for process in processes.values():
                _end(process)
        held.seconds = time.monotonic() - begun
        held.left = self._left()
        if not held.is_clean:
            self._keep(number)
        return held

    def sweep(self) -> str | None:
        """Sweep as a user does, when all is over. Return why it was not green, or what it found."""
        process = self._start("sweep", SWEEP)
        try:
            self._wait(process)
        finally:
            _end(process)
        if process.returncode:
            return f"the sweep failed: {self._why('sweep', process.returncode)}"
        found = [line.strip() for line in self._console("sweep").splitlines() if "Destroyed: " in line]
        return f"the sweep found something: {'; '.join(found)}" if found else None

    def close(self) -> None:
        """Take the cloud down and remove everything of it."""
        self._market.close()
        self._gcp.close()
        self._store.close()
        self._cloud.run("down")
        self._cloud.run("reset")
        shutil.rmtree(self._root, ignore_errors=True)

    def _left(self) -> list[str]:
        left = [f"machine {row.id} ({row.label})" for row in self._market.instances()]
        left += [f"volume {row.id} ({row.label})" for row in self._market.volumes()]
        left += [f"CPU machine {row.id} ({row.label})" for row in self._gcp.instances()]
        for prefix in ("rekindle/", *(f"{self._repository}/{folder}/" for folder in ("snapshots", "data", "locks"))):
            left += [f"object {one.key}" for one in self._store.list(prefix)]
        return left

    def _start(self, name: str, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        folder = self._folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        variables = {**SMALL, "STATE_DIR": str(self._cloud.state_dir), "ENV_FILE": os.devnull}
        words = [word for key, value in variables.items() for word in ("--variable", f"{key}:{value}")]
        plain = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        with (folder / "console.txt").open("w") as console:
            return subprocess.Popen(
                [sys.executable, "-m", "robot", "--outputdir", str(folder), *words, *options, "suites"],
                cwd=PROJECT_DIR,
                env=plain,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + RUN_WITHIN
        while process.poll() is None and (left := deadline - time.monotonic()) > 0:
            if self._stop.is_set():
                raise Stopped
            with suppress(subprocess.TimeoutExpired):
                process.wait(min(left, 0.5))

    def _why(self, name: str, code: int) -> str:
        try:
            why = first_failure(self._folder(name) / "output.xml")
        except (DataError, ValueError) as error:
            why = f"there is no result: {error}"
        return f"exit code {code}: {why}"

    def _keep(self, number: int) -> None:
        """Keep the results of a round that was not clean, so that its cause can be found."""
        kept = PROJECT_DIR / "results" / "concurrency" / f"round-{number}"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(self._root / "results", kept)

    def _console(self, name: str) -> str:
        return (self._folder(name) / "console.txt").read_text(errors="replace")

    def _folder(self, name: str) -> Path:
        return self._root / "results" / name.replace(", ", "-").replace(" ", "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a run that still runs, and let it clean up."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(AFTER_TERM)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
