"""How numbers, names and lists are put into sentences, the same way in every message."""

from __future__ import annotations

from collections.abc import Sequence

NAMED = 10


def number(value: int) -> str:
    """1009 → "1 009"."""
    return f"{value:,}".replace(",", " ")


def counted(value: int, noun: str, plural: str | None = None) -> str:
    """1, "file" → "1 file"; 1009, "file" → "1 009 files"."""
    return f"{number(value)} {noun if value == 1 else plural or noun + 's'}"


def shown(path: str) -> str:
    """A path as it can stand in a line of text: what is not printable, or not UTF-8, is escaped."""
    return "".join(
        character
        if character.isprintable()
        else f"\\x{ord(character) - 0xDC00:02x}"
        if "\udc80" <= character <= "\udcff"
        else character.encode("unicode_escape").decode()
        for character in path
    )


def in_words(items: Sequence[str]) -> str:
    """All items by name: "a, b and c"."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def named(items: Sequence[str], most: int = NAMED) -> str:
    """The first `most` items by name, the rest as a number: "a, b … and 3 more"."""
    rest = len(items) - most
    return ", ".join(items[:most]) + (f" … and {number(rest)} more" if rest > 0 else "")
