"""The results of all tests at the top of log.html, grouped by suite."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from robot import result, running
from robot.api import ExecutionResult
from robot.errors import DataError

from library_parts.results import repeated_output
from rekindle.failure import cause
from rekindle.screen_entries import (
    FAILED,
    PASSED,
    SETUP_AND_TEARDOWN,
    SETUP_FAILED,
    SKIPPED,
    TEARDOWN_FAILED,
    entries,
    joined,
)

NOT_RUN = "Parent suite setup failed:\n"


class FirstScreen:
    """The listener that writes an entry of metadata per suite to the outermost suite, which log.html shows first.

    The entry has a line for each test of the suite, and one for a setup or teardown that failed. `rebot --merge`
    replaces an entry by the later one of the same name. A run of failed tests therefore begins with the lines of the
    run that it repeats.
    """

    ROBOT_LISTENER_API_VERSION = 3
    ROBOT_LISTENER_PRIORITY = -1000  # after all others, so that their changes are seen

    def __init__(self) -> None:
        self._suites: dict[str, str] = {}  # full name of the suite by name of its entry

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Write the line of a test; later its message also holds failures of its suites' teardowns."""
        if not result.parent or result.message.startswith(NOT_RUN):
            return
        if result.failed:
            line = f"{FAILED} *{result.name}*: {cause(result.message)}"
        elif result.skipped:
            line = f"{SKIPPED} *{result.name}* was skipped: {cause(result.message)}"
        else:
            line = f"{PASSED} *{result.name}*{': ' if result.message else ''}{_one_line(result.message)}"
        self._write(result.parent, {result.name: line})

    def end_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Write the line of a failed setup or teardown, or one that replaces it when failed tests are repeated."""
        if result.message and not result.message.startswith(("Parent suite", "Skipped in parent suite")):
            part = SETUP_FAILED if result.message.startswith("Suite setup") else TEARDOWN_FAILED
            self._write(result, {SETUP_AND_TEARDOWN: f"{FAILED} *{part}*: {cause(result.message)}"})
        elif (result.has_setup or result.has_teardown) and repeated_output():
            self._write(result, {SETUP_AND_TEARDOWN: f"{PASSED} *{SETUP_AND_TEARDOWN}*"})

    def _write(self, suite: result.TestSuite, new: Mapping[str, str]) -> None:
        outermost = suite
        while outermost.parent:
            outermost = outermost.parent
        name = (
            suite.name if self._suites.setdefault(suite.name, suite.full_name) == suite.full_name else suite.full_name
        )
        before = outermost.metadata.get(name) or _repeated(outermost.name).get(name, "")
        outermost.metadata[name] = joined(before, new)


def _repeated(outermost: str) -> dict[str, str]:
    """Return the entries of the run whose failed tests this run repeats; none if this run repeats nothing."""
    output = repeated_output()
    return _read(output, outermost) if output else {}


@cache
def _read(output: Path, outermost: str) -> dict[str, str]:
    try:
        suite = ExecutionResult(str(output), include_keywords=False).suite
    except DataError:
        return {}
    return entries(suite.metadata) if suite.name == outermost else {}


def _one_line(message: str) -> str:
    return " ".join(message.split())
