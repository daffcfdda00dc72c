"""Whose disk is full when restic fails: that of the computer that runs the cloud, or that of a rented machine.

Most machines share the computer's disk; a machine with a disk of its own is known by its size.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sandbox.disk_space import amount, full, shortage

NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
# As `tell_disk` of the scripts writes it.
ON_DISK = re.compile(
    r"^(?P<folder>.*) is on a disk of (?P<blocks>\d+) blocks of (?P<size>\d+) bytes, (?P<free>\d+) ", re.MULTILINE
)


def whose_disk_is_full(state_dir: Path, words: str) -> str | None:
    """Return a sentence that names the full disk that made restic fail; None if no disk is full.

    Args:
        state_dir: the state directory of the cloud.
        words: the error output of restic and of the script that ran it.
    """
    if sentence := shortage(state_dir):
        return sentence
    if not NO_SPACE.search(words):
        return None
    found = ON_DISK.search(words)
    if found is None or _size(state_dir) == int(found["blocks"]) * int(found["size"]):
        return f"{full(state_dir)}."
    free = int(found["free"]) * int(found["size"])
    return f"The disk of the rented machine is full: {found['folder']} has {amount(free)} free."


def _size(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_blocks * disk.f_frsize
