"""What tests will cost is told before, and nothing goes on that was not meant or cannot be paid."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rekindle.errors import Misconfigured
from rekindle.expected_cost import ExpectedCost, Plan, sum_of

FAILOVERS = ExpectedCost(
    machines=6,
    machine_minutes=60,
    gpu_name="RTX A4000",
    price=0.30,
    max_price=0.50,
    most_minutes=60,
    disk_gb=0,
)


def test_plans_add_up() -> None:
    plan = sum_of([Plan(2, 10), Plan(6, 5)])
    assert (plan.machines, plan.minutes) == (8, 50)


def test_the_expected_and_the_highest_cost_are_told() -> None:
    assert FAILOVERS.lines() == [
        "Expected cost: $0.30, for 6 machines and 60 minutes in all at $0.30/h (RTX A4000, the cheapest that fits)",
        "At most: $3.00, when each of them lives 60 minutes at $0.50/h",
    ]


def test_the_disk_is_paid_for_too() -> None:
    with_disk = replace(FAILOVERS, disk_gb=100)
    assert with_disk.usd > FAILOVERS.usd
    assert with_disk.most_usd > FAILOVERS.most_usd


def test_real_money_has_to_be_meant() -> None:
    with pytest.raises(Misconfigured) as raised:
        FAILOVERS.raise_unless_agreed(real=False, left_usd=100)
    assert str(raised.value) == (
        "These tests would rent 6 machines on the real market, for about $0.30 and at most $3.00. When that is meant, "
        "say so: --variable REAL:True"
    )


def test_the_budget_has_to_be_enough_for_the_worst() -> None:
    with pytest.raises(Misconfigured) as raised:
        FAILOVERS.raise_unless_agreed(real=True, left_usd=2.996)
    assert str(raised.value) == (
        "These tests can cost $3.00 (6 machines, each for up to 60 minutes at up to $0.50/h, and its disk; about $0.30 "
        "is expected), but $2.99 of BUDGET_USD is left. Raise BUDGET_USD, lower MAX_PRICE or MACHINE_MINUTES, or "
        "choose fewer tests."
    )
    FAILOVERS.raise_unless_agreed(real=True, left_usd=3.0)
