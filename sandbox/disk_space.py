"""Free space of a file system, and the error for a full one."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

MB = 1_000_000
_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
# SQLite's "database or disk is full", and "disk I/O error" where its log or index finds no space.
_SQLITE = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE")


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
            OSError: the file system does not answer, or has no size, as that of /proc.
        """
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        status = os.statvfs(folder)
        if not status.f_blocks:
            raise OSError(errno.ENOTSUP, "The file system has no size", str(folder))
        return cls(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None)


TO_START = Room(256 * MB, 2000)  # a run of phase 3 stores about 200 MB
TO_RENT = Room(32 * MB, 200)  # a machine takes 0.1 MB before its user writes
TO_WRITE = Room(1 * MB, 16)  # with less, writing fails or is about to fail


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


def shortage(folder: Path, needed: Room = TO_WRITE) -> str | None:
    """Return the sentence for a file system with too little free space; None if it has enough or does not answer."""
    try:
        check(folder, needed)
    except DiskFull as full:
        return f"{full}."
    except OSError:  # whoever writes there finds out
        return None
    return None


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
        if getattr(seen, "sqlite_errorname", None) in _SQLITE:
            return True
        seen = seen.__cause__
    return False


def amount(size: int) -> str:
    """Return a number of bytes in words: `12.3 MB`, `512 bytes`."""
    return f"{size / MB:.1f} MB" if size >= MB / 10 else f"{size} bytes"
