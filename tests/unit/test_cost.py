"""What a machine cost by our clock, and whether the market's bill agrees to the second."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from rekindle.budget import Reservation
from rekindle.cost import Cost, Life, reconcile
from rekindle.errors import Mismatch, Unknown
from rekindle.rented import RentedMachine

SECOND = 0.36 / 3600


@dataclass(frozen=True)
class Row:
    usd: float
    end: float | None = 1.0
    kind: str = "gpu"
    rate: float = 0.36


COST = Cost(0.36, Life(at_least=100.0, at_most=102.0))


def test_the_cost_told_is_the_most_that_it_can_be() -> None:
    assert COST.usd == pytest.approx(102 * SECOND)
    assert COST.at_least_usd == pytest.approx(100 * SECOND)


@pytest.mark.parametrize("seconds", [99.01, 100, 101, 102, 102.99])
def test_a_bill_within_a_billing_second_agrees(seconds: float) -> None:
    agreed = reconcile("machine 7", COST, [Row(seconds * SECOND / 2), Row(seconds * SECOND / 2)])
    assert agreed.bill_usd == pytest.approx(seconds * SECOND)
    assert (agreed.cost_usd, agreed.tolerance_usd, agreed.rows) == pytest.approx((COST.usd, SECOND, 2))


@pytest.mark.parametrize("seconds", [0, 50, 98.9, 103.1, 1000])
def test_any_other_bill_is_red_with_both_numbers(seconds: float) -> None:
    with pytest.raises(Mismatch) as told:
        reconcile("machine 7", COST, [Row(seconds * SECOND)])
    assert str(told.value) == (
        f"The market bills ${seconds * SECOND:.6f} for machine 7, but at $0.3600/h the 100.0 to 102.0 s that it lived "
        "cost $0.010000 to $0.010200. One billing second is $0.000100. Compare the bill's rows at the market."
    )


def test_a_dearer_price_is_red_although_the_sum_could_be_right() -> None:
    short = Cost(0.36, Life(at_least=0.0, at_most=200.0))
    rows = [Row(0.01, rate=0.30), Row(0.001, kind="disk", rate=0.22), Row(0.002, kind="upload", rate=9.0)]
    with pytest.raises(Mismatch) as told:
        reconcile("machine 7", short, rows)
    assert str(told.value) == (
        "machine 7: billed at $0.5200/h, agreed $0.3600/h. Compare the bill's rows at the market."
    )
    again = [Row(0.01, rate=0.30), Row(0.01, rate=0.30), Row(0.0, kind="disk", rate=0.0604)]
    assert reconcile("machine 7", short, again).rows == 3, "a machine that was stopped for a while, and rounded prices"


def test_no_bill_is_unknown_not_zero() -> None:
    with pytest.raises(Unknown, match="UNKNOWN: The market shows no bill for machine 7"):
        reconcile("machine 7", COST, [])


def test_a_growing_bill_is_not_compared() -> None:
    with pytest.raises(Unknown, match="still grows"):
        reconcile("machine 7", COST, [Row(101 * SECOND), Row(0, end=None)])


def test_a_machine_that_stood_still_has_no_least_cost() -> None:
    rented = RentedMachine(
        id=7,
        label="rekindle-run-1",
        gpu_name="RTX 3060",
        hourly_usd=0.36,
        asked_at=-0.5,
        intent=1,
        reservation=Reservation("offer 7", 1.0),
    )
    rented.seen_alive(at=100.0)
    assert rented.cost(gone_at=109.5).at_least_usd == 0, "it never got ready"
    rented.provision_seconds = 0.5
    assert rented.cost(gone_at=109.5).at_least_usd == pytest.approx(0.01)
    rented.was_interrupted()
    assert rented.cost(gone_at=109.5).at_least_usd == 0
    assert rented.cost(gone_at=109.5).usd == pytest.approx(0.011)
