"""Lines reach the console of the process above, whatever that is, and never hold up or spoil anything."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rekindle.parent_console import write_line

WAITS = "import sys; sys.stdin.read()"


@contextmanager
def process(stderr: int) -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stderr=stderr) as above:
        yield above.pid


def test_a_terminal_shows_the_line_and_does_not_become_ours() -> None:
    terminal, end = pty.openpty()
    with process(end) as pid:
        script = f"""if True:
            import os
            from rekindle.parent_console import write_line
            os.setsid()
            assert write_line({pid}, "Wake: 40 %")
            try:
                os.open("/dev/tty", os.O_RDWR)
            except OSError:
                print("no terminal")
        """
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert os.read(terminal, 100) == b"Wake: 40 %\r\n"
    assert done.stdout == "no terminal\n"
    for descriptor in (terminal, end):
        os.close(descriptor)


def test_a_pipe_gets_whole_lines_until_it_is_full() -> None:
    read, write = os.pipe()
    with process(write) as pid:
        written = 0
        while write_line(pid, "x" * 99):
            written += 1
        assert os.get_blocking(write), "the flags of the process itself are as they were"
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == written * ("x" * 99 + "\n")
    assert written > 100


@pytest.mark.parametrize(("mode", "written"), [("a", "first\nWake: 40 %\n"), ("w", "first\n")])
def test_a_file_gets_the_line_only_where_it_cannot_be_overwritten(tmp_path: Path, mode: str, written: str) -> None:
    log = tmp_path / "log.txt"
    with log.open(mode) as stream:
        stream.write("first\n")
        stream.flush()
        with process(stream.fileno()) as pid:
            assert write_line(pid, "Wake: 40 %") == (mode == "a")
    assert log.read_text() == written


def test_a_process_that_has_ended_or_shows_nothing_gets_no_line() -> None:
    with process(subprocess.DEVNULL) as pid:
        assert not write_line(pid, "Wake: 40 %")
    assert not write_line(pid, "Wake: 40 %")
