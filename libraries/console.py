"""What a person reads on the console while a test runs."""

from __future__ import annotations

from robot.api import logger

RULE = "=" * 70


def tell(line: str) -> None:
    """Prints one indented line at once, and keeps it in log.html."""
    logger.info(line)
    logger.console(f"   {line}")


def headline(text: str) -> None:
    """Prints a headline between two rules."""
    logger.console(f"\n{RULE}\n{text.upper()}\n{RULE}")
