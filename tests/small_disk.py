"""A small file system of its own, for tests that fill a disk. Ordinary users may mount one inside bubblewrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MB = 1_000_000
FILLING = "filling"  # the file that takes the space
PLACE = "REKINDLE_SMALL_DISK"  # the variable that names the disk to the tests on it


def command(folder: Path, size: int, *program: str) -> list[str]:
    """Return the command that runs a program with a file system of `size` bytes at an existing folder."""
    return [
        *("bwrap", "--die-with-parent", "--dev-bind", "/", "/"),
        *("--size", str(size), "--tmpfs", str(folder), "--chmod", "0700", str(folder)),
        *program,
    ]


def run_tests(folder: Path, size: int, file: Path, *options: str) -> None:
    """Run the tests of a file with a small disk at a folder, which `place` gives them.

    Skips the test that calls it where no file system can be mounted.

    Raises:
        AssertionError: one of them failed; with the output of pytest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = subprocess.run(command(folder, size, "true"), capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"no file system can be mounted here: {probe.stderr.strip()}")
    pytest_ = (sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "-rA", "--tb=short")
    done = subprocess.run(
        command(folder, size, *pytest_, *options, str(file)),
        env=os.environ | {PLACE: str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def place() -> Path:
    """Return where the small disk is, in a test that runs on one."""
    return Path(os.environ[PLACE])


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill a file system up to `leave` bytes. Return the file that takes the space."""
    file = folder / FILLING
    with file.open("ab", buffering=0) as stream:
        while (free := shutil.disk_usage(folder).free - leave) > 0:
            try:
                stream.write(bytes(min(free, MB)))
            except OSError:  # other data took the rest
                break
    return file
