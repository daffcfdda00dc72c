"""The text of an entry on the first screen of log.html: a line for each test of a suite."""

from __future__ import annotations

import re
from collections.abc import Mapping

PASSED, FAILED, SKIPPED = "✓", "✗", "○"
SETUP_FAILED, TEARDOWN_FAILED = "Suite setup failed", "Suite teardown failed"
SETUP_AND_TEARDOWN = "Setup and teardown"
_LINE = re.compile(rf"(?:- )?([{PASSED}{FAILED}{SKIPPED}] \*(.+?)\*.*)")


def entries(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the entries among the metadata of an outermost suite, by name."""
    return {name: value for name, value in metadata.items() if _LINE.match(value)}


def joined(entry: str, new: str | Mapping[str, str]) -> str:
    """Return an entry with further lines; each replaces the line about the same test.

    Args:
        entry: as it was written before; may be empty.
        new: lines by the names of their tests, or another entry.
    """
    lines = {**_lines(entry), **(_lines(new) if isinstance(new, str) else new)}
    in_order = sorted(lines, key=SETUP_AND_TEARDOWN.__ne__)  # its failure explains the others
    return "\n".join(f"{'- ' if len(lines) > 1 else ''}{lines[name]}" for name in in_order)


def _lines(entry: str) -> dict[str, str]:
    """Lines by the names of their tests; there is one line about setup and teardown, failed or not."""
    found = [match for line in entry.splitlines() if (match := _LINE.match(line))]
    same = dict.fromkeys((SETUP_FAILED, TEARDOWN_FAILED), SETUP_AND_TEARDOWN)
    return {same.get(match[2], match[2]): match[1] for match in found}
