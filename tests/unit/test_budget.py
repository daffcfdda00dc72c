"""The budget: no sum of worst cases exceeds it, and the refusal says the numbers."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest

from rekindle.budget import HOURS_PER_MONTH, STORAGE_USD_PER_GB_MONTH, Beside, Budget, hourly_at_most
from rekindle.errors import Misconfigured

OFFER = "offer 1000012 (RTX A4000, $0.32/h)"


def test_a_machine_over_the_budget_is_refused_with_the_numbers() -> None:
    budget = Budget(0.20)
    budget.reserve(OFFER, 0.32, 30)
    with pytest.raises(Misconfigured) as refused:
        budget.reserve(OFFER, 0.32, 30)
    assert str(refused.value) == (
        "Renting offer 1000012 (RTX A4000, $0.32/h) for up to 30 min reserves $0.16, but only $0.04 of the budget of "
        "$0.20 is left. Raise BUDGET_USD, lower MAX_PRICE, or allow the machine fewer minutes."
    )
    assert budget.left_usd == pytest.approx(0.04)


def test_the_disk_is_reserved_as_well() -> None:
    budget = Budget(0.16)
    with pytest.raises(
        Misconfigured, match=r"Renting .* and 100 GB of disk for up to 30 min reserves \$0.19, but only"
    ):
        budget.reserve(OFFER, 0.32, 30, disk_gb=100)
    assert hourly_at_most(0.32, 100) == pytest.approx(0.32 + 100 * STORAGE_USD_PER_GB_MONTH / HOURS_PER_MONTH)


def test_the_last_cent_can_be_spent() -> None:
    budget = Budget(0.30)
    for _ in range(3):
        budget.reserve(OFFER, 0.10, 60)
    assert budget.left_usd == pytest.approx(0)


def test_what_was_spent_is_booked_and_the_rest_is_given_back() -> None:
    budget = Budget(1)
    reservation = budget.reserve(OFFER, 0.60, 60)
    assert (budget.reserved_usd, budget.spent_usd) == pytest.approx((0.60, 0))
    budget.settle(reservation, 0.05)
    assert (budget.reserved_usd, budget.spent_usd, budget.left_usd) == pytest.approx((0, 0.05, 0.95))
    budget.settle(reservation, 0.05)
    assert budget.spent_usd == 0.05


def test_two_equal_machines_are_settled_one_by_one() -> None:
    budget = Budget(1)
    first, second = (budget.reserve(OFFER, 0.30, 60) for _ in range(2))
    budget.settle(first, 0.01)
    assert budget.reserved_usd == pytest.approx(0.30)
    budget.settle(second, 0.02)
    assert (budget.reserved_usd, budget.spent_usd) == pytest.approx((0, 0.03))


def test_machines_rented_at_once_do_not_exceed_it_together() -> None:
    budget = Budget(1.0)

    def reserve(_: int) -> bool:
        try:
            budget.reserve(OFFER, 0.10, 60)
        except Misconfigured:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(reserve, range(100))) == 10


def test_a_cloud_that_costs_nothing_needs_no_limit() -> None:
    budget = Budget(math.inf)
    budget.reserve(OFFER, 1e6, 1e6)
    assert budget.left_usd == math.inf


@pytest.mark.parametrize("limit", [-0.01, math.nan])
def test_a_limit_that_is_no_amount_of_money_is_refused(limit: float) -> None:
    with pytest.raises(Misconfigured, match="BUDGET_USD must be an amount of money, zero or more; it is "):
        Budget(limit)


@pytest.mark.parametrize(("price", "minutes"), [(math.nan, 30), (-1, 30), (0.3, -5)])
def test_a_machine_without_a_price_is_refused(price: float, minutes: float) -> None:
    with pytest.raises(Misconfigured, match="cannot be priced"):
        Budget(math.inf).reserve(OFFER, price, minutes)


def test_what_may_come_beside_a_machine_is_reserved_as_well() -> None:
    race = Beside("14 more in a race, for up to 3 min", 0.42)
    with pytest.raises(Misconfigured) as refused:
        Budget(0.50).reserve("a machine to replace 7", 0.60, 30, beside=race)
    assert str(refused.value) == (
        "Renting a machine to replace 7 for up to 30 min reserves $0.72 ($0.42 of it for 14 more in a race, for up to "
        "3 min), but only $0.50 of the budget of $0.50 is left. Raise BUDGET_USD, lower MAX_PRICE, or allow the "
        "machine fewer minutes."
    )
    assert Budget(0.72).reserve("a machine to replace 7", 0.60, 30, beside=race).usd == pytest.approx(0.72)


def test_half_of_the_budget_raises_one_alarm() -> None:
    budget = Budget(1.0)
    assert Budget(0.0).alarm(0.0) is None, "nothing is spent"
    budget.settle(budget.reserve(OFFER, 0.30, 60), 0.30)
    assert budget.alarm(0.19) is None
    assert budget.alarm(0.20) == "At least half of the budget is spent: $0.50 of $1.00."
    assert budget.alarm(0.90) is None, "once is enough"


def test_an_overdrawn_budget_is_told_as_often_as_it_is_asked_for_and_allows_nothing() -> None:
    budget = Budget(1.0)
    budget.book(0.75)
    assert budget.overdrawn(0.25) is None
    assert budget.overdrawn(0.25, billed_usd=0.9) is None
    assert "is overdrawn: $7.50 is spent" in str(budget.overdrawn(0.25, billed_usd=7.5))
    for _ in range(2):
        assert budget.overdrawn(0.251) == (
            "The budget of $1.00 is overdrawn: $1.01 is spent. Nothing more is rented, and no further test is begun; "
            "what is rented is destroyed. Raise BUDGET_USD, or choose fewer tests."
        )
    budget.book(0.30)
    with pytest.raises(Misconfigured, match=r"reserves \$0.00017, but only \$0.00 of the budget of \$1.00 is left"):
        budget.reserve(OFFER, 0.01, 1)
