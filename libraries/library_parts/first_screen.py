"""The results of all tests at the top of log.html, grouped by suite."""

from __future__ import annotations

from robot import result, running

from library_parts.results import repeated_output
from rekindle.failure import cause

NOT_RUN = "Parent suite setup failed:\n"
# Sorted after letters, so that the entries of tests follow those of the run ("Bill", "Run", "Target").
MARK = "▸"


class FirstScreen:
    """The listener that writes an entry of metadata per test to the outermost suite, which log.html shows first.

    Robot Framework sorts metadata by name, so an entry is named after its suite and the line of its test: the tests of
    a suite stand together, in the order of its file. The entry begins with the name of the test. A test that failed and
    one that passed have the same name of entry: `rebot --merge` and pabot replace an entry by the later one of the same
    name and keep all others.
    """

    ROBOT_LISTENER_API_VERSION = 3
    ROBOT_LISTENER_PRIORITY = -1000  # after all others, so that their changes are seen

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Write the entry of a test; later its message also holds failures of its suites' teardowns."""
        if not result.parent or result.message.startswith(NOT_RUN):
            return
        if result.failed:
            line = f"✗ *{result.name}*: {cause(result.message)}"
        elif result.skipped:
            line = f"*{result.name}* was skipped: {cause(result.message)}"
        else:
            line = f"✓ *{result.name}*{': ' if result.message else ''}{_one_line(result.message)}"
        name = _unbroken(f"{MARK} {result.parent.name}, line {result.lineno or 0:03}")
        if f"*{result.name}*" not in _outermost(result.parent).metadata.get(name, f"*{result.name}*"):
            # Another test has this name of entry: of a suite of the same name, or made from the same line.
            name = f"{MARK} {result.parent.full_name}, line {result.lineno or 0:03}, {result.name}"
        _outermost(result.parent).metadata[name] = line

    def end_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Write the entry of a failed setup or teardown, or one that replaces it when failed tests are repeated."""
        if result.message and not result.message.startswith(("Parent suite", "Skipped in parent suite")):
            part = "setup" if result.message.startswith("Suite setup") else "teardown"
            _outermost(result).metadata[_of_suite(result)] = f"✗ *Suite {part} failed*: {cause(result.message)}"
        elif (result.has_setup or result.has_teardown) and repeated_output():
            _outermost(result).metadata[_of_suite(result)] = "✓ Setup and teardown"


def _of_suite(suite: result.TestSuite) -> str:
    return _unbroken(f"{MARK} {suite.name}")


def _unbroken(name: str) -> str:
    """Return a name with no-break spaces: log.html widens its narrow column of names to fit, and breaks no line."""
    return name.replace(" ", "\N{NO-BREAK SPACE}")


def _outermost(suite: result.TestSuite) -> result.TestSuite:
    while suite.parent:
        suite = suite.parent
    return suite


def _one_line(message: str) -> str:
    return " ".join(message.split())
