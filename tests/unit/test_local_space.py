"""The disks of this computer that a run writes to."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from rekindle.errors import Misconfigured
from rekindle.local_space import NO_SPACE, LocalSpace, SpaceFirst


class Disks:
    """Answers as the file systems of directories would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free: dict[Path, int] = {}
        self.inodes: dict[Path, tuple[int, int]] = {}
        monkeypatch.setattr(os, "statvfs", self._statvfs)

    def _statvfs(self, folder: Path) -> SimpleNamespace:
        files, free_files = self.inodes.get(folder, (10**6, 10**6))
        return SimpleNamespace(
            f_bavail=self.free.get(folder, 10**9), f_frsize=1, f_files=files, f_favail=free_files
        )  # fmt: skip


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks(monkeypatch)


def test_enough_space(disks: Disks, tmp_path: Path) -> None:
    disks.inodes[tmp_path] = (0, 0)  # a file system without a fixed number of files
    LocalSpace({"the output directory": tmp_path}).check()


def test_a_full_disk_is_named_with_its_purpose(disks: Disks, tmp_path: Path) -> None:
    space = LocalSpace({"that of the ledger": tmp_path.parent})
    space.add("the output directory (--outputdir)", tmp_path)
    disks.free[tmp_path] = 1_500_000
    with pytest.raises(Misconfigured) as raised:
        space.check()
    assert str(raised.value) == (
        "Nothing is rented, because a disk of this computer is full: the output directory (--outputdir), "
        f"{tmp_path}, has 1.5 MB free of 20 MB needed. Free space there, or choose another directory."
    )


def test_a_disk_without_room_for_files(disks: Disks, tmp_path: Path) -> None:
    disks.inodes[tmp_path] = (1000, 7)
    with pytest.raises(Misconfigured, match="has room for 7 files of 100 needed"):
        LocalSpace({"the output directory": tmp_path}).check()


def test_a_directory_that_is_missing_still_is_judged_by_its_parent(disks: Disks, tmp_path: Path) -> None:
    disks.free[tmp_path] = 0
    with pytest.raises(Misconfigured, match=r"has 0\.0 MB free"):
        LocalSpace({"the output directory": tmp_path / "not" / "yet"}).check()


def test_no_watcher_starts_without_space(disks: Disks, tmp_path: Path) -> None:
    started: list[str] = []
    watcher = SimpleNamespace(ensure_ready=lambda: started.append("watchdog"))
    first = SpaceFirst(LocalSpace({"the output directory": tmp_path}), watcher)
    first.ensure_ready()
    disks.free[tmp_path] = 0
    with pytest.raises(Misconfigured):
        first.ensure_ready()
    assert started == ["watchdog"]


@pytest.mark.parametrize(
    "words",
    [
        "write /tmp/pack: no space left on device",
        "[Errno 28] No space left on device: 'x'",
        "Disk quota exceeded",
        "The disk of the computer that runs the embedded cloud is too full: the file system of /x has 0 bytes free",
        "The disk of the rented machine is full: /workspace has 0 bytes free.",
    ],
)
def test_words_for_a_full_disk(words: str) -> None:
    assert NO_SPACE.search(words)


def test_other_words() -> None:
    assert not NO_SPACE.search("The machine did not boot: ended at once (exit code 1)")
