"""The parts of a bill: what it is for, in words, and why it is more than time alone costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from rekindle.money import SHOWN, dollars

# The kinds of rows of the markets' bills, in the order in which they are shown. A kind that is not here is shown as the
# bill names it.
PARTS = {
    "gpu": "GPU time",
    "disk": "disk",
    "upload": "traffic",
    "download": "traffic",
    "cpu": "CPU standbys",
    "volume": "volumes",
    "storage": "storage",
}


def parts(kinds: Mapping[str, float]) -> dict[str, float]:
    """Return what a bill is for.

    Args:
        kinds: sums of the bill, USD, under the kinds of its rows.

    Returns:
        USD by part, without parts that cost nothing.
    """
    order = [*(kind for kind in PARTS if kind in kinds), *(kind for kind in kinds if kind not in PARTS)]
    found: dict[str, float] = {}
    for kind in order:
        name = PARTS.get(kind, kind)
        found[name] = found.get(name, 0.0) + kinds[kind]
    return {name: usd for name, usd in found.items() if usd}


def sum_of(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums of the same parts of several bills, in the usual order."""
    bills = list(several)
    usual = [*dict.fromkeys(PARTS.values()), *(name for bill in bills for name in bill)]
    return {
        name: math.fsum(bill.get(name, 0.0) for bill in bills)
        for name in dict.fromkeys(usual)
        if any(name in bill for bill in bills)
    }


def in_words(by_part: Mapping[str, float]) -> str:
    """Return "GPU time $0.0012, disk $0.0001"; "nothing" when there is no part."""
    return ", ".join(f"{name} {dollars(usd, 4)}" for name, usd in by_part.items() if usd >= SHOWN) or "nothing"
