"""The end of a program in words: its exit status, and the line of its log that names the cause."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

# What shells, setpriv and bubblewrap say with an exit code of their own.
_NOT_EXECUTABLE, _NOT_FOUND, _KILLED = 126, 127, 128
_SIGNALS = range(1, 65)

# What stands before the message of a line: the date and level of Python's logging, or the head of glog's lines.
_LOGGED = re.compile(r"\d{4}-\d\d-\d\d [\d:,.]+ (?:ERROR|CRITICAL) (?P<message>.+)")
_GLOG = re.compile(r"(?P<level>[FE])\d{4} [\d:.]+ +(?:\d+ )?(?P<message>\S+:\d+\]? .+)")
_CRASH = re.compile(r"(?:panic|fatal error|fatal|error): .+", re.IGNORECASE)
_TRACEBACK = "Traceback (most recent call last):"


def in_words(status: int) -> str:
    """Return how a program ended.

    Args:
        status: its exit code, or the negative number of the signal that killed it, as `subprocess` reports them.
    """
    if status < 0:
        return f"killed by {signal_name(-status)}"
    if status == _NOT_EXECUTABLE:
        return f"exit code {status}: a program could not be executed"
    if status == _NOT_FOUND:
        return f"exit code {status}: a program was not found"
    if status - _KILLED in _SIGNALS:
        return f"exit code {status}: killed by {signal_name(status - _KILLED)}"
    return f"exit code {status}"


def signal_name(number: int) -> str:
    """Return the name of a signal, such as SIGKILL; "signal 42" for a number without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cause(log: Sequence[str], status: int | None) -> str:
    """Return the line of a log that says why the program failed; empty if none does.

    That is the last error that the program logged or raised. If there is none, it is the last line of a program that
    ended by itself. What a program logged before SIGKILL has nothing to do with its end.

    Args:
        log: lines of the log, without a previous run's.
        status: as for `in_words`; None if the program still runs.
    """
    if status in (-signal.SIGKILL, _KILLED + signal.SIGKILL):
        return ""
    lines = [line for line in log if line.strip()]
    found = _crash(lines) or _last_error(lines)
    if found or not lines or status is None:
        return found
    return lines[-1].strip()


def _crash(lines: Sequence[str]) -> str:
    """Return what a program said when it crashed. Only stack traces come after that."""
    for line in lines:
        if (glog := _GLOG.fullmatch(line)) and glog["level"] == "F":
            return glog["message"]
        if line.startswith("panic: "):
            return line
    return ""


def _last_error(lines: Sequence[str]) -> str:
    error, in_traceback = "", False
    for line in lines:
        if line == _TRACEBACK:
            in_traceback = True
        elif in_traceback:
            if not line[0].isspace():
                error, in_traceback = line, False
        elif match := _LOGGED.fullmatch(line) or _GLOG.fullmatch(line):
            error = match["message"]
        elif _CRASH.fullmatch(line):
            error = line
    return error
