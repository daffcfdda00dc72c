"""Clearing up after a dead run: all of ours, nothing of others, through every kind of trouble, and told truthfully."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from rekindle import clearing, ledger
from rekindle.clearing import CREATE_WINDOW, Cleared, Clearing, Volumes, of_run
from rekindle.errors import Unknown
from rekindle.http import RateLimited
from rekindle.ledger import Ledger, State
from tests.unit.fake_cloud import FIRST_ID, FakeCloud

LABEL = "rekindle-r1-1"


class House:
    """A cloud and a ledger in which a run has left something."""

    def __init__(self, folder: Path, *, market: bool = True) -> None:
        self.cloud = FakeCloud()
        self.ledger = Ledger(folder / "ledger.db", "here")
        self.said: list[str] = []
        self.clearing = Clearing(
            self.cloud.dumont,
            self.cloud.market if market else None,
            self.ledger,
            self.said.append,
            clock=self.cloud.clock,
        )

    def rent(self, label: str = LABEL) -> int:
        number = self.cloud.rent(label)
        self.ledger.created(self.ledger.intend("r1", label, 7, 0.36, 30), number)
        return number

    def clear(self) -> Cleared:
        rents = self.ledger.open_rents("r1")
        return self.clearing.clear(rents, of_run("r1", rents))

    def states(self) -> list[State]:
        return [rent.state for rent in self.ledger.rents("r1")]

    def left(self) -> list[str | None]:
        return [contract.label for contract in self.cloud.living()]

    def seconds(self) -> float:
        return self.cloud.now - 1000


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_is_in_the_ledger_is_destroyed_through_the_product(house: House) -> None:
    house.rent()
    cleared = house.clear()
    assert str(cleared) == f"destroyed {FIRST_ID} ({LABEL})"
    assert house.cloud.calls == [f"dumont destroy {FIRST_ID}"]
    assert house.states() == [State.DESTROYED]
    assert house.ledger.rents("r1")[0].proof == "absent from two listings of the marketplace after the end of the run"
    assert house.seconds() < 1


def test_machines_of_others_are_left_alone(house: House) -> None:
    house.rent()
    strangers = ["rekindle-r11-1", "rekindle-r2-1", "mine", "", None]
    for label in strangers:
        house.cloud.rent(label)
    house.clear()
    assert house.left() == strangers


def test_a_machine_of_this_run_that_no_ledger_names_is_destroyed(house: House) -> None:
    house.cloud.rent("rekindle-r1-9")
    assert house.clear().destroyed == {FIRST_ID: "rekindle-r1-9"}
    assert house.left() == []


def test_a_create_that_was_under_way_is_caught_when_it_comes(house: House) -> None:
    house.ledger.intend("r1", LABEL, 7, 0.36, 30)
    appeared: list[int] = []

    def appear(now: float) -> None:
        if now >= 1020 and not appeared:
            appeared.append(house.cloud.rent(LABEL))

    house.cloud.meanwhile = appear
    assert house.clear().destroyed == {FIRST_ID: LABEL}
    assert house.left() == []
    assert house.states() == [State.DESTROYED]


def test_an_intent_that_came_to_nothing_is_closed_after_the_window(house: House) -> None:
    house.ledger.intend("r1", LABEL, 7, 0.36, 30)
    assert str(house.clear()) == f"no machine ever came of {LABEL}"
    assert house.states() == [State.NEVER_CREATED]
    assert house.seconds() >= CREATE_WINDOW - 1


def test_an_old_intent_needs_no_window(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.ledger.intend("r1", LABEL, 7, 0.36, 30)
    now = ledger.uptime()
    monkeypatch.setattr(ledger, "uptime", lambda: now + 3600)
    house.clear()
    assert house.seconds() < 1


@pytest.mark.parametrize("by", [7200, -86400])
def test_a_clock_that_was_set_meanwhile_changes_nothing_of_the_window(
    house: House, monkeypatch: pytest.MonkeyPatch, by: float
) -> None:
    house.ledger.intend("r1", LABEL, 7, 0.36, 30)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + by)
    house.clear()
    assert CREATE_WINDOW - 1 <= house.seconds() < CREATE_WINDOW + 2


def test_a_product_that_says_yes_and_does_nothing_is_bypassed(house: House) -> None:
    house.rent()
    house.cloud.dumont.on_destroy = lambda _: True
    assert house.clear().destroyed == {FIRST_ID: LABEL}
    assert house.left() == []
    assert f"market destroy {FIRST_ID}" in house.cloud.calls


def fail_times(times: int, then: Callable[..., object]) -> Callable[..., object]:
    """Answers 429 some times, then honestly."""
    left = [None] * times

    def call(*arguments: object) -> object:
        if left:
            left.pop()
            raise RateLimited("429.")
        return then(*arguments)

    return call


@pytest.mark.parametrize("client", ["dumont", "market"])
@pytest.mark.parametrize("method", ["instances", "destroy"])
def test_a_storm_of_429_is_weathered(house: House, monkeypatch: pytest.MonkeyPatch, client: str, method: str) -> None:
    house.rent()
    asked = getattr(house.cloud, client)
    monkeypatch.setattr(asked, method, fail_times(10, getattr(asked, method)))
    assert house.clear().destroyed == {FIRST_ID: LABEL}
    assert house.left() == []
    assert house.seconds() < 10


def test_a_dead_product_does_not_save_a_machine(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> object:
        raise Unknown("connection refused.")

    house.rent()
    monkeypatch.setattr(house.cloud.dumont, "instances", refuse)
    monkeypatch.setattr(house.cloud.dumont, "destroy", refuse)
    house.clear()
    assert house.left() == []
    assert "Dumont Cloud did not list its machines: Unknown: UNKNOWN: connection refused." in house.said


def test_a_product_that_hangs_does_not_save_a_machine(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "CALL_TIMEOUT", 0.05)
    for_ever = threading.Event()
    started: list[str] = []

    def hang(*_: object) -> object:
        started.append("call")
        return for_ever.wait(60)

    house.rent()
    monkeypatch.setattr(house.cloud.dumont, "instances", hang)
    monkeypatch.setattr(house.cloud.dumont, "destroy", hang)
    house.clear()
    for_ever.set()
    assert house.left() == []
    assert len(started) == 2  # one listing, one destruction: what hangs is not asked again


def test_a_market_that_does_not_list_is_not_taken_for_empty(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> object:
        raise Unknown("503.")

    house.rent()
    monkeypatch.setattr(house.cloud.market, "instances", refuse)
    cleared = house.clear()
    assert cleared.unsettled == [
        "the marketplace did not say clearly which machines there are",
        f"{LABEL} stays open in the ledger",
    ]
    assert house.left() == []  # the product has listed and destroyed it, only the proof is missing
    assert house.states() == [State.CREATED]
    assert 60 <= house.seconds() < 62


def test_a_machine_that_nobody_destroys_is_named(house: House) -> None:
    house.rent()
    house.cloud.dumont.on_destroy = house.cloud.market.on_destroy = lambda _: True
    cleared = house.clear()
    assert (cleared.destroyed, cleared.unsettled) == (
        {},
        [f"the marketplace still lists machine {FIRST_ID} ({LABEL})", f"{LABEL} stays open in the ledger"],
    )
    assert house.states() == [State.CREATED]


def test_a_machine_that_the_product_alone_shows_is_no_machine(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.rent()
    monkeypatch.setattr(house.cloud.market, "instances", list)
    assert house.clear().destroyed == {}
    assert house.states() == [State.DESTROYED]


def test_many_machines_go_at_once(house: House) -> None:
    for number in range(50):
        house.rent(f"rekindle-r1-{number}")
    assert len(house.clear().destroyed) == 50
    assert house.left() == []
    assert house.seconds() < 1


def test_without_a_key_for_the_market_the_product_is_the_witness(tmp_path: Path) -> None:
    house = House(tmp_path, market=False)
    house.rent()
    assert house.clear().destroyed == {FIRST_ID: LABEL}
    assert house.states() == [State.DESTROYED]


def test_a_broken_ledger_does_not_save_a_machine(house: House) -> None:
    house.rent()
    rents = house.ledger.open_rents()
    house.ledger.path.write_bytes(b"broken" * 1000)
    cleared = house.clearing.clear(rents, of_run("r1"))
    assert house.left() == []
    assert cleared.unsettled[0].startswith("The ledger of rented machines ")


@dataclass
class CpuRow:
    id: int
    label: str | None


class CpuCloud:
    """Machines that standbys live on. The product deletes them with their GPU machine, if it is honest."""

    def __init__(self, *rows: CpuRow) -> None:
        self.rows = list(rows)
        self.asked: list[int] = []

    def instances(self) -> list[CpuRow]:
        return list(self.rows)

    def destroy(self, machine_id: int) -> bool:
        self.asked.append(machine_id)
        self.rows = [row for row in self.rows if row.id != machine_id]
        return True


def test_a_standby_that_the_product_forgets_is_deleted_at_the_cpu_cloud(house: House) -> None:
    house.rent()
    cpu_cloud = CpuCloud(CpuRow(46, LABEL), CpuRow(47, "rekindle-another-1"), CpuRow(48, None))
    clearance = Clearing(
        house.cloud.dumont, house.cloud.market, house.ledger, print, cpu_cloud=cpu_cloud, clock=house.cloud.clock
    )
    cleared = clearance.clear(house.ledger.open_rents(), of_run("r1"))
    assert cleared.destroyed == {FIRST_ID: LABEL, 46: LABEL}
    assert (cpu_cloud.asked, [row.id for row in cpu_cloud.rows]) == ([46], [47, 48])
    assert house.left() == []
    assert not cleared.unsettled


def test_a_cpu_cloud_that_does_not_answer_is_not_taken_for_empty(house: House) -> None:
    class Away(CpuCloud):
        def instances(self) -> list[CpuRow]:
            raise Unknown("the CPU cloud is away")

    house.rent()
    clearance = Clearing(
        house.cloud.dumont, house.cloud.market, house.ledger, print, cpu_cloud=Away(), clock=house.cloud.clock
    )
    cleared = clearance.clear(house.ledger.open_rents(), of_run("r1"))
    assert "the CPU cloud did not say clearly which machines there are" in str(cleared)
    assert house.states() == [State.CREATED]


class WithVolumes:
    """A market with volumes, which it deletes only when no machine uses them."""

    def __init__(self, cloud: FakeCloud, *rows: CpuRow) -> None:
        self.rows = list(rows)
        self.refused: list[int] = []
        self._cloud = cloud

    def volumes(self) -> list[CpuRow]:
        return list(self.rows)

    def delete_volume(self, volume_id: int, /) -> bool:
        if self._cloud.living():
            self.refused.append(volume_id)
            raise Unknown(f"volume {volume_id} is in use")
        self.rows = [row for row in self.rows if row.id != volume_id]
        return True


def test_a_volume_that_the_product_forgets_is_deleted_as_soon_as_no_machine_uses_it(house: House) -> None:
    house.rent()
    market = WithVolumes(house.cloud, CpuRow(5, LABEL), CpuRow(6, "rekindle-another-1"), CpuRow(7, None))
    house.cloud.dumont.on_destroy = lambda _: True  # it says so
    clearance = Clearing(
        house.cloud.dumont, house.cloud.market, house.ledger, print, volumes=Volumes(market), clock=house.cloud.clock
    )
    cleared = clearance.clear(house.ledger.open_rents(), of_run("r1"))
    assert cleared.destroyed == {FIRST_ID: LABEL, 5: LABEL}
    assert [row.id for row in market.rows] == [6, 7]
    assert house.states() == [State.DESTROYED]


def test_a_volume_that_stays_is_named(house: House) -> None:
    house.rent()
    stranger = house.cloud.rent("somebody else's")  # which uses it
    market = WithVolumes(house.cloud, CpuRow(5, LABEL))
    clearance = Clearing(
        house.cloud.dumont, house.cloud.market, house.ledger, print, volumes=Volumes(market), clock=house.cloud.clock
    )
    cleared = clearance.clear(house.ledger.open_rents(), of_run("r1"))
    assert cleared.unsettled == [
        f"the marketplace still lists volume 5 ({LABEL})",
        f"{LABEL} stays open in the ledger",
    ]
    assert [contract.id for contract in house.cloud.living()] == [stranger]


def test_rents_on_another_target_are_not_waited_for(house: House) -> None:
    there = Ledger(house.ledger.path, "there")
    there.intend("r1", LABEL, 7, 0.36, 30)
    house.clear()
    assert house.seconds() < CREATE_WINDOW / 2
    assert house.states() == [State.INTENDED]
