"""What a person reads on the console while a test runs."""

from __future__ import annotations

from robot.api import logger

from rekindle.wording import shown

RULE = "=" * 70


def tell(line: str) -> None:
    """Prints one indented line at once, and keeps it in log.html. What cannot be printed is escaped."""
    readable = shown(line)
    logger.info(readable)
    logger.console(f"   {readable}")


def headline(text: str) -> None:
    """Prints a headline between two rules."""
    logger.console(f"\n{RULE}\n{text.upper()}\n{RULE}")
