"""The results of all tests at the top of log.html, grouped by suite."""

from __future__ import annotations

from robot import result, running

from library_parts.results import repeated_output
from rekindle.failure import cause

NOT_RUN = "Parent suite setup failed:\n"


class FirstScreen:
    """The listener that writes an entry of metadata per test to the outermost suite, which log.html shows first.

    Robot Framework sorts metadata by name, so the name of an entry begins with the names of its suites. A test that
    failed and one that passed have the same name of entry: `rebot --merge` and pabot replace an entry by the later one
    of the same name and keep all others.
    """

    ROBOT_LISTENER_API_VERSION = 3
    ROBOT_LISTENER_PRIORITY = -1000  # after all others, so that their changes are seen

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Write the entry of a test; later its message also holds failures of its suites' teardowns."""
        if not result.parent or result.message.startswith(NOT_RUN):
            return
        if result.failed:
            line = f"✗ {cause(result.message)}"
        elif result.skipped:
            line = f"Skipped: {cause(result.message)}"
        else:
            line = f"✓ {_one_line(result.message)}".rstrip()
        _write(result.parent, line, result.name)

    def end_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Write the entry of a failed setup or teardown, or one that replaces it when failed tests are repeated."""
        if result.message and not result.message.startswith(("Parent suite", "Skipped in parent suite")):
            part = "setup" if result.message.startswith("Suite setup") else "teardown"
            _write(result, f"✗ *Suite {part} failed*: {cause(result.message)}")
        elif (result.has_setup or result.has_teardown) and repeated_output():
            _write(result, "✓ Setup and teardown")


def _write(suite: result.TestSuite, line: str, *test: str) -> None:
    names = [suite.name]
    while suite.parent:
        suite = suite.parent
        names.insert(0, suite.name)
    suite.metadata[" / ".join([*(names[1:] or names), *test])] = line


def _one_line(message: str) -> str:
    return " ".join(message.split())
