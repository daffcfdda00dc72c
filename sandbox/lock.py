"""One supervisor a state directory: who holds the lock runs the cloud."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lock(file: Path) -> Iterator[bool]:
    """Yields whether the lock could be taken. The kernel gives it back when the holder ends, however it ends."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # `reset` may have removed the file between the two steps; then the lock guards nothing.
            held = file.exists() and file.stat().st_ino == os.fstat(descriptor).st_ino
        except BlockingIOError:
            held = False
        yield held
    finally:
        os.close(descriptor)
