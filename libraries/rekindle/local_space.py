"""Free space on the disks of this computer that a run writes to."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rekindle.errors import Misconfigured

MB = 10**6  # bytes
SIZE = 20 * MB  # logs, screenshots and reports of a run
FILES = 100  # inodes
# How programs and services say that a disk is full.
NO_SPACE = re.compile(r"no space left on device|disk quota exceeded|disk .* is (?:too )?full", re.IGNORECASE)


class LocalSpace:
    """The directories that a run writes to."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        """Name the directories.

        Args:
            places: each directory by what it is for, with the variable or option that chooses another.
        """
        self._places = dict(places)

    def add(self, purpose: str, folder: Path) -> None:
        """Name another directory."""
        self._places[purpose] = folder

    def check(self) -> None:
        """Check that there is space for what a run writes.

        Raises:
            Misconfigured: a disk of this computer is full; names the directory, free and needed space.
        """
        for purpose, folder in self._places.items():
            if words := _shortage(folder):
                raise Misconfigured(
                    f"Nothing is rented, because a disk of this computer is full: {purpose}, {folder}, {words}. Free "
                    "space there, or choose another directory."
                )


class Watcher(Protocol):
    """What must be ready before each rent."""

    def ensure_ready(self) -> None: ...


@dataclass(frozen=True)
class SpaceFirst:
    """A watcher that is ready only if there is space on the disks of this computer."""

    space: LocalSpace
    watcher: Watcher

    def ensure_ready(self) -> None:
        """Check the space, and let the watcher become ready.

        Raises:
            Misconfigured: a disk of this computer is full.
        """
        self.space.check()
        self.watcher.ensure_ready()


def _shortage(folder: Path) -> str | None:
    try:
        disk = os.statvfs(next(place for place in (folder, *folder.parents) if place.exists()))
    except OSError:
        return None  # whoever writes there finds out
    if (free := disk.f_bavail * disk.f_frsize) < SIZE:
        return f"has {free / MB:.1f} MB free of {SIZE / MB:g} MB needed"
    if disk.f_files and disk.f_favail < FILES:  # some file systems have no fixed number of files
        return f"has room for {disk.f_favail} files of {FILES} needed"
    return None
