"""The embedded cloud as its users meet it: a command line that starts it and an HTTP API that breaks it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from rekindle.errors import Misconfigured, RekindleError
from rekindle.settings import Settings

PROJECT_DIR = Path(__file__).resolve().parents[2]
PARTS = {"control": "DUMONT_API_URL", "market": "VAST_URL"}


class CloudDown(RekindleError):
    """The embedded cloud does not start or does not answer."""


class EmbeddedCloud:
    """One embedded cloud, by its state directory. Knows of it only what its command line tells everybody."""

    def __init__(self, state_dir: Path | None = None) -> None:
        self._options = ["--state-dir", str(state_dir)] if state_dir else []
        self._environment: dict[str, str] = {}

    def up(self, *, profile: str | None = None, lease: int | None = None) -> Settings:
        """Starts the cloud, or joins the one that runs, and returns its addresses and credentials.

        Args:
            profile: `instant` or `realistic`; the cloud's own default when None.
            lease: the process that needs the cloud; it stops by itself some time after that process has ended.

        Raises:
            CloudDown: it did not come up; the message is what its command line says.
        """
        options = ["--detach", *self._options, "--lease", str(lease or os.getpid())]
        if profile:
            options += ["--profile", profile]
        self._call("up", *options)
        self._environment = json.loads(self._call("env", "--json", *self._options))
        return Settings.from_mapping(self._environment)

    @property
    def control_token(self) -> str:
        """Opens the control API, through which the cloud is broken and mended.

        Raises:
            CloudDown: this run has not started it.
        """
        if not self._environment:
            raise CloudDown("The embedded cloud has not been started by this run: call `Open Target` first.")
        return self._environment["SANDBOX_CONTROL_TOKEN"]

    def down(self) -> None:
        """Stops the cloud; its state is kept."""
        self._call("down", *self._options)

    def status(self) -> str:
        """What the cloud says of its parts, machines and bill."""
        return self._run("status", *self._options).stdout

    def kill(self, part: str) -> None:
        """Kills the process of a part with SIGKILL, as a crash does. It is the one that `status` names."""
        found = re.search(rf"^\s*{re.escape(part)}\s.*\bprocess (\d+)", self.status(), re.MULTILINE)
        if not found:
            raise CloudDown(f"The embedded cloud has no running part {part!r}:\n{self.status()}")
        os.kill(int(found[1]), signal.SIGKILL)

    def add_fault(self, part: str, fault: Mapping[str, Any]) -> None:
        """Breaks a part in one named way (see `sandbox/faults.py`) until the fault is removed."""
        self._ask(part, "POST", "/_sandbox/faults", dict(fault))

    def remove_faults(self) -> None:
        """Removes every fault from every part."""
        for part in PARTS:
            self._ask(part, "DELETE", "/_sandbox/faults")

    def _ask(self, part: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        if part not in PARTS:
            raise Misconfigured(
                f"The embedded cloud has no part {part!r} that takes faults. Parts: {', '.join(PARTS)}."
            )
        headers = {"Authorization": f"Bearer {self.control_token}"}
        url = self._environment[PARTS[part]] + path
        try:
            answer = httpx2.request(method, url, json=body, headers=headers, timeout=10, trust_env=False)
        except httpx2.TransportError as error:
            raise CloudDown(f"The embedded cloud's {part} does not answer at {url}: {error}.") from error
        if answer.is_error:
            raise CloudDown(f"The embedded cloud's {part} refused {method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def _call(self, *arguments: str) -> str:
        done = self._run(*arguments)
        if done.returncode:
            raise CloudDown(f"`python -m sandbox {' '.join(arguments)}` failed:\n{done.stderr.strip()}")
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "sandbox", *arguments],
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
