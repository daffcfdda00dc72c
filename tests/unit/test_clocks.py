"""Clocks that can be set: the date of a program changes while it runs, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import clocks
from sandbox.state import StateDir

# Tells its date and its monotonic clock each time it is asked.
CLOCK = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
WITHIN = 10.0


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    clocks.set_clock(StateDir(tmp_path), "control", 0)
    return StateDir(tmp_path)


class Program:
    """A program with a clock that can be set."""

    def __init__(self, state: StateDir) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLOCK],
            env={"PATH": os.environ["PATH"], **clocks.settable(state, "control")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def reads(self) -> tuple[float, float]:
        """How far its date and its monotonic clock are ahead of ours, seconds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        date, monotonic = map(float, self.process.stdout.readline().split())
        return date - time.time(), monotonic - time.monotonic()

    def close(self) -> None:
        self.process.communicate()


def test_there_is_the_library() -> None:
    assert clocks.library(), f"apt-get install {clocks.PACKAGE}"


def test_a_clock_is_set_while_the_program_runs(state: StateDir) -> None:
    program = Program(state)
    try:
        for ahead in (0, 3600, -86400.5, 0):
            clocks.set_clock(state, "control", ahead)
            deadline = time.monotonic() + WITHIN
            while abs((seen := program.reads())[0] - ahead) > 1:
                assert time.monotonic() < deadline, seen
            assert abs(seen[1]) < 1
    finally:
        program.close()


def test_others_have_their_own_clock(state: StateDir) -> None:
    clocks.set_clock(state, "marketplace", 3600)
    program = Program(state)
    try:
        assert abs(program.reads()[0]) < 1
    finally:
        program.close()
