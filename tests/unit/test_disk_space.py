"""Free space of a file system, and which errors mean a full disk."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from sandbox.disk_space import DiskFull, Room, amount, check, is_full


def test_a_missing_directory_counts_as_its_nearest_parent(tmp_path: Path) -> None:
    assert Room.of(tmp_path / "not" / "yet").bytes == pytest.approx(Room.of(tmp_path).bytes, rel=0.5)


def test_too_few_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=rf"the file system of {tmp_path} has [\d.]+ MB free, [\d.]+ MB needed$"):
        check(tmp_path, Room(10**18, None))


def test_too_few_inodes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "of", lambda _: Room(10**9, 7))
    with pytest.raises(DiskFull, match=r"has 7 inodes free, 200 needed$"):
        check(tmp_path, Room(0, 200))


def test_a_file_system_without_a_limit_of_inodes_has_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Room, "of", lambda _: Room(10**9, None))
    check(tmp_path, Room(0, 200))


def test_errors_that_mean_a_full_disk() -> None:
    assert is_full(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert is_full(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))
    caused = RuntimeError("wrapped")
    caused.__cause__ = DiskFull("full")
    assert is_full(caused)
    assert not is_full(OSError(errno.EACCES, os.strerror(errno.EACCES)))
    assert not is_full(sqlite3.OperationalError("no such table: record"))


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 bytes"), (99_999, "99999 bytes"), (100_000, "0.1 MB"), (256_000_000, "256.0 MB")]
)
def test_amounts(size: int, words: str) -> None:
    assert amount(size) == words
