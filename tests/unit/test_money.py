"""Amounts of money are readable, however small, and never look smaller than they are where a limit is concerned."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.money import amount, dollars


@pytest.mark.parametrize(
    ("usd", "decimals", "text"),
    [
        (0.0, 2, "$0.00"),
        (0.32, 2, "$0.32"),
        (0.05, 2, "$0.05"),
        (0.01, 2, "$0.01"),
        (0.004, 2, "$0.0040"),
        (0.00032, 2, "$0.00032"),
        (0.000004, 2, "$0.000004"),
        (1e-9, 2, "$0.00"),
        (1234.5, 2, "$1234.50"),
        (0.32, 4, "$0.3200"),
        (0.000032, 4, "$0.000032"),
        (0.000126, 4, "$0.00013"),
        (0.0015, 4, "$0.0015"),
        (0.000333, 6, "$0.000333"),
        (-1.5, 2, "-$1.50"),
        (math.inf, 2, "$∞"),
        (math.nan, 2, "$unknown"),
    ],
)
def test_an_amount_has_as_many_decimals_as_it_needs(usd: float, decimals: int, text: str) -> None:
    assert dollars(usd, decimals) == text


@pytest.mark.parametrize(
    ("usd", "up", "down"),
    [
        (0.321, "$0.33", "$0.32"),
        (0.32, "$0.32", "$0.32"),
        (0.1 + 0.2, "$0.30", "$0.30"),
        (0.00123, "$0.0013", "$0.0012"),
        (-0.321, "-$0.32", "-$0.33"),
        (math.inf, "$∞", "$∞"),
    ],
)
def test_a_limit_never_looks_kept(usd: float, up: str, down: str) -> None:
    assert (dollars(usd, rounded="up"), dollars(usd, rounded="down")) == (up, down)


@given(st.floats(min_value=1e-5, max_value=1e6), st.integers(min_value=2, max_value=6))
def test_no_price_is_shown_as_nothing(usd: float, decimals: int) -> None:
    shown = float(amount(usd, decimals))
    assert shown == pytest.approx(usd, rel=0.06, abs=0.5 * 10**-decimals)
    assert shown > 0


@given(st.floats(min_value=0, max_value=1e6))
def test_rounding_keeps_its_direction(usd: float) -> None:
    assert float(amount(usd, rounded="down")) <= usd + 1e-7
    assert float(amount(usd, rounded="up")) >= usd - 1e-7
