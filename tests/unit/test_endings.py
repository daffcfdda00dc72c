"""How a program ended, in words; and the line of its log that says why."""

from __future__ import annotations

import subprocess

import pytest

from sandbox.endings import cause, in_words


@pytest.mark.parametrize("status", [*range(256), *range(-64, 0), -127, -1000])
def test_every_exit_status_has_words(status: int) -> None:
    assert str(abs(status)) in in_words(status) or "SIG" in in_words(status)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit code 0"),
        (1, "exit code 1"),
        (126, "exit code 126: a program could not be executed"),
        (127, "exit code 127: a program was not found"),
        (128, "exit code 128"),
        (137, "exit code 137: killed by SIGKILL"),
        (170, "exit code 170: killed by signal 42"),
        (255, "exit code 255"),
        (-9, "killed by SIGKILL"),
        (-11, "killed by SIGSEGV"),
        (-42, "killed by signal 42"),
        (-127, "killed by signal 127"),
    ],
)
def test_words_of_a_status(status: int, words: str) -> None:
    assert in_words(status) == words


def test_words_of_a_real_end() -> None:
    assert in_words(subprocess.run(["bash", "-c", "kill -SEGV $$"], check=False).returncode) == "killed by SIGSEGV"
    assert in_words(subprocess.run(["bash", "-c", "kill -42 $$"], check=False).returncode) == "killed by signal 42"


TRACEBACK = """\
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    raise
          ^^^
OSError: [Errno 98] Address already in use"""
LOGGED = """\
2026-12-01 04:33:09,005 INFO uvicorn.error: Started
2026-12-01 04:33:09,006 ERROR uvicorn.error: [Errno 98] address already in use
2026-12-01 04:33:09,007 INFO uvicorn.error: Application shutdown complete."""
GLOG = """\
I1201 04:33:09.005166 mini.go:1 fine
F1201 04:33:09.005166 mini.go:1328 Check Meta Folder: Not writable!
goroutine 1 [running]:
main.main()
\tgithub.com/weed.go:97 +0x469"""


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (TRACEBACK, "OSError: [Errno 98] Address already in use"),
        (f"starting\n{TRACEBACK}\nbye", "OSError: [Errno 98] Address already in use"),
        (
            LOGGED,
            "uvicorn.error: [Errno 98] address already in use",
        ),
        (
            GLOG,
            "mini.go:1328 Check Meta Folder: Not writable!",
        ),
        ("panic: no luck\n\ngoroutine 1 [running]:\nmain.main()", "panic: no luck"),
        ("error: port 80 cannot be opened\nbye", "error: port 80 cannot be opened"),
        ("one\nsetpriv: failed to execute weed: No such file\n\n", "setpriv: failed to execute weed: No such file"),
        ("", ""),
    ],
)
def test_the_cause_in_a_log(log: str, found: str) -> None:
    assert cause(log.splitlines(), 1) == found


def test_the_last_line_of_a_program_that_still_runs_is_no_cause() -> None:
    assert cause(["ready"], None) == ""
    assert cause(["error: no disk", "ready"], None) == "error: no disk"


@pytest.mark.parametrize("status", [-9, 137])
def test_a_program_that_was_killed_gives_no_cause(status: int) -> None:
    assert cause(["error: refused", "ready"], status) == ""
