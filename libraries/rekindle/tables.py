"""Tables: as HTML for log.html, as text for the console, and as Robot's documentation has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

# Readable on the white and on the dark background of log.html.
RED = ' style="color:#e0332c;font-weight:bold"'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, red_rows: int = 0) -> str:
    """A plain HTML table; every cell is escaped. The first `red_rows` rows are red."""
    style = 'style="text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid #88888866"'
    head = "".join(f"<th {style}>{escape(cell)}</th>" for cell in header)
    body = "".join(
        f"<tr{RED if row < red_rows else ''}>"
        + "".join(f"<td {style}>{escape(str(cell))}</td>" for cell in cells)
        + "</tr>"
        for row, cells in enumerate(rows)
    )
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{body}</table>'


def link(path: str, text: str | None = None) -> str:
    """A link from log.html to a file; `path` is relative to the output directory, and its text when there is none."""
    return f'<a href="{quote(path)}">{escape(text or path)}</a>'


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table for the console, a line a row."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "   " + "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def robot_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Robot shows it among the metadata of a suite, at the top of log.html and report.html."""
    lines = [[f"={cell}=" for cell in header], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
