"""Amounts of money in words: the only place that decides how many decimals an amount has."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Literal

Rounding = Literal["nearest", "up", "down"]
MOST_DECIMALS = 6
CENT = 0.01  # USD
# Less is shown as zero, with the usual decimals, USD.
SHOWN = 0.5 * 10**-MOST_DECIMALS
# What floating point adds to a sum of many amounts is not money, USD.
NOISE = 1e-8

_MODES = {"nearest": ROUND_HALF_EVEN, "up": ROUND_CEILING, "down": ROUND_FLOOR}


def dollars(usd: float, decimals: int = 2, *, rounded: Rounding = "nearest") -> str:
    """Return an amount as "$0.32", "$0.0040" or "-$1.50".

    Args:
        usd: the amount.
        decimals: at least this many. An amount below one cent has at least two significant digits, so that it is not
            shown as "$0.00"; `MOST_DECIMALS` is the limit.
        rounded: in which direction.
    """
    return f"{'-' if usd < 0 else ''}${amount(abs(usd), decimals, rounded=_mirrored(rounded) if usd < 0 else rounded)}"


def dollars_up(usd: float) -> str:
    """Return an amount rounded up: for what is or may be spent, so that no limit looks kept."""
    return dollars(usd, rounded="up")


def dollars_down(usd: float) -> str:
    """Return an amount rounded down: for what is left."""
    return dollars(usd, rounded="down")


def amount(usd: float, decimals: int = 2, *, rounded: Rounding = "nearest") -> str:
    """Return an amount without the sign of the currency, for a column that is headed "USD"."""
    if not math.isfinite(usd):
        return "∞" if usd > 0 else "unknown"
    exact = Decimal(repr(usd if rounded == "nearest" else usd - NOISE if rounded == "up" else usd + NOISE))
    if SHOWN <= abs(usd) < CENT:
        decimals = max(decimals, min(1 - math.floor(math.log10(abs(usd))), MOST_DECIMALS))
    return f"{exact.quantize(Decimal(1).scaleb(-decimals), rounding=_MODES[rounded]) + 0:f}"


def _mirrored(rounded: Rounding) -> Rounding:
    opposite: dict[Rounding, Rounding] = {"up": "down", "down": "up", "nearest": "nearest"}
    return opposite[rounded]
