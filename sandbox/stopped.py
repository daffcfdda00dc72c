"""The parts that shall not run while the rest of the cloud does. One empty file a part in D/stopped."""

from __future__ import annotations

from pathlib import Path


class Stopped:
    """Written by who stops or starts a part; the supervisor acts on it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, part: str) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        (self._folder / part).touch(mode=0o600)

    def remove(self, part: str) -> None:
        (self._folder / part).unlink(missing_ok=True)

    def names(self) -> set[str]:
        return {file.name for file in self._folder.iterdir()} if self._folder.is_dir() else set()

    def clear(self) -> None:
        for part in self.names():
            self.remove(part)
