"""Strategies side by side, and a machine that must stay lost: what is told, and what is not let pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from rekindle.budget import Reservation
from rekindle.errors import Mismatch, Unknown
from rekindle.failover import Failover, Identity
from rekindle.failover_views import Progression
from rekindle.rented import RentedMachine
from rekindle.renting import Expected, _Wish
from rekindle.ssh import HostKeyChanged
from rekindle.staying_lost import stay_lost
from rekindle.strategies import HEADING, Comparison, Row
from rekindle.ticks import Loss
from rekindle.waiting import Clock, Timeout

COMPLETE = Progression(
    id="cafe0123", old_id=7, phase="complete", phases=(), phase_seconds={"detecting": 0.75, "restoring": 2.0},
    total_seconds=2.75, success=True, new_id=8, new_gpu_name="RTX 3090", strategy="snapshot", data_source="snapshot",
    rpo_seconds=1.0, losers=(), error=None, failed_phase=None, automatic=True, reason="spot_interruption",
)  # fmt: skip


@dataclass
class Ssh:
    """The way into a machine: what each try brings, the last one for ever."""

    tries: list[bool | Exception] = field(default_factory=lambda: [False])

    def answers(self) -> bool:
        found = self.tries.pop(0) if len(self.tries) > 1 else self.tries[0]
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class World:
    """The product, everybody's listing, and a clock that only a pause moves on."""

    now: float = 0.0
    failover_at: float = 1e9
    rented_at: float = 1e9
    rows: dict[int, str | None] = field(default_factory=lambda: {7: "rekindle-run-1", 9: "rekindle-run-2", 10: None})

    def failovers(self) -> list[Progression]:
        another = replace(COMPLETE, old_id=9)
        return [another, replace(COMPLETE, phase="detecting")] if self.now >= self.failover_at else [another]

    def everything(self) -> dict[int, str | None]:
        return self.rows | ({8: "rekindle-run-1"} if self.now >= self.rented_at else {})

    def pause(self, seconds: float) -> None:
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.pause)


def machine(instance_id: int = 7, ssh: Ssh | None = None) -> RentedMachine:
    rented = RentedMachine(instance_id, "rekindle-run-1", "RTX 3090", 0.3, 0.0, 1, Reservation("a machine", 1.0))
    rented.ssh = ssh or Ssh()  # type: ignore[assignment]  # nothing else of it is asked here
    return rented


def failed_over(claim: Progression | None = COMPLETE, loss: Loss | None = None) -> Failover:
    old = machine()
    wish = _Wish("a machine", old.label, None, 1.0, 100.0, 30.0, "")
    expected = Expected(wish, frozenset(), 2, old.reservation, 0.0)
    failover = Failover(old, Identity(7, "key", "boot"), expected)
    failover.claim, failover.new, failover.loss, failover.wall_seconds = claim, machine(8), loss, 3.00004
    return failover


def test_what_was_measured_of_a_strategy() -> None:
    row = Row.of(failed_over(loss=Loss(1.25, 10, ("ticks/000011.txt",))), "snapshot", 0.0155555559)
    assert row == Row("snapshot", "snapshot", 0.75, 3.0, 1.25, 1, 0.015556)
    assert row.cells() == ["snapshot", "snapshot", "0.75", "3.00", "1.25", "1", "0.0156"]


def test_what_was_not_measured_is_not_told_as_zero() -> None:
    cells = Row.of(failed_over(), "snapshot", 0.0).cells()
    assert cells[4:] == ["not measured", "not measured", "0.0000"]
    assert Row.of(failed_over(), "snapshot", None).cells()[-1] == "by the byte stored"
    standby = failed_over(replace(COMPLETE, data_source="cpu_standby", phase_seconds={}))
    assert Row.of(standby, "cpu_standby", None).cells()[-1] == "not told"
    assert Row.of(standby, "cpu_standby", None).cells()[2] == "not told"
    assert Row.of_none("disabled").cells() == [
        "disabled", "nowhere", "never", "does not come back", "everything", "all", "0.0000"
    ]  # fmt: skip


def test_another_way_than_was_chosen() -> None:
    with pytest.raises(Mismatch, match=r"^Strategy warm_pool was chosen, but the data came from snapshot\.$"):
        Row.of(failed_over(), "warm_pool", 0.3)


def test_nothing_has_failed_over() -> None:
    with pytest.raises(Unknown, match="Nothing has failed over yet"):
        Row.of(failed_over(claim=None), "snapshot", 0.0)


def test_a_volume_that_loses_work() -> None:
    failover = failed_over(replace(COMPLETE, data_source="regional_volume"), Loss(0.1, 10, ("ticks/000011.txt",)))
    words = "A volume survives its machine, so that nothing may be lost; but 1 file lost of 11: ticks/000011.txt."
    with pytest.raises(Mismatch, match=re.escape(words)):
        Row.of(failover, "regional_volume", 0.01)


def test_side_by_side() -> None:
    both = Comparison([Row.of(failed_over(), "snapshot", 0.0), Row.of_none("disabled")])
    rows = both.document()["strategies"]
    assert isinstance(rows, list)
    assert [(row["strategy"], row["rto_sec"]) for row in rows if isinstance(row, dict)] == [
        ("snapshot", 3.0), ("disabled", None)
    ]  # fmt: skip
    heading, first, second = both.lines()
    assert [line.index("0.0000") for line in (first, second)] == [heading.index(HEADING[-1])] * 2
    assert "".join(both.html()).count("<tr>") == 3
    assert both.metadata().splitlines()[2].startswith("| disabled | nowhere | never |")
    assert (both.metrics(), both.headline()) == ({}, [])


def test_a_machine_stays_lost_for_the_whole_time() -> None:
    world = World()
    held = stay_lost(machine(), world, world, 10, world.clock)
    assert held.looks > 10
    assert world.now == pytest.approx(10)


def test_a_machine_whose_address_was_given_away_is_lost() -> None:
    world = World()
    gone = Ssh([True, HostKeyChanged("another machine")])
    stay_lost(machine(ssh=gone), world, world, 10, world.clock)
    assert world.now > 10  # it was waited for, and the time counts from its end


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda world: setattr(world, "failover_at", 9.9), "failover cafe0123 of it, detecting"),
        (lambda world: setattr(world, "rented_at", 3.0), "machine 8, which has its label"),
    ],
)
def test_a_machine_that_comes_back(change: Callable[[World], None], words: str) -> None:
    world = World()
    change(world)
    expected = rf"^Expected machine 7 \(.*\) to stay lost for 10 s, but after \d+\.\d s saw: {words}\.$"
    with pytest.raises(Mismatch, match=expected):
        stay_lost(machine(), world, world, 10, world.clock)


def test_a_machine_that_answers_again() -> None:
    world = World()
    with pytest.raises(Mismatch, match=r"to stay lost for 10 s, but after .* saw: it answers again"):
        stay_lost(machine(ssh=Ssh([False, False, True])), world, world, 10, world.clock)


def test_a_machine_that_is_not_lost_at_all() -> None:
    world = World()
    with pytest.raises(Timeout, match=r"Waited for machine 7 .* to be lost: not so after 30\.0 s .* it still answers"):
        stay_lost(machine(ssh=Ssh([True])), world, world, 10, world.clock)
