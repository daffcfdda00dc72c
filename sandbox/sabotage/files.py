"""The files of a machine as saboteurs change them: with no other trace than the lie itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import trees


@contextmanager
def keeping_times(*paths: Path) -> Iterator[None]:
    """What is done meanwhile leaves the times of these as they were: removing a file changes its folder's.

    An ordinary user may change even those that are read-only: they get their modes back as well.
    """
    before = {path: path.stat() for path in paths}
    for path, was in before.items():
        path.chmod(was.st_mode | (stat.S_IRWXU if path.is_dir() else stat.S_IRUSR | stat.S_IWUSR))
    yield
    for path, was in before.items():
        if path.exists():
            path.chmod(stat.S_IMODE(was.st_mode))
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder. An ordinary user may remove even what is in read-only folders."""
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    trees.remove(path)


def regular_files(folder: Path) -> list[Path]:
    """All regular files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
