"""What is lost by a failover, measured by files that were written until the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.errors import Mismatch, Unknown
from rekindle.manifest import Entry, Manifest
from rekindle.ticks import Ticks, without
from tests.unit.local_machine import LocalMachine

NONCE = "0123456789abcdef"


def ticks(root: Path, heard: int, first_at: float = 100.0) -> Ticks:
    """Some ticks, a second apart, on a machine that is lost."""
    return Ticks(LocalMachine(), str(root), NONCE, [(number, first_at + number) for number in range(1, heard + 1)])


def survive(root: Path, *numbers: int, nonce: str = NONCE) -> None:
    folder = root / f"ticks-{NONCE[:8]}"
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number:06}.txt").write_text(f"{nonce} {number:06}.txt\n")


def test_nothing_is_lost(tmp_path: Path) -> None:
    survive(tmp_path, 1, 2, 3)
    loss = ticks(tmp_path, 3).loss(LocalMachine(), lost_at=103.5)
    assert (loss.seconds, loss.survived, loss.lost) == (0.0, 3, ())
    assert str(loss) == "nothing lost: all 3 files survived"


def test_the_last_ones_are_lost_and_named(tmp_path: Path) -> None:
    survive(tmp_path, 1, 2)
    loss = ticks(tmp_path, 4).loss(LocalMachine(), lost_at=104.5)
    assert loss.lost == ("ticks-01234567/000003.txt", "ticks-01234567/000004.txt")
    assert loss.seconds == 2.5  # from the second, which survived, to the end


def test_one_that_was_written_and_not_heard_of_any_more_may_survive(tmp_path: Path) -> None:
    survive(tmp_path, 1, 2, 3)
    assert ticks(tmp_path, 2).loss(LocalMachine(), lost_at=102.1).lost == ()


def test_one_that_was_cut_off_counts_as_lost(tmp_path: Path) -> None:
    survive(tmp_path, 1, 2)
    (tmp_path / "ticks-01234567" / "000003.txt").touch()
    assert ticks(tmp_path, 3).loss(LocalMachine(), lost_at=103.0).lost == ("ticks-01234567/000003.txt",)


def test_all_are_lost(tmp_path: Path) -> None:
    loss = ticks(tmp_path, 2).loss(LocalMachine(), lost_at=105.0)
    assert (len(loss.lost), loss.seconds) == (2, 4.0)


def test_an_older_one_may_not_be_lost(tmp_path: Path) -> None:
    survive(tmp_path, 1, 3)
    with pytest.raises(Mismatch, match=r"files are missing that are older than 000003\.txt, .*: 000002\.txt\."):
        ticks(tmp_path, 3).loss(LocalMachine(), lost_at=103.0)


def test_nobody_else_may_have_written_them(tmp_path: Path) -> None:
    survive(tmp_path, 1)
    survive(tmp_path, 2, nonce="another")
    with pytest.raises(Mismatch, match="what nobody has written: another 000002"):
        ticks(tmp_path, 2).loss(LocalMachine(), lost_at=102.0)


def test_without_any_nothing_can_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unknown, match="No file was written"):
        ticks(tmp_path, 0).loss(LocalMachine(), lost_at=102.0)


def test_they_are_written_until_nobody_listens(tmp_path: Path) -> None:
    writing = Ticks(LocalMachine(), str(tmp_path), NONCE)
    writing.start()
    writing.wait_until_heard()
    writing.wait_until_on(LocalMachine(), timeout=10)
    assert writing.proven >= 1
    writing.stop()
    heard = max(number for number, _ in writing.heard)
    assert writing.loss(LocalMachine(), lost_at=0.0).survived >= heard >= 5


def test_what_is_on_the_standby_is_remembered(tmp_path: Path) -> None:
    writing = ticks(tmp_path, 5)
    assert writing.look_on(LocalMachine()) == 0
    survive(tmp_path, 1, 2, 3)
    survive(tmp_path, 4, nonce="another")
    (tmp_path / "ticks-01234567" / "000005.txt").touch()
    assert writing.look_on(LocalMachine()) == writing.proven == 3


def test_a_writer_that_ended_before_the_machine_did() -> None:
    ended = ticks(Path("/nowhere"), 5)
    ended.check_written_until(105.0 + 3.0)  # a second apart: three times as long may be waited for the next
    ended.ended = "No space left on device"
    words = (
        r"^UNKNOWN: The writing into ticks-01234567 ended 300\.0 s before the machine was lost, so that what was lost "
        r"at its end cannot be told\. No space left on device$"
    )
    with pytest.raises(Unknown, match=words):
        ended.check_written_until(405.0)


def test_they_are_no_part_of_the_manifest() -> None:
    paths = ["", "kept", "ticks-1", "ticks-1/000001.txt", "ticks-10"]
    manifest = Manifest("/workspace", [Entry(path, "file", 0, 0o644, 0) for path in paths])
    assert list(without(manifest, "ticks-1").entries) == ["", "kept", "ticks-10"]
