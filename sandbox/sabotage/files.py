"""The files of a machine as saboteurs change them: with no other trace than the lie itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def keeping_times(*paths: Path) -> Iterator[None]:
    """What is done meanwhile leaves the times of these as they were: removing a file changes its folder's."""
    before = {path: path.stat() for path in paths}
    yield
    for path, was in before.items():
        if path.exists():
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def regular_files(folder: Path) -> list[Path]:
    """All regular files below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
