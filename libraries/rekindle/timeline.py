"""The pictures of a report: a timeline of the steps (SVG) and tables, as HTML that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from rekindle.report import Check, MachineCost, Step, counts, summed_up

WIDTH, LABEL, ROW, PAD = 860, 190, 26, 8
# Text and lines take the colour of the page, which may be light or dark.
PASSED, FAILED, GRID, INK = "#3a8f5c", "#c9372c", "#88888866", "currentColor"
SHORTEST_BAR = 2.0


def timeline(steps: Sequence[Step], total: float) -> str:
    """Draws the steps of a test on one time axis; steps within steps are left out.

    Args:
        steps: the steps, in any order.
        total: seconds of the whole test; the length of the axis.

    Returns:
        An SVG element as text.
    """
    outer = sorted((step for step in steps if step.depth == 0), key=lambda step: step.begun)
    height = ROW * (len(outer) + 1) + 2 * PAD
    axis = WIDTH - LABEL - 90
    scale = axis / max(total, 1e-9)
    parts = [opening("Timeline of the steps", height), *time_axis(LABEL, axis, height - ROW, total)]
    for row, step in enumerate(outer):
        y = PAD + row * ROW
        x = LABEL + step.begun * scale
        width = max(step.seconds * scale, SHORTEST_BAR)
        colour = PASSED if step.passed else FAILED
        parts.append(f'<text x="0" y="{y + 17}" fill="{INK}">{escape(step.name)}</text>')
        parts.append(f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{ROW - 8}" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + width + 6:.1f}" y="{y + 17}" fill="{INK}">{step.seconds:.2f} s</text>')
    return "".join(parts) + "</svg>"


def opening(what: str, height: int) -> str:
    """The first tag of an SVG picture of the usual width."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" role="img" '
        f'aria-label="{what}" font-family="system-ui, sans-serif" font-size="13">'
    )


def time_axis(left: int, length: int, bottom: int, total: float) -> list[str]:
    """Lines from the top of a picture to `bottom`, with the seconds below them: from 0 to `total`."""
    parts = []
    for tick in range(5):
        x = left + length * tick / 4
        parts.append(f'<line x1="{x:.1f}" y1="{PAD}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" fill="{INK}">{total * tick / 4:.1f} s</text>'
        )
    return parts


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A plain HTML table; every cell is escaped."""
    style = 'style="text-align:left;padding:3px 12px 3px 0;border-bottom:1px solid #88888866"'
    head = "".join(f"<th {style}>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td {style}>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table style="border-collapse:collapse"><tr>{head}</tr>{body}</table>'


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


def machines_table(machines: Iterable[MachineCost], now: float) -> str:
    """What each machine of a test was and cost; `now` (monotonic) counts for those that are not gone."""
    return table(
        ("machine", "GPU", "USD/h", "seconds", "USD", "on the bill"),
        (
            (
                machine.instance_id,
                machine.gpu_name,
                f"{machine.hourly_usd:.4f}",
                f"{machine.lived(now):.1f}",
                f"{machine.usd(now):.6f}",
                "not known" if machine.bill_usd is None else f"{machine.bill_usd:.6f}",
            )
            for machine in machines
        ),
    )


def checks_table(checks: Iterable[Check]) -> str:
    """What was checked, how many of it, and who was asked."""
    return table(
        ("what was checked", "how many", "witness"),
        ((check.what, counts(check.counted), check.witness) for check in summed_up(checks)),
    )
