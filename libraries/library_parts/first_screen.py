"""The results of all tests at the top of log.html, grouped by suite."""

from __future__ import annotations

from robot import result, running

from rekindle.failure import cause

NOT_RUN = "Parent suite setup failed:\n"


class FirstScreen:
    """The listener that writes one entry of metadata per suite to the outermost suite, which log.html shows first.

    An entry lists the suite's own failure, then its failed tests with their causes, then the others in the order in
    which they ran. Robot sorts metadata by name, so an entry has the name of its suite and a list as its value.
    """

    ROBOT_LISTENER_API_VERSION = 3
    ROBOT_LISTENER_PRIORITY = -1000  # after all others, so that their changes are seen

    def __init__(self) -> None:
        self._tests: dict[str, list[tuple[bool, str]]] = {}

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Note how a test ended: later its message also holds failures of its suites' teardowns."""
        if not result.parent or result.message.startswith(NOT_RUN):
            return
        if result.failed:
            line = f"✗ *{result.name}*: {cause(result.message)}"
        elif result.skipped:
            line = f"{result.name} was skipped: {cause(result.message)}"
        else:
            line = f"✓ {result.name}{': ' if result.message else ''}{_one_line(result.message)}"
        self._tests.setdefault(result.parent.full_name, []).append((result.failed, line))

    def end_suite(self, data: running.TestSuite, result: result.TestSuite) -> None:
        """Write the entry of a suite."""
        tests = self._tests.pop(result.full_name, [])
        lines = sorted(tests, key=lambda test: not test[0])
        entry = [line for _, line in lines]
        if result.message and not result.message.startswith(("Parent suite", "Skipped in parent suite")):
            part = "setup" if result.message.startswith("Suite setup") else "teardown"
            entry.insert(0, f"✗ *Suite {part} failed*: {cause(result.message)}")
        if entry:
            names, suite = [result.name], result
            while suite.parent:
                suite = suite.parent
                names.insert(0, suite.name)
            suite.metadata[" / ".join(names[1:] or names)] = "\n".join(f"- {line}" for line in entry)


def _one_line(message: str) -> str:
    return " ".join(message.split())
