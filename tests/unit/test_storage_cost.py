"""What snapshots are expected to cost in the bucket, told beside the bills and never compared with one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rekindle.billed_item import Item
from rekindle.cost import Cost, Life
from rekindle.settled_bill import RunBill
from rekindle.storage_cost import HOURS_PER_MONTH, USD_PER_GB_MONTH, StorageCost, hourly_usd, line

MONTH = HOURS_PER_MONTH * 3600
DELETED = StorageCost("0123abcd", 10**9, Cost(hourly_usd(10**9), Life(MONTH, MONTH)), kept=False)
KEPT = StorageCost("4567cdef", 2 * 10**9, Cost(hourly_usd(2 * 10**9), Life(0, MONTH / 2)), kept=True)


def test_a_gigabyte_costs_its_price_in_a_month() -> None:
    assert DELETED.cost.usd == pytest.approx(USD_PER_GB_MONTH)
    assert [DELETED.gb_months, KEPT.gb_months] == pytest.approx([1, 1])


def test_the_sum_is_told_as_what_it_is() -> None:
    assert line([DELETED, KEPT]) == (
        "Storage: about $0.01 expected for 2 snapshots, 1 of them kept for another day (2 GB-months at "
        "$0.006); not witnessed, because the store shows no bill"
    )


RENTED = Item("machine 7", Cost(0.0, Life(1, 1)), ())


def test_nothing_rented_is_no_bill_of_zero() -> None:
    bill = RunBill("run", 1.0, ())
    assert (bill.line(), bill.explanation()) == ("Bill: nothing was rented", "")


def test_next_to_nothing_is_not_shown() -> None:
    little = StorageCost("0123abcd", 1000, Cost(hourly_usd(1000), Life(1, 1)), kept=False)
    assert line([little]) == ""
    assert "storage" not in RunBill("run", 1.0, (RENTED,), storage=(little,)).line()


def test_storage_stands_in_the_bill_of_a_run_and_in_no_comparison() -> None:
    bill = RunBill("run", 1.0, (RENTED,))
    with_storage = replace(bill, storage=(DELETED, KEPT))
    assert (with_storage.measured_usd, with_storage.billed_usd, with_storage.troubles) == (0, 0, [])
    rows = with_storage.document()["storage"]
    assert rows == [DELETED.document(), KEPT.document()]
    assert DELETED.document() == {
        "snapshot": "0123abcd",
        "bytes": 10**9,
        "gb_months": 1.0,
        "least_usd": 0.006,
        "expected_usd": 0.006,
        "kept": False,
    }
    assert "snapshot 4567cdef, expected while it is kept" in with_storage.html()
    assert "; storage about $0.01 (not billed); " in with_storage.line()
