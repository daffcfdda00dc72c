"""Machines that outlive the minutes reserved for them are destroyed while their run goes on; and only they."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rekindle import ledger
from rekindle.clearing import Clearing
from rekindle.ledger import Ledger, State
from rekindle.overtime import AGAIN_AFTER, Overtime, outlived
from tests.unit.fake_cloud import FIRST_ID, FakeCloud

LABEL = "rekindle-r1-1-30m"


class House:
    """A run that goes on, and its guard's view."""

    def __init__(self, folder: Path) -> None:
        self.cloud = FakeCloud()
        self.ledger = Ledger(folder / "ledger.db", "here")
        clearing = Clearing(self.cloud.dumont, self.cloud.market, self.ledger, print, clock=self.cloud.clock)
        self.passed = 0.0
        self.overtime = Overtime(clearing, self.ledger, "r1", print, now=lambda: self.passed)

    def rent(self, label: str = LABEL, minutes: float = 30) -> int:
        number = self.cloud.rent(label)
        self.ledger.created(self.ledger.intend("r1", label, 7, 0.36, minutes), number)
        return number

    def after(self, minutes: float) -> list[int]:
        """Which machines live after one look so many minutes later."""
        self.passed += minutes * 60
        self.overtime.look()
        if self.overtime._work:
            self.overtime._work.join()
        return [contract.id for contract in self.cloud.living()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_machine_that_is_due_is_destroyed_and_the_ledger_says_why(house: House) -> None:
    first = house.rent()
    second = house.rent("rekindle-r1-2-60m", minutes=60)
    assert house.after(0) == [first, second]
    assert house.after(29.9) == [first, second]
    assert house.after(0.2) == [second]
    assert house.after(31) == []
    assert [rent.state for rent in house.ledger.rents("r1")] == [State.DESTROYED] * 2
    assert [(rent.instance_id, rent.minutes) for rent in outlived(house.ledger, "r1")] == [(first, 30), (second, 60)]


def test_a_replacement_that_is_not_due_lives_on(house: House) -> None:
    old = house.rent()
    house.after(0)
    house.after(20)
    new = house.rent()
    house.after(0)
    assert house.after(15) == [new]
    assert old not in [rent.instance_id for rent in house.ledger.open_rents()]
    assert house.after(20) == []


def test_what_the_product_rented_beside_goes_with_the_last_of_its_label(house: House) -> None:
    house.rent()
    house.cloud.rent(LABEL)  # a warm one, or the loser of a race
    stranger = house.cloud.rent("rekindle-r1-10-30m")
    house.after(0)
    assert house.after(31) == [stranger]


def test_an_expected_machine_that_comes_late_is_still_written_down(house: House) -> None:
    intent = house.ledger.intend("r1", LABEL, None, 0.36, 30)
    house.after(0)
    assert house.after(31) == []
    house.ledger.created(intent, house.cloud.rent(LABEL))
    assert house.ledger.rent(intent).state == State.CREATED
    assert house.after(AGAIN_AFTER / 60) == []
    assert house.ledger.rent(intent).state == State.DESTROYED


@pytest.mark.parametrize("looked_before", [True, False])
def test_a_clock_that_is_set_forward_ends_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, looked_before: bool
) -> None:
    number = house.rent()
    if looked_before:
        house.after(0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    assert house.after(1) == [number]


def test_a_guard_that_replaces_another_knows_how_old_machines_are(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.rent()
    now = ledger.uptime()
    monkeypatch.setattr(ledger, "uptime", lambda: now + 31 * 60)
    assert house.after(0) == []


def test_machines_of_other_runs_are_not_looked_at(house: House) -> None:
    number = house.cloud.rent("rekindle-r2-1-30m")
    house.ledger.created(house.ledger.intend("r2", "rekindle-r2-1-30m", 7, 0.36, 30), number)
    house.after(0)
    assert house.after(100) == [number]


def test_one_that_nobody_destroys_is_tried_again_after_a_while(house: House) -> None:
    house.rent()
    house.after(0)
    house.cloud.dumont.on_destroy = house.cloud.market.on_destroy = lambda _: True
    assert house.after(31) == [FIRST_ID]
    house.cloud.dumont.on_destroy = None
    assert house.after(0) == [FIRST_ID]
    assert house.after(AGAIN_AFTER / 60 + 0.1) == []


def test_a_ledger_that_cannot_be_read_is_told_and_the_guard_goes_on(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    house.rent()
    house.ledger.path.write_bytes(b"broken" * 1000)
    assert house.after(31) == [FIRST_ID]
    assert "cannot look for machines that are due: The ledger of rented machines" in capsys.readouterr().out
