"""The parts of a cloud, three programs and the network between them: how each is started, asked and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.asking import health_trouble
from sandbox.clocks import PARTS as CLOCKS
from sandbox.clocks import settable
from sandbox.endings import cause, in_words
from sandbox.processes import ProcessId, process_id
from sandbox.state import PROJECT_DIR, CloudConfig, Secrets, StateDir
from sandbox.store.signed import bucket_trouble

PARTS = ("control", "marketplace", "store")
STOP_WITHIN = 10.0  # seconds from SIGTERM to SIGKILL; the store takes one, on a busy machine a few

# The only variables that parts inherit: no credentials of the user who starts the cloud, no Python settings.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


@dataclass(frozen=True)
class Part:
    """One program of the cloud.

    `trouble` looks once whether the part answers as ours: None when it does, else what is amiss; it may raise OSError
    or HTTPException, which mean that nothing answers yet.
    """

    name: str
    command: list[str]
    url: str
    log: Path
    trouble: Callable[[], str | None]
    umask: int = 0o022
    environment: Mapping[str, str] = field(default_factory=dict)  # beside what all parts have

    def failed(self, how: str, status: int | None) -> str:
        """Return why it failed: the cause by its own log, then how it failed, then the end of that log.

        Args:
            how: what the supervisor saw, in sentences.
            status: how it ended, as for `endings.in_words`; None if it still runs.
        """
        found = cause(self._log_lines(), status)
        return "\n".join([*([f"{self.name}: {found}"] if found else []), how, self.last_words()])

    def last_words(self, lines: int = 12) -> str:
        """Return where its log is, and the end of it."""
        text = self._log_lines()[-lines:]
        return "\n    ".join([f"Its log, {self.log}, ends:", *text]) if text else f"Its log, {self.log}, is empty."

    def _log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []


class Running:
    """A part that was started."""

    def __init__(self, part: Part) -> None:
        self.part = part
        if part.log.exists():
            part.log.replace(part.log.with_suffix(".previous.log"))
        with part.log.open("wb") as log:
            self.process = subprocess.Popen(
                # setpriv: the kernel kills the part when the supervisor dies, however it dies.
                ["setpriv", "--pdeathsig", "KILL", *part.command],
                cwd=PROJECT_DIR,
                env=environment() | dict(part.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the supervisor alone
                umask=part.umask,
            )

    def identity(self) -> ProcessId | None:
        return process_id(self.process.pid)

    def death(self) -> str | None:
        """Return how it died; None while it lives."""
        status = self.process.poll()
        return None if status is None else in_words(status)

    def stop(self, within: float = STOP_WITHIN) -> None:
        """Asks the part to end, insists after a while, and sweeps up what it leaves behind in its process group."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(within)
            except subprocess.TimeoutExpired:
                self.process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def environment() -> dict[str, str]:
    """The environment of the parts. Daemons such as sshd live where the PATH of ordinary users does not lead."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "PATH": f"{kept.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}


def parts_of(state: StateDir, config: CloudConfig, secrets: Secrets, store_command: list[str]) -> list[Part]:
    """The parts of a cloud, in the order in which they are to be stopped."""

    def python(name: str, program: str, url: str, log: str) -> Part:
        command = [sys.executable, "-u", "-m", f"sandbox.programs.{program}", "--state-dir", str(state.root)]
        clock = settable(state, name) if config.settable_clocks and name in CLOCKS else {}
        return Part(
            name, command, url, state.logs / log, lambda: health_trouble(url, config.cloud_id), environment=clock
        )

    def store_trouble() -> str | None:
        b2 = (secrets.b2_bucket, secrets.b2_key_id, secrets.b2_application_key)
        r2 = (secrets.r2_bucket, secrets.r2_access_key, secrets.r2_secret_key)
        return bucket_trouble(config.store_url, *b2) or bucket_trouble(config.store_url, *r2)

    store = Part(
        "store",
        store_command,
        config.store_url,
        state.logs / "store.log",
        store_trouble,
        umask=0o077,
    )
    return [
        python("control", "product", config.control_url, "control.log"),
        python("marketplace", "market", config.market_url, "market.log"),
        store,
        *([python("network", "network", config.network_url, "network.log")] if config.network_url else []),
    ]
