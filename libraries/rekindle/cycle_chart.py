"""The picture of what happened again and again: a bar each time, made of its phases (SVG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rekindle.timeline import FAILED, INK, PAD, WIDTH, opening, time_axis

LABEL, ROW, RIGHT = 84, 28, 230
LEGEND_COLUMN = 118
# Told apart on a light page and on a dark one, and by people who do not see red and green.
COLOURS = ("#8c8c8c", "#3b78c4", "#e0a100", "#8a5fb5", "#2f9e8f", "#6aa84f", "#b5653a", "#d17fae")


@dataclass(frozen=True)
class Bar:
    """One row: seconds by phase, seconds of the whole, and what went wrong (None: nothing)."""

    label: str
    phases: Mapping[str, float]
    seconds: float
    trouble: str | None = None


def chart(bars: Sequence[Bar]) -> str:
    """Draws the bars below each other on one time axis; those with trouble are framed and say so.

    Returns:
        An SVG element as text.
    """
    names = list(dict.fromkeys(name for bar in bars for name in bar.phases))
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)}
    longest = max((bar.seconds for bar in bars), default=0.0)
    axis = WIDTH - LABEL - RIGHT
    scale = axis / max(longest, 1e-9)
    bottom = PAD + ROW * len(bars)
    height = bottom + 2 * ROW + PAD
    parts = [opening("Cycles and their phases", height), *time_axis(LABEL, axis, bottom, longest)]
    for row, bar in enumerate(bars):
        parts += _row(bar, PAD + row * ROW, scale, colours)
    for at, name in enumerate(names):
        x, y = at * LEGEND_COLUMN, bottom + ROW + PAD
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colours[name]}"/>')
        parts.append(f'<text x="{x + 17}" y="{y + 11}" fill="{INK}">{escape(name.replace("_", " "))}</text>')
    return "".join(parts) + "</svg>"


def _row(bar: Bar, y: int, scale: float, colours: Mapping[str, str]) -> list[str]:
    parts = [f'<text x="0" y="{y + 18}" fill="{INK}">{escape(bar.label)}</text>']
    x = float(LABEL)
    for name, seconds in bar.phases.items():
        parts.append(
            f'<rect x="{x:.1f}" y="{y + 4}" width="{seconds * scale:.1f}" height="{ROW - 8}" fill="{colours[name]}">'
            f"<title>{escape(bar.label)}, {escape(name.replace('_', ' '))}: {seconds:.2f} s</title></rect>"
        )
        x += seconds * scale
    end = LABEL + bar.seconds * scale
    told = f"{bar.seconds:.2f} s" if bar.seconds else ""
    if bar.trouble:
        if bar.seconds:
            parts.append(
                f'<rect x="{LABEL}" y="{y + 3}" width="{end - LABEL:.1f}" height="{ROW - 6}" fill="none" '
                f'stroke="{FAILED}" stroke-width="3"/>'
            )
        mark = f'<tspan fill="{FAILED}" font-weight="bold">✗ {escape(bar.trouble)}</tspan>'
        told = f"{told} {mark}".strip()
    parts.append(f'<text x="{max(x, end) + 8:.1f}" y="{y + 18}" fill="{INK}">{told}</text>')
    return parts
