"""The bill: exact to the second, and never for time in which the cloud was down."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.marketplace.billing import OPENING_BALANCE, Bill, Kind
from sandbox.records import Records

KINDS: st.SearchStrategy[Kind] = st.sampled_from(("gpu", "disk"))
START = 1_795_000_000.0


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "market.db"


def test_a_machine_from_rent_to_end(database: Path, clock: Clock) -> None:
    bill = Bill(Records(database), clock)
    bill.open(1, "disk", 0.072, "a machine")
    clock.time += 10  # it boots
    bill.open(1, "gpu", 0.36, "a machine")
    clock.time += 100  # it runs
    growing = bill.rows()
    assert [(row["type"], row["quantity"], row["end"]) for row in growing] == [("disk", 110, None), ("gpu", 100, None)]
    bill.close(1, "gpu")
    clock.time += 1000  # it is stopped
    bill.close(1, "gpu", "disk")
    clock.time += 5000  # it is gone
    assert [(row["type"], row["start"], row["end"], row["amount"]) for row in bill.rows()] == [
        ("disk", START, START + 1110, pytest.approx(0.072 * 1110 / 3600)),
        ("gpu", START + 10, START + 110, pytest.approx(0.36 * 100 / 3600)),
    ]
    assert {row["source"] for row in bill.rows()} == {"instance-1"}
    assert bill.balance == pytest.approx(OPENING_BALANCE - 0.0222 - 0.01)


def test_nothing_is_charged_twice(database: Path, clock: Clock) -> None:
    bill = Bill(Records(database), clock)
    bill.open(1, "gpu", 1.0, "a machine")
    bill.open(1, "gpu", 1.0, "a machine")
    bill.open(2, "gpu", 1.0, "another machine")
    assert [row["instance_id"] for row in bill.rows()] == [1, 2]
    bill.close(1, "gpu")
    clock.time += 60
    assert [row["quantity"] for row in bill.rows()] == [0, 60]


def test_time_while_the_cloud_is_down_is_not_charged(database: Path, clock: Clock) -> None:
    bill = Bill(Records(database), clock)
    bill.open(1, "disk", 3.6, "a machine")
    clock.time += 30
    bill.beat()
    clock.time += 0.5  # killed before the next beat
    clock.time += 86400
    after = Bill(Records(database), clock)
    assert [(row["quantity"], row["end"]) for row in after.rows()] == [(30, START + 30)]
    assert after.balance == pytest.approx(OPENING_BALANCE - 0.03)
    after.open(1, "disk", 3.6, "a machine")
    clock.time += 10
    assert [row["quantity"] for row in after.rows()] == [30, 10]
    assert after.balance == pytest.approx(OPENING_BALANCE - 0.04)


def test_a_charge_that_no_beat_has_seen_costs_nothing(database: Path, clock: Clock) -> None:
    first = Bill(Records(database), clock)
    first.beat()
    clock.time += 0.9
    first.open(1, "gpu", 1.0, "a machine")
    clock.time += 50
    assert [row["quantity"] for row in Bill(Records(database), clock).rows()] == [0]


def test_an_orderly_shutdown_charges_to_its_last_moment(database: Path, clock: Clock) -> None:
    bill = Bill(Records(database), clock)
    bill.open(1, "gpu", 1.0, "a machine")
    clock.time += 7
    bill.close_all()
    clock.time += 100
    assert [row["quantity"] for row in Bill(Records(database), clock).rows()] == [7]


def test_a_balance_that_is_set_is_kept_and_falls_on(database: Path, clock: Clock) -> None:
    bill = Bill(Records(database), clock)
    bill.open(1, "gpu", 3600.0, "dear")
    clock.time += 5
    bill.balance = 3.0
    assert bill.balance == pytest.approx(3.0)
    clock.time += 4
    assert bill.balance == pytest.approx(-1.0)
    bill.close_all()
    assert Bill(Records(database), clock).balance == pytest.approx(-1.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "close", "restart"]),
            st.integers(1, 3),
            KINDS,
            st.floats(0, 1000),
        ),
        max_size=20,
    )
)
def test_the_balance_is_what_was_deposited_less_all_rows(steps: list[tuple[str, int, Kind, float]]) -> None:
    clock, records = Clock(), Records(Path(":memory:"))
    bill = Bill(records, clock)
    for verb, machine, kind, seconds in steps:
        if verb == "open":
            bill.open(machine, kind, 0.5, "a machine")
        elif verb == "close":
            bill.close(machine, kind)
        else:
            bill.beat()
            bill = Bill(records, clock)
        clock.time += seconds
        rows = bill.rows()
        growing = [(row["instance_id"], row["type"]) for row in rows if row["end"] is None]
        assert len(growing) == len(set(growing))
        assert bill.balance == pytest.approx(OPENING_BALANCE - sum(row["amount"] for row in rows))
    records.close()


def test_traffic_is_charged_by_the_gb_on_one_line_a_direction(database: Path, clock: Clock) -> None:
    bill = Bill(Records(database), clock)
    bill.open(1, "gpu", 0.36, "a machine")
    bill.add_traffic(1, "upload", 2_000_000_000, 0.01, "a machine")
    clock.time += 100
    bill.add_traffic(1, "download", 500_000_000, 0.02, "a machine")
    bill.add_traffic(1, "upload", 1_000_000_000, 0.01, "a machine")
    bill.close(1, "gpu")
    bill = Bill(Records(database), clock)  # it comes back after the end of the cloud
    bill.add_traffic(1, "upload", 500_000_000, 0.01, "a machine")
    rows = {row["type"]: row for row in bill.rows()}
    assert [(row["number"], row["quantity"], row["rate"], row["amount"]) for row in rows.values()] == [
        (1, 100, 0.36, 0.01),
        (2, 3.5, 0.01, 0.035),
        (3, 0.5, 0.02, 0.01),
    ]
    assert (rows["upload"]["start"], rows["upload"]["end"]) == (START, START + 100)
    assert bill.balance == pytest.approx(OPENING_BALANCE - 0.01 - 0.035 - 0.01)
