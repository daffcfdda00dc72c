"""The suites as their users start them: a `robot` of its own on a cloud for the tests, and what a spectator needs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
from robot.api import ExecutionResult

from rekindle.market import MarketClient
from rekindle.objects import ObjectStore
from rekindle.settings import Settings
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest

WITHIN = 300.0  # seconds that one run may take, also on a machine that does much else
QUICK = tuple(
    word
    for variable in ("SMALL_FILES:20", "LARGE_FILE_BYTES:100000", "IDLE_SECONDS:1", "GONE_TIMEOUT:2s")
    for word in ("--variable", variable)
)
SETUP_FAILED = "Parent suite setup failed:\n"
TEARDOWN_FAILED = "\n\nAlso parent suite teardown failed:\n"


@dataclass
class Run:
    """One `robot` on the suites, with an environment that holds no credential but the given ones.

    Attributes:
        folder: gets its results.
        options: of `robot`.
        environment: its variables, added to the few that every program needs.
        paths: of the suites, in the checkout.
        checkout: its suites, libraries and ledger.
    """

    folder: Path
    options: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    paths: tuple[str, ...] = ("suites",)
    checkout: Path = PROJECT_DIR

    def start(self) -> subprocess.Popen[str]:
        """Starts it in a session of its own, as a terminal does."""
        plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        paths = [str(self.checkout / "libraries"), *filter(None, [self.environment.get("PYTHONPATH")])]
        no_file = ("--variable", f"ENV_FILE:{os.devnull}")
        return subprocess.Popen(
            [sys.executable, "-m", "robot", "--outputdir", str(self.folder), *no_file, *self.options, *self.paths],
            cwd=self.checkout,
            env=plain | dict(self.environment) | {"PYTHONPATH": os.pathsep.join(paths)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def to_its_end(self) -> Ended:
        with self.start() as process:
            console, _ = process.communicate(timeout=WITHIN)
        return ended(self.folder, process.returncode, console)


@dataclass
class Ended:
    """What a run left: its exit code, its console, and the messages of the tests that failed, by their names."""

    folder: Path
    exit_code: int
    console: str
    failures: dict[str, str]

    def passed(self) -> None:
        assert (self.exit_code, self.failures) == (0, {}), self.console

    def stopped_with(self, message: str) -> None:
        """Nothing ran: each test has the same message, and no traceback is shown."""
        assert self.exit_code == len(self.failures) > 0
        assert set(self.failures.values()) == {SETUP_FAILED + message}
        assert "Traceback" not in self.console

    def failed_with(self, words: str) -> dict[str, Any]:
        """The one test failed with these words (a regular expression) and no other, which its report repeats.

        Returns:
            The report.
        """
        ((_, message),) = self.failures.items()
        assert re.fullmatch(words, message), message
        assert "Traceback" not in self.console
        (report,) = self.reports()
        # What a teardown of the suite adds, Robot tells of the test too; its report was written before.
        its_own = message.split(TEARDOWN_FAILED)[0]
        assert (report["validation"]["success"], report["validation"]["error"]) == (False, its_own)
        return report

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("*_report_*.json"))]


def ended(folder: Path, exit_code: int, console: str) -> Ended:
    """Read what a run left in its folder."""
    tests = ExecutionResult(str(folder / "output.xml")).suite.all_tests
    return Ended(folder, exit_code, console, {test.name: test.message for test in tests if test.failed})


class Stage:
    """A cloud for the runs, and what a spectator needs who looks on and plays tricks."""

    def __init__(self, cloud: CloudUnderTest) -> None:
        self.cloud = cloud
        settings = Settings.from_mapping(cloud.environment)
        assert settings.vast_url
        assert settings.vast_api_key
        self.market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
        self.store = ObjectStore(
            settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, settings.b2_application_key.get_secret_value()
        )
        self.control = httpx2.Client(
            base_url=f"{settings.dumont_api_url}/_sandbox",
            headers={"Authorization": f"Bearer {cloud.environment['SANDBOX_CONTROL_TOKEN']}"},
            trust_env=False,
            timeout=30,
        )

    def sandbox(self, folder: Path, *options: str) -> Run:
        """A run on the target `sandbox`, with few files."""
        return Run(folder, ("--variable", f"STATE_DIR:{self.cloud.state_dir}", *QUICK, *options))

    def live(self, folder: Path, *options: str, **changes: str) -> Run:
        """A run on the target `live`, with few files; `changes` are variables that the user has set otherwise."""
        chosen = ("--variable", "TARGET:live", "--variable", "MAX_PRICE:1", *QUICK)
        return Run(folder, (*chosen, *options), self.cloud.environment | changes)

    def rented(self) -> dict[int, str]:
        """Label by id of every machine."""
        return {row.id: row.label or "" for row in self.market.instances()}

    def workspace(self, instance_id: int) -> Path:
        return self.cloud.state_dir / "machines" / str(instance_id) / "workspace"

    @contextlib.contextmanager
    def at(self, event: str, act: Callable[[Mapping[str, int]], None]) -> Iterator[None]:
        """Acts whenever the cloud has just done something, before it goes on."""

        class Subscriber(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                act(json.loads(self.rfile.read(int(self.headers["content-length"])))["data"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Subscriber)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        self.control.post("/subscriptions", json={"event": event, "url": url}).raise_for_status()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            self.control.delete("/subscriptions").raise_for_status()

    @contextlib.contextmanager
    def answering(self, **fault: object) -> Iterator[None]:
        """Dumont Cloud gives a fixed answer instead of doing what it is asked for."""
        self.control.post("/faults", json={"name": "lie", "kind": "answer", **fault}).raise_for_status()
        try:
            yield
        finally:
            self.control.delete("/faults").raise_for_status()

    def close(self) -> None:
        self.control.close()
        self.market.close()
        self.store.close()
