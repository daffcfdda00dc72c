"""What counts as a migration: its own phases, another machine, and not one write less."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rekindle.budget import Reservation
from rekindle.errors import Mismatch, Unknown
from rekindle.failover import (
    MIGRATION_PHASES,
    Failover,
    Identity,
    Seen,
    check_loss,
    check_phases,
    check_work_went_on,
)
from rekindle.failover_views import progression
from rekindle.rented import RentedMachine
from rekindle.renting import Expected, _Wish
from rekindle.ticks import Loss, Ticks
from tests.unit.local_machine import LocalMachine

SECONDS = dict.fromkeys(MIGRATION_PHASES[:-1], 0.5)


def told(**changes: object) -> dict[str, object]:
    """What the product answers of a migration that has ended."""
    return {
        "migration_id": "cafe0123",
        "instance_id": 7,
        "new_instance_id": 8,
        "new_gpu_name": "RTX 4090",
        "phase": "complete",
        "success": True,
        "phases": [{"phase": name, "entered_at": 1000.0, "seconds": 0.5} for name in MIGRATION_PHASES],
        "phase_timings_ms": {name: seconds * 1000 for name, seconds in SECONDS.items()},
        "total_time_ms": 3000.0,
        "race": {"losers": [9, 10]},
        **changes,
    }


def migration(**changes: object) -> Failover:
    """One that took 3 seconds by our clock too, each phase seen as it came."""
    old = RentedMachine(7, "rekindle-run-1", "RTX 3090", 0.3, 0.0, 1, Reservation("a machine", 1.0))
    wish = _Wish("a machine", old.label, None, 1.0, 100.0, 30.0, "")
    one = Failover(
        old, Identity(7, "key", "boot"), Expected(wish, frozenset({7}), 2, old.reservation, 0.0), "migration",
        begun_epoch=1000.0,
    )  # fmt: skip
    one.claim = progression(told(**changes))
    one.seen = [Seen(name, at * 0.5, at * 0.5) for at, name in enumerate(MIGRATION_PHASES)]
    one.wall_seconds = one.not_later = 3.0
    return one


def test_all_its_phases_in_their_order() -> None:
    assert check_phases(migration()) == len(MIGRATION_PHASES)


@pytest.mark.parametrize("left_out", ["copying", "final_sync", "verifying"])
def test_a_phase_that_was_left_out(left_out: str) -> None:
    names = [name for name in MIGRATION_PHASES if name != left_out]
    gone = [{"phase": name, "entered_at": 1000.0, "seconds": 0.5} for name in names]
    words = r"^Migration that has no id yet went through .*; expected were searching_gpu, provisioning, copying"
    with pytest.raises(Mismatch, match=words):
        check_phases(migration(phases=gone))


def test_seconds_that_nobody_has_seen() -> None:
    slow = {name: seconds * 20_000 for name, seconds in SECONDS.items()}
    with pytest.raises(Mismatch, match=r"take 60\.00 s together, but by our clock it took 3\.00 s"):
        check_phases(migration(phase_timings_ms=slow, total_time_ms=60_000.0))


def test_one_lost_write_is_too_many() -> None:
    one = migration()
    check_loss(one, Loss(0.0, 28, ()))
    words = r"^A migration loses nothing, but this one did: 1 file lost of 28: ticks/000028\.txt\.$"
    with pytest.raises(Mismatch, match=words):
        check_loss(one, Loss(0.01, 27, ("ticks/000028.txt",)))


def test_a_failover_may_lose_what_was_written_last() -> None:
    one = migration(rpo_seconds=0.5)
    one.kind = "failover"
    check_loss(one, Loss(0.6, 27, ("ticks/000028.txt",)))
    assert one.claim
    one.claim = replace(one.claim, rpo_seconds=0.0)
    with pytest.raises(Mismatch, match=r"at most 0\.00 s of work were lost, but by our clock it were 9\.00 s"):
        check_loss(one, Loss(9.0, 27, ("ticks/000028.txt",)))


def worked(until: float, one: Failover | None = None) -> Failover:
    """A migration of 30 seconds, whose last copy began after 20, and a machine that worked for so many seconds."""
    one = one or migration()
    one.seen = [Seen(name, at * 6.7, at * 6.7) for at, name in enumerate(MIGRATION_PHASES)]
    one.wall_seconds, one.not_later = 30.0, 29.5
    one.ticks = Ticks(LocalMachine(), "/workspace", "0123456789abcdef")
    one.ticks.heard = [(number, number / 10) for number in range(1, int(until * 10) + 1)]
    return one


def test_its_machine_works_until_the_rest_is_copied() -> None:
    assert check_work_went_on(worked(20.0)) == pytest.approx(10.0)
    assert check_work_went_on(worked(19.2)) == pytest.approx(10.8)  # a moment of quiet is none
    words = (
        r"^machine 7 \(.*\) should work until final_sync of migration that has no id yet, which came 20\.10 s after "
        r"the beginning or later, but the last file on it was written after 1\.00 s\. "
        r"Was it halted while it was copied\?$"
    )
    with pytest.raises(Mismatch, match=words):
        check_work_went_on(worked(1.0))
    with pytest.raises(Unknown, match="whether it worked cannot be told"):
        check_work_went_on(worked(0.0))


def test_its_machine_stands_still_for_as_long_as_is_told() -> None:
    check_work_went_on(worked(20.0, migration(quiet_seconds=9.9)))
    words = (
        r"^Dumont Cloud says that machine 7 \(.*\) was halted for 0\.10 s while it was migrated, but by our clock "
        r"nothing was written on it for 9\.50 s at least\.$"
    )
    with pytest.raises(Mismatch, match=words):
        check_work_went_on(worked(20.0, migration(quiet_seconds=0.1)))


def test_its_report_tells_no_rto() -> None:
    metrics, document = migration().metrics(), migration().document()
    assert metrics["migration_sec"] == 3.0
    assert not {"rto_sec", "rpo_sec"} & set(metrics)  # nothing was down, and nothing was written meanwhile
    assert list(document) == ["migration"]
