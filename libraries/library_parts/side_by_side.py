"""Shows what several tests of a suite have found, next to each other."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from robot.api import logger
from robot.libraries.BuiltIn import BuiltIn

from library_parts import results
from library_parts.console import tell
from rekindle.report import Report, Section


class Comparison(Section, Protocol):
    """A section of a report that is a table, which Robot can show among the metadata of a suite too."""

    def metadata(self) -> str: ...


def publish(compared: Report, comparison: Comparison, title: str) -> None:
    """Puts the table on the console, at the top of log.html, and into a report of its own. For suite teardowns."""
    built_in = BuiltIn()
    compared.sections.append(comparison)
    for line in comparison.lines():
        tell(line.strip())
    for picture in comparison.html():
        logger.info(picture, html=True)
    built_in.set_suite_metadata(title, comparison.metadata(), top=True)
    compared.end()
    passed = built_in.get_variable_value("$SUITE_STATUS") == "PASS"
    message = None if passed else str(built_in.get_variable_value("$SUITE_MESSAGE"))
    if path := results.publish(partial(compared.write, passed=passed, error=message)):
        tell(f"Report: {path.name}")
