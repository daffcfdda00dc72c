"""What a person reads on the console while a test runs."""

from __future__ import annotations

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from rekindle.report import RULE
from rekindle.wording import shown


class _Told:
    test = ""


def tell(line: str) -> None:
    """Prints one indented line at once, and keeps it in log.html. What cannot be printed is escaped."""
    readable = shown(line)
    logger.info(readable)
    logger.console(f"{_line_end()}   {readable}")


def headline(test: str) -> None:
    """Prints the name of a test between two rules."""
    logger.console(f"\n{RULE}\n{test.upper()}\n{RULE}")
    _Told.test = test


def _line_end() -> str:
    # Robot writes a test's name without ending the line; the first line that a test tells has to end it.
    test = str(BuiltIn().get_variable_value("$TEST_NAME", ""))
    begins, _Told.test = test != _Told.test, test
    return "\n" if begins and test else ""
