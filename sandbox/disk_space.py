"""Free space of a file system, and the error for a full one."""

from __future__ import annotations

import errno
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
_ERRNOS = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Room:
    """Free or needed space.

    Attributes:
        bytes: bytes that the user may write.
        inodes: files that the user may create; None on a file system without such a limit.
    """

    bytes: int
    inodes: int | None

    @classmethod
    def of(cls, folder: Path) -> Room:
        """Return the free space of the file system that holds a folder, or will hold it.

        Raises:
            OSError: the file system does not answer.
        """
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        status = os.statvfs(folder)
        return cls(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None)


TO_START = Room(256 * MB, 2000)  # a run of phase 3 stores about 200 MB
TO_RENT = Room(32 * MB, 200)  # a machine takes 0.1 MB before its user writes


class DiskFull(OSError):
    """A disk of this computer has too little space. The message names the directory, and free and needed space."""


def check(folder: Path, needed: Room) -> None:
    """Check that a file system has enough free space.

    Args:
        folder: a directory on it; it may be missing still.
        needed: minimum of bytes and inodes.

    Raises:
        DiskFull: it has less.
    """
    free = Room.of(folder)
    if free.bytes < needed.bytes:
        raise DiskFull(full(folder, f"{amount(free.bytes)} free, {amount(needed.bytes)} needed"))
    if free.inodes is not None and needed.inodes is not None and free.inodes < needed.inodes:
        raise DiskFull(full(folder, f"{free.inodes} inodes free, {needed.inodes} needed"))


def full(folder: Path, figures: str | None = None) -> str:
    """Return the words for a full disk, without a full stop.

    Args:
        folder: a directory on it.
        figures: free and needed space; the free space now when None.
    """
    return (
        f"The disk of the computer that runs the embedded cloud is too full: the file system of {folder} has "
        f"{figures or f'{amount(Room.of(folder).bytes)} free'}"
    )


def is_full(error: BaseException) -> bool:
    """Return whether an error, or one that caused it, means a full disk."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and (isinstance(seen, DiskFull) or seen.errno in _ERRNOS):
            return True
        if isinstance(seen, sqlite3.Error) and _may_be_full(seen):
            return True
        seen = seen.__cause__
    return False


def _may_be_full(error: sqlite3.Error) -> bool:
    """SQLite says "disk I/O error" or "unable to open" if its auxiliary files find no space."""
    code = getattr(error, "sqlite_errorname", "") or ""
    return code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"))


def amount(size: int) -> str:
    """Return a number of bytes in words: `12.3 MB`, `512 bytes`."""
    return f"{size / MB:.1f} MB" if size >= MB / 10 else f"{size} bytes"
