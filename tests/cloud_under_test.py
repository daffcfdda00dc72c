"""The embedded cloud as its users handle it: by its command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.environment import client_environment
from sandbox.state import StateDir
from sandbox.supervisor import standing

PROJECT_DIR = Path(__file__).resolve().parent.parent


@dataclass
class CloudUnderTest:
    """A cloud in a directory of its own, from start to stop."""

    state_dir: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs one command to its end, whatever its exit code."""
        with self.start(verb, *options) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, verb: str, *options: str) -> subprocess.Popen[str]:
        """Starts a command that stays, such as `up` in the foreground."""
        return subprocess.Popen(
            self.command(verb, *options),
            cwd=PROJECT_DIR,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, verb: str, *options: str) -> list[str]:
        return [sys.executable, "-m", "sandbox", verb, "--state-dir", str(self.state_dir), *options]

    def up(self, *options: str) -> None:
        """Starts it, detached; it goes with these tests even when they are killed."""
        done = self.run("up", "--detach", "--lease", str(os.getpid()), *options)
        assert done.returncode == 0, done.stderr
        state = StateDir(self.state_dir)
        self.environment = client_environment(state, state.config(), state.secrets())  # as `env` prints it

    def kill(self, part: str) -> None:
        """Ends a part as a crash does. The rest of the cloud ends with it, a moment later."""
        up = standing(StateDir(self.state_dir))
        assert up is not None
        up.parts[part].kill(signal.SIGKILL)

    def has_stopped(self) -> bool:
        left = standing(StateDir(self.state_dir))
        return left is None or not left.supervisor.is_alive()

    def down(self) -> None:
        done = self.run("down")
        assert done.returncode == 0, done.stderr
