"""The timeline of a test: its steps on one time axis, as SVG that needs nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rekindle.report import Step

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
