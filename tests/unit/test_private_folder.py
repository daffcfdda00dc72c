"""Private folders: short, locked by their process, and removed after its death."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rekindle.private_folder import (
    LONGEST_PLACE,
    SHORT_PLACE,
    PrivateFolder,
    place,
    place_for_sockets,
    remove_abandoned,
)
from tests.cloud_under_test import PROJECT_DIR

MAKE = """
import sys
from rekindle.private_folder import PrivateFolder
folder = PrivateFolder(sys.argv[1])
print(folder.path, flush=True)
sys.stdin.read()
"""
PROGRAM = "import time; print('runs', flush=True); time.sleep(30)"


@pytest.fixture
def short_place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for temporary files with nothing in it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as folder:  # it must be short
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.setattr("rekindle.private_folder.SHORT_PLACE", Path(folder))
        yield Path(folder)


@pytest.fixture
def abandoned(short_place: Path) -> Iterator[Callable[..., Path]]:
    """Makes a folder of a process that was killed, or that still runs."""

    def make(kind: str = "run", *, killed: bool = True) -> Path:
        process = subprocess.Popen(
            [sys.executable, "-c", MAKE, kind],
            env={"TMPDIR": str(short_place), "PYTHONPATH": str(PROJECT_DIR / "libraries")},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        path = Path(process.stdout.readline().strip())
        assert path.is_dir()
        if killed:
            end(process)
        else:
            living.append(process)
        return path

    def end(process: subprocess.Popen[str]) -> None:
        with process:
            process.kill()

    living: list[subprocess.Popen[str]] = []
    yield make
    for process in living:
        end(process)


def test_a_folder_of_a_killed_process_is_removed_by_the_next_run(abandoned: Callable[..., Path]) -> None:
    left, used = abandoned(), abandoned(killed=False)
    (left / "file").touch()
    own = PrivateFolder("run")
    assert remove_abandoned(lambda _: None) == [left]
    assert (left.exists(), used.exists(), own.path.exists()) == (False, True, True)
    own.remove()
    assert not own.path.exists()


def test_a_cloud_is_removed_as_a_cloud(abandoned: Callable[..., Path]) -> None:
    left = abandoned("cloud")
    clouds: list[Path] = []
    remove_abandoned(clouds.append)
    assert clouds == [left]


def test_a_folder_is_kept_while_it_is_locked_from_another_container(abandoned: Callable[..., Path]) -> None:
    """There the number of its process means something else, and here it may mean nothing."""
    used = abandoned(killed=False)
    elsewhere = used.with_name("rekindle-run-4194305-aaaaaaaa")  # above the largest number of a process
    used.rename(elsewhere)
    assert remove_abandoned(lambda _: None) == []
    assert elsewhere.exists()


def test_what_has_another_name_is_kept(short_place: Path) -> None:
    for name in ("rekindle-run", "rekindle-run-x-y", "rekindle-other-4194305-a", "other"):
        (short_place / name).mkdir()
    (short_place / "rekindle-run-4194305-link").symlink_to(short_place / "other")
    remove_abandoned(lambda _: None)
    assert (short_place / "other").is_dir()
    assert len(list(short_place.iterdir())) == 5


def test_programs_that_work_in_an_abandoned_folder_are_ended(abandoned: Callable[..., Path]) -> None:
    """Such as a browser, which would go on for ever and write into it."""
    left = abandoned()
    with (
        subprocess.Popen([sys.executable, "-c", PROGRAM], env={"TMPDIR": str(left)}, stdout=subprocess.PIPE) as own,
        subprocess.Popen([sys.executable, "-c", PROGRAM], env={}, stdout=subprocess.PIPE) as other,
    ):
        for program in (own, other):
            assert program.stdout
            assert program.stdout.readline() == b"runs\n"
        remove_abandoned(lambda _: None)
        own.wait(10)  # reaped already, so its status is gone
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize("length", [LONGEST_PLACE, LONGEST_PLACE + 1, 70, 150])
def test_its_path_leaves_room_for_sockets(length: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    long = "/" + "x" * 200
    monkeypatch.setattr(tempfile, "tempdir", long[:length])
    assert place() == (Path(long[:length]) if length <= LONGEST_PLACE else SHORT_PLACE)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = PrivateFolder("run")
    monkeypatch.setattr(tempfile, "tempdir", str(folder.path))
    assert place_for_sockets() == folder.path
    assert len(str(folder.path)) + len("/org.chromium.Chromium.AAAAAA/SingletonSocket") <= 107
    assert len(str(folder.path)) + len("/ssh-aaaaaaaa/ssh.AAAAAAAAAAAAAAAA") <= 107
    folder.remove()
