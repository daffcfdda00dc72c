"""How far work has come: the line that is shown, and the thread that looks."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest

from rekindle.dumont import DumontClient
from rekindle.dumont_views import InstanceView, WorkProgress
from rekindle.errors import Unknown
from rekindle.progress import (
    MIB,
    Done,
    Meter,
    _pause_after,
    either,
    growth_of_bucket,
    told_by_product,
    watched,
    written_on_machine,
)
from tests.unit.folder_store import FolderStore
from tests.unit.local_machine import LocalMachine

SOON = 10.0  # seconds, for what happens at once


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def meter(time: Time) -> Meter:
    return Meter("Snapshot", time)


def test_a_line_tells_bytes_percent_rate_and_time_left(time: Time, meter: Meter) -> None:
    time.now += 2
    assert meter.line(Done(200 * MIB, 1000 * MIB)) == "Snapshot: 200 of 1 000 MiB, 20 %, 100 MiB/s, 8 s left"
    time.now += 2
    assert meter.line(Done(600 * MIB, 1000 * MIB)) == "Snapshot: 600 of 1 000 MiB, 60 %, 150 MiB/s, 3 s left"


def test_the_rate_is_that_of_the_last_seconds(time: Time, meter: Meter) -> None:
    for second in range(1, 31):
        time.now += 1
        line = meter.line(Done(second * 100 * MIB, 10000 * MIB))
    assert "100 MiB/s" in line
    for second in range(1, 11):
        time.now += 1
        line = meter.line(Done((3000 + second * 10) * MIB, 10000 * MIB))
    assert line == "Snapshot: 3 100 of 10 000 MiB, 31 %, 10 MiB/s, 690 s left"


def test_an_unknown_total_has_no_percent_and_no_end(time: Time, meter: Meter) -> None:
    time.now += 1
    assert meter.line(Done(5 * MIB)) == "Snapshot: 5 MiB, 5 MiB/s"


def test_nothing_done_yet_promises_no_end(time: Time, meter: Meter) -> None:
    assert meter.line(Done(0, 100 * MIB)) == "Snapshot: 0 of 100 MiB, 0 %, 0 MiB/s"
    time.now += 1
    assert meter.line(Done(0, 100 * MIB)) == "Snapshot: 0 of 100 MiB, 0 %, 0 MiB/s"


def test_more_than_all_is_all(time: Time, meter: Meter) -> None:
    time.now += 1
    assert meter.line(Done(101 * MIB, 100 * MIB)) == "Snapshot: 101 of 100 MiB, 100 %, 101 MiB/s, 0 s left"


def test_what_is_seen_from_outside_is_called_about_and_has_a_rate_of_its_own(time: Time, meter: Meter) -> None:
    time.now += 1
    assert meter.line(Done(10 * MIB, 100 * MIB, estimated=True)).startswith("Snapshot: about 10 of 100 MiB, 10 %")
    time.now += 1
    assert meter.line(Done(90 * MIB, 100 * MIB)) == "Snapshot: 90 of 100 MiB, 90 %, 0 MiB/s"
    time.now += 1
    assert meter.line(Done(95 * MIB, 100 * MIB)) == "Snapshot: 95 of 100 MiB, 95 %, 5 MiB/s, 1 s left"


def test_work_that_begins_anew_is_measured_anew(time: Time, meter: Meter) -> None:
    time.now += 1
    meter.line(Done(50 * MIB, 100 * MIB))
    time.now += 1
    assert meter.line(Done(1 * MIB, 100 * MIB)) == "Snapshot: 1 of 100 MiB, 1 %, 0 MiB/s"


# Looking


def test_looks_until_the_block_ends_and_shows_nothing_after_it() -> None:
    looked, ended = threading.Event(), threading.Event()
    shown: list[Done] = []

    def look() -> Done:
        if shown:
            looked.set()
            ended.wait(SOON)
        return Done(len(shown))

    with watched(look, shown.append, every=0.001):
        assert looked.wait(SOON)
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "progress":
            thread.join(SOON)
    assert shown == [Done(0)]


def test_what_cannot_be_looked_at_is_not_shown_and_harms_nothing() -> None:
    answers = iter([Unknown("no answer"), None, Done(7)])
    shown, seen = [], threading.Event()

    def look() -> Done | None:
        answer = next(answers, Done(7))
        if isinstance(answer, Unknown):
            raise answer
        return answer

    def show(done: Done) -> None:
        shown.append(done)
        seen.set()

    with watched(look, show, every=0.001):
        assert seen.wait(SOON)
    assert shown[0] == Done(7)


def test_a_slow_look_does_not_leave_the_line_unchanged_for_long() -> None:
    assert [_pause_after(took, every=1.0) for took in (0.01, 0.2, 1.3, 8.0)] == [1.0, 2.0, 3.0, 8.0]


def test_an_error_of_the_work_comes_through() -> None:
    with pytest.raises(Unknown, match="the work"), watched(lambda: None, lambda _: None):
        raise Unknown("the work failed")


# Where it is looked


class Dumont:
    """Shows one machine, at work or not."""

    progress: WorkProgress | None = None
    known = True

    def instance(self, instance_id: int) -> InstanceView | None:
        view = InstanceView(instance_id, None, None, None, None, None, 0.1, None, None, self.progress)
        return view if self.known else None


def test_the_product_tells() -> None:
    dumont = Dumont()
    look = told_by_product(cast("DumontClient", dumont), 7, "restore")
    assert look() is None
    dumont.progress = WorkProgress("restore", 5, 10, None, None, 1.0)
    assert look() == Done(5, 10)
    dumont.progress = WorkProgress("snapshot", 5, 10, None, None, 1.0)
    assert look() is None
    dumont.known = False
    assert look() is None


def test_work_of_which_the_product_knows_no_bytes_yet_is_seen_from_outside() -> None:
    dumont = Dumont()
    dumont.progress = WorkProgress("snapshot", 0, None, None, None, 1.0)
    look = either(told_by_product(cast("DumontClient", dumont), 7, "snapshot"), lambda: Done(3, 10, estimated=True))
    assert look() == Done(3, 10, estimated=True)
    dumont.progress = WorkProgress("snapshot", 0, 10, None, None, 2.0)
    assert look() == Done(0, 10)


def test_the_bucket_grows(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("restic/data/aa/1", bytes(100))
    look = growth_of_bucket(store, "restic/data/", 1000)
    assert look() == Done(0, 1000, estimated=True)
    store.put("restic/data/bb/2", bytes(30))
    store.put("restic/index/3", bytes(5))
    assert look() == Done(30, 1000, estimated=True)
    store.delete("restic/data/aa/1")
    assert look() == Done(0, 1000, estimated=True)


def test_the_disk_fills(tmp_path: Path) -> None:
    # Without the processes of this machine, which may have a restic among them.
    machine = LocalMachine(walls=["bwrap", "--bind", "/", "/", "--dev", "/dev", "--unshare-pid", "--proc", "/proc"])
    look = written_on_machine(machine, str(tmp_path), None)
    assert look() == Done(0, None, estimated=True)
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "whole").write_bytes(b"x" * 100_000)
    with (tmp_path / "only begun").open("wb") as file:
        file.truncate(10_000_000)
    (tmp_path / "another name").hardlink_to(tmp_path / "a folder" / "whole")
    assert look() == Done(100_000, None, estimated=True)
    assert written_on_machine(machine, f"{tmp_path}/gone", 5)() == Done(0, 5, estimated=True)


def test_who_ever_told_is_listened_to() -> None:
    told: list[Done | None] = [None, Done(1), None, Done(2)]
    look = either(lambda: told.pop(0), lambda: Done(9, estimated=True))
    assert [look(), look(), look(), look()] == [Done(9, estimated=True), Done(1), None, Done(2)]
