"""A stand-in for a rented machine: the same scripts, run by bash on this one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import BinaryIO

from rekindle.ssh import Machine


class LocalMachine(Machine):
    """Needs neither a server nor a key. `path` replaces the PATH that its scripts see."""

    def __init__(self, path: str = os.environ["PATH"]) -> None:
        super().__init__("127.0.0.1", 22, Path(os.devnull), Path(os.devnull), alias="local")
        self._environment = {"PATH": path}

    def _start(
        self, script: str, args: tuple[str, ...], stdin: int | BinaryIO, stderr: int | BinaryIO
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["/bin/bash", "-c", script, "bash", *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self._environment,
        )
