"""The idle rule: when a machine is hibernated by itself, and above all when it is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from sandbox.control.errors import ApiError
from sandbox.control.fleet import ConfigChange, Fleet, GpuMetrics, HibernationConfig, TrackedMachine
from sandbox.records import Records

INTERVAL = 1.0


def machine(**changes: object) -> TrackedMachine:
    config = HibernationConfig(idle_timeout_seconds=10)
    return TrackedMachine(instance_id=7, config=config).model_copy(update=changes)


def beats(of: TrackedMachine, *utilizations: float | None, begin: float = 1000) -> list[bool]:
    """One heartbeat a second."""
    return [of.beat(one, begin + second, INTERVAL) for second, one in enumerate(utilizations)]


def test_idle_for_long_enough_hibernates() -> None:
    sleepy = machine()
    assert beats(sleepy, *[0] * 12) == [False] * 11 + [True]
    assert sleepy.status == "idle"
    assert sleepy.idle_since == 1001  # the first heartbeat is never idle
    assert sleepy.will_hibernate_at == 1011


def test_work_begins_the_count_anew() -> None:
    worker = machine()
    assert not any(beats(worker, *[0] * 9, 5, *[0] * 10))  # the threshold itself is work
    assert worker.idle_since == 1010


@pytest.mark.parametrize("utilization", [None, 5, 100])
def test_work_and_missing_metrics_are_not_idle(utilization: float | None) -> None:
    awake = machine()
    assert not any(beats(awake, *[utilization] * 30))
    assert (awake.status, awake.idle_since, awake.will_hibernate_at) == ("running", None, None)


def test_time_that_nobody_saw_is_not_idle() -> None:
    unseen = machine()
    beats(unseen, 0, 0)
    assert not unseen.beat(0, 1000 + 60, INTERVAL)
    assert unseen.idle_since == 1060


def test_a_clock_that_is_put_back_neither_ends_nor_prolongs_idleness() -> None:
    sleepy = machine()
    beats(sleepy, *[0] * 8, begin=10_000)
    assert beats(sleepy, *[0] * 11, begin=5_000) == [False] * 10 + [True]
    assert sleepy.idle_since == 5_000


def test_a_heartbeat_of_times_to_come_is_not_lately(tmp_path: Path) -> None:
    fleet = Fleet(Records(tmp_path / "records.db"))
    fleet.add(machine()).last_heartbeat = time.time() + 3600
    assert len(fleet.silent(INTERVAL)) == 1


def test_switched_off_means_never() -> None:
    kept = machine(config=HibernationConfig(idle_timeout_seconds=1, auto_hibernation_enabled=False))
    assert not any(beats(kept, *[0] * 30))
    assert kept.status == "idle"


def test_keep_alive_holds_it_off() -> None:
    kept = machine(keep_alive_until=1020)
    assert beats(kept, *[0] * 21).index(True) == 20


def test_a_failure_is_tried_again_later_and_later() -> None:
    broken = machine()
    beats(broken, 0, 0)
    for wait in (60, 120, 240):
        broken.fail("the store is away", 2000)
        broken.idle_since = broken.last_heartbeat = 1999
        assert broken.will_hibernate_at == 2000 + wait
        assert not broken.beat(0, 2001, INTERVAL)
        assert (broken.status, broken.error) == ("failed", "the store is away")
    broken.last_heartbeat = 2239
    assert broken.beat(0, 2240, INTERVAL)


def test_work_clears_a_failure() -> None:
    broken = machine()
    broken.last_heartbeat = 2000
    broken.fail("the store is away", 2000)
    broken.beat(None, 2001, INTERVAL)
    assert broken.status == "failed"
    broken.beat(50, 2002, INTERVAL)
    assert (broken.status, broken.error, broken.failures) == ("running", None, 0)


@pytest.mark.parametrize("status", ["hibernating", "hibernated", "waking", "woken"])
def test_heartbeats_do_not_change_what_is_under_way(status: str) -> None:
    busy = machine(status=status)
    assert not any(beats(busy, *[0] * 30))
    assert busy.status == status


def test_one_gpu_at_work_is_work() -> None:
    assert GpuMetrics(utilization=4, gpu_count=8, gpu_utilizations=[0.0] * 7 + [32.0]).busiest == 32


def test_config_changes_are_partial() -> None:
    config = ConfigChange(gpu_usage_threshold=7).applied_to(HibernationConfig())
    assert (config.gpu_usage_threshold, config.idle_timeout_seconds) == (7, 180)
    config = ConfigChange(pause_after_minutes=5).applied_to(config)
    assert config.idle_timeout_seconds == 300
    config = ConfigChange(pause_after_minutes=5, idle_timeout_seconds=2).applied_to(config)
    assert config.public() == {
        "auto_hibernation_enabled": True,
        "idle_timeout_seconds": 2,
        "gpu_usage_threshold": 7,
        "delete_after_minutes": None,
        "pause_after_minutes": 2 / 60,
    }


@pytest.mark.parametrize(
    "change",
    [{"idle_timeout_seconds": 0.5}, {"gpu_usage_threshold": 101}, {"pause_after": 3}, {"pause_after_minutes": 0}],
)
def test_senseless_config_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        ConfigChange.model_validate(change)


def test_hibernated_long_ago_counts_as_deleted() -> None:
    config = HibernationConfig(delete_after_minutes=30)
    assert machine(status="hibernated", hibernated_at=0, config=config).state == "deleted"
    assert machine(status="hibernated", hibernated_at=0).state == "hibernated"


def test_the_fleet_survives_a_restart_without_idle_time(tmp_path: Path) -> None:
    records = Records(tmp_path / "control.db")
    fleet = Fleet(records)
    sleepy = fleet.add(machine())
    beats(sleepy, 0, 0)
    fleet.save(sleepy)
    fleet.add(TrackedMachine(instance_id=8, status="hibernating"))
    fleet.add(TrackedMachine(instance_id=9))
    fleet.remove(9)

    again = Fleet(records)
    assert [(one.instance_id, one.status, one.idle_since) for one in again] == [
        (7, "running", None),
        (8, "hibernating", None),
    ]
    with pytest.raises(ApiError, match="Instance 8 is hibernating: wait until that has ended") as refused:
        again.refuse_while_busy(8)
    assert refused.value.status == 409
    again.refuse_while_busy(7)
    again.remove(7)
    fleet.remove(7)
    fleet.save(sleepy)  # what was removed meanwhile does not come back
    assert records.get(TrackedMachine, 7) is None
    records.close()
