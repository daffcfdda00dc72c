"""A stand-in for a rented machine: the same scripts, run by bash on this one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO

from rekindle.ssh import Machine

BASH = "/bin/bash"


class LocalMachine(Machine):
    """Needs neither a server nor a key.

    Args:
        path: replaces the PATH that its scripts see.
        walls: a command that every script is run under.
    """

    def __init__(self, path: str = os.environ["PATH"], walls: Collection[str] = ()) -> None:
        super().__init__("127.0.0.1", 22, Path(os.devnull), Path(os.devnull), alias="local")
        self._environment = {"PATH": path}
        self._walls = walls

    def _start(
        self, script: str, args: tuple[str, ...], stdin: int | BinaryIO, stderr: int | BinaryIO
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._walls, BASH, "-c", script, "bash", *args],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self._environment,
        )


def tools(folder: Path, *, without: Collection[str] = (), replaced: Mapping[str, str] | None = None) -> str:
    """A PATH with all tools of this machine but some, and with scripts in the place of others."""
    folder.mkdir()
    for directory in ("/usr/bin", "/bin"):
        for tool in Path(directory).iterdir():
            if tool.name not in without and not (folder / tool.name).is_symlink():
                (folder / tool.name).symlink_to(tool)
    for name, script in (replaced or {}).items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f"#!{BASH}\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)
