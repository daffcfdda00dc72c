"""Leases: who still needs the cloud. One file a process; the cloud goes when the last of them has ended."""

from __future__ import annotations

from pathlib import Path

from sandbox.processes import ProcessId
from sandbox.state import write_private

_BY_HAND = "by-hand"


class Leases:
    """The files D/leases/<pid>, and D/leases/by-hand: a person started the cloud, and only `down` ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, process: ProcessId | None) -> None:
        """Notes that the process needs the cloud; None stands for a person."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if process is None:
            (self._folder / _BY_HAND).touch(mode=0o600)
        else:
            write_private(self._folder / str(process.pid), process.model_dump_json())

    def are_held(self) -> bool:
        """Whether anybody still needs the cloud. Forgets the processes that have ended."""
        if not self._folder.is_dir():
            return False
        held = False
        for file in self._folder.iterdir():
            if file.name == _BY_HAND:
                held = True
            elif file.name.isdigit():
                if ProcessId.model_validate_json(file.read_text()).is_alive():
                    held = True
                else:
                    file.unlink(missing_ok=True)
        return held

    def clear(self) -> None:
        """Ends all leases: the cloud is taken down."""
        if self._folder.is_dir():
            for file in self._folder.iterdir():
                file.unlink(missing_ok=True)
