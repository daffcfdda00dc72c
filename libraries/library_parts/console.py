"""What a person reads on the console while a test runs."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from library_parts.results import pabot_pid
from rekindle.parent_console import write_line
from rekindle.progress import Done, Look, Meter, watched
from rekindle.redaction import KNOWN
from rekindle.report import RULE
from rekindle.wording import shown

# Between two lines of progress where they cannot be updated in place, seconds.
PLAIN_EVERY = 5.0


class _Told:
    test = ""


_kept: ContextVar[list[str] | None] = ContextVar("kept", default=None)


@contextmanager
def kept_back() -> Iterator[list[str]]:
    """What is told in the block is kept in a list instead, for one of many threads that all do the same."""
    lines: list[str] = []
    before = _kept.set(lines)
    try:
        yield lines
    finally:
        _kept.reset(before)


def tell(line: str) -> None:
    """Prints one indented line at once, and keeps it in log.html. What cannot be printed is escaped."""
    readable = shown(KNOWN.redact(line).text)  # what goes to the console passes no listener
    if (lines := _kept.get()) is not None:
        lines.append(readable)
        return
    logger.info(readable)
    logger.console(f"{_line_end()}   {readable}")


def headline(test: str) -> None:
    """Prints the name of a test between two rules."""
    logger.console(f"\n{RULE}\n{test.upper()}\n{RULE}")
    _Told.test = test


def announce(line: str) -> None:
    """Print the start or end of a step, or how far it has come, on the console of pabot too, if that runs this suite.

    pabot shows nothing of a suite before that has ended.
    """
    if (pabot := pabot_pid()) is not None:
        suite = str(BuiltIn().get_variable_value("$SUITE_NAME", "")).rpartition(".")[2]
        write_line(pabot, shown(KNOWN.redact(f"{suite}: {line}").text))


class ProgressLine:
    """How far one piece of work has come: one line that is updated in place, or plain lines where that cannot be.

    Use it in a `with` statement; the line is gone after it. The plain lines are kept for log.html.

    Args:
        what: the work, as the line begins.
        now: monotonic seconds.
    """

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._meter = Meter(what, now)
        self._in_place = sys.__stdout__ is not None and sys.__stdout__.isatty() and os.environ.get("TERM") != "dumb"
        self._begin = ""
        self._shown = False
        self._due = 0.0
        self._plain: list[str] = []

    def __enter__(self) -> Self:
        self._begin = _line_end()
        self._due = self._now() + PLAIN_EVERY
        return self

    def __exit__(self, *_: object) -> None:
        if self._in_place and self._shown:
            logger.console("\r\033[K", newline=False)
        elif not self._shown and self._begin:
            _Told.test = ""  # the first line is still to come
        if self._plain:
            logger.info("\n".join(self._plain))

    def show(self, done: Done) -> None:
        """Shows it, from whichever thread; on a plain console every few seconds only."""
        line = self._meter.line(done)
        due = self._now() >= self._due
        if due:
            self._due = self._now() + PLAIN_EVERY
            self._plain.append(line)
        if self._in_place:
            width = shutil.get_terminal_size().columns - 1
            begin = self._begin if not self._shown else ""
            logger.console(f"{begin}\r{f'   {line}'[:width]}\033[K", newline=False)
        elif due:
            logger.console(f"{'' if self._shown else self._begin}   {line}")
            announce(line)
        else:
            return
        self._shown = True


@contextmanager
def progress(what: str, look: Look) -> Iterator[None]:
    """Shows how far some work has come while the block runs.

    Args:
        what: the work, as the line begins: "Snapshot".
        look: one look at how far it has come.
    """
    with ProgressLine(what) as line, watched(look, line.show):
        yield


def _line_end() -> str:
    # Robot writes a test's name without ending the line; the first line that a test tells has to end it.
    test = str(BuiltIn().get_variable_value("$TEST_NAME", ""))
    begins, _Told.test = test != _Told.test, test
    return "\n" if begins and test else ""
