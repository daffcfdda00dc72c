"""Whose disk is full when restic fails."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.control.restic_disks import whose_disk_is_full

ENOSPC = "Fatal: write /workspace/.dumont-restore/data: no space left on device\n"


def on_disk(blocks: int, size: int, free: int) -> str:
    return f"/workspace is on a disk of {blocks} blocks of {size} bytes, {free} of them free\n"


def test_the_disk_of_the_computer(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    words = whose_disk_is_full(tmp_path, ENOSPC + on_disk(disk.f_blocks, disk.f_frsize, 0))
    assert words is not None
    assert words.startswith("The disk of the computer that runs the embedded cloud is too full: the file system of ")


def test_a_disk_of_the_machine_alone(tmp_path: Path) -> None:
    words = whose_disk_is_full(tmp_path, ENOSPC + on_disk(1024, 4096, 3))
    assert words == "The disk of the rented machine is full: /workspace has 12288 bytes free."


def test_another_failure(tmp_path: Path) -> None:
    assert whose_disk_is_full(tmp_path, "Fatal: wrong password\n" + on_disk(1024, 4096, 3)) is None
