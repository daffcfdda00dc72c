"""Idleness and hibernation as the product tells of them: the waits end when they should, with the right words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from rekindle.errors import Mismatch, Unknown
from rekindle.hibernating import IdleTime, check_wake_time, wait_until_begun, wait_until_hibernated
from rekindle.ssh import RemoteFailure, SshRefused
from rekindle.waiting import Clock, Timeout


class Detector:
    """Tells one state after the other, and then the last one for ever."""

    def __init__(self, *states: dict[str, Any]) -> None:
        self._states: Iterator[dict[str, Any]] = iter(states)
        self._last: dict[str, Any] = {}

    def hibernation(self, instance_id: int, /) -> dict[str, Any]:
        self._last = next(self._states, self._last)
        return self._last


class FakeTime:
    def __init__(self) -> None:
        self.seconds = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.seconds, self._pause)

    def _pause(self, seconds: float) -> None:
        self.seconds += seconds


def test_an_idle_machine_was_noticed() -> None:
    detector = Detector({}, {"status": "running"}, {"status": "idle"}, {"status": "hibernating"})
    assert wait_until_begun(detector, 7, lambda: 0.0, 60, FakeTime().clock()).looks == 4


def test_a_machine_of_which_the_product_never_hears_is_told() -> None:
    said = r"Waited for Dumont Cloud to notice that machine 7 is idle and hibernate it: not so after 2\.0 s"
    with pytest.raises(Timeout, match=said):
        wait_until_begun(Detector(), 7, lambda: 0.0, 2, FakeTime().clock())


def test_a_machine_that_works_is_not_idle_whatever_the_product_says() -> None:
    working = iter([0.0, 97.0])
    detector = Detector({"status": "idle"}, {"status": "hibernating"})
    with pytest.raises(Mismatch, match=r"machine 7 because it is idle, but nvidia-smi on it says 97 %\."):
        wait_until_begun(detector, 7, lambda: next(working), 60, FakeTime().clock())


def test_a_machine_that_is_gone_already_cannot_be_asked() -> None:
    def gone() -> float:
        raise SshRefused("gone")

    assert wait_until_begun(Detector({"status": "hibernated"}), 7, gone, 60, FakeTime().clock()).looks == 1


def test_a_gpu_that_nobody_can_see_is_unknown() -> None:
    def broken() -> float:
        raise RemoteFailure("nvidia-smi: not found", 127, "")

    with pytest.raises(Unknown) as raised:
        wait_until_begun(Detector({"status": "hibernating"}), 7, broken, 60, FakeTime().clock())
    assert str(raised.value) == (
        "UNKNOWN: Whether machine 7 was idle when Dumont Cloud began to hibernate it is not known: its GPU was not "
        "seen in 1 look. nvidia-smi: not found"
    )


def test_a_machine_that_never_answered_although_it_was_there_is_unknown() -> None:
    def refused() -> float:
        raise SshRefused("SSH is refused.")

    detector = Detector({"status": "idle"}, {"status": "hibernating"})
    with pytest.raises(Unknown, match=r"was not seen in 2 looks\. SSH is refused\.$"):
        wait_until_begun(detector, 7, refused, 60, FakeTime().clock())


def test_a_gpu_that_was_seen_before_its_machine_went_was_seen() -> None:
    answers = iter([0.0])

    def once() -> float:
        for percent in answers:
            return percent
        raise SshRefused("gone")

    detector = Detector({"status": "idle"}, {"status": "hibernated"})
    assert wait_until_begun(detector, 7, once, 60, FakeTime().clock()).looks == 2


# Told at 0 of a machine that was rented 10 s before: 13 s are over in 3 s at the earliest.
TOLD = IdleTime(13, rented_at=-10.0, told_at=0.0)


class Product:
    """Begins to hibernate at a moment."""

    def __init__(self, time: FakeTime, begins_at: float) -> None:
        self._time, self._begins_at = time, begins_at

    def hibernation(self, instance_id: int, /) -> dict[str, Any]:
        return {"status": "hibernating" if self._time.seconds >= self._begins_at else "idle"}


@pytest.mark.parametrize("begins_at", [2.1, 3.0, 6.0, 55.0])
def test_an_idle_time_that_is_over_is_obeyed(begins_at: float) -> None:
    time = FakeTime()
    waited = wait_until_begun(Product(time, begins_at), 7, lambda: 0.0, 600, time.clock(), TOLD)
    assert waited.value == {"status": "hibernating"}


def test_an_idle_time_that_cannot_be_over_is_not_obeyed() -> None:
    time = FakeTime()
    with pytest.raises(Mismatch) as raised:
        wait_until_begun(Product(time, 0.4), 7, lambda: 0.0, 600, time.clock(), TOLD)
    assert str(raised.value) == (
        "Dumont Cloud was told to hibernate machine 7 when its GPU has been idle for 13 s, but began when the machine "
        "was no more than 10.4 s old."
    )


def test_an_idle_time_that_was_over_long_ago_is_not_obeyed() -> None:
    time = FakeTime()
    with pytest.raises(Timeout) as raised:
        wait_until_begun(Product(time, 170.0), 7, lambda: 0.0, 600, time.clock(), TOLD)
    assert re.fullmatch(
        r"Waited for Dumont Cloud to notice that machine 7 is idle and hibernate it: gave up after 5\d\.\d s and \d+ "
        r"looks, because Dumont Cloud was told 5\d\.\d s ago to do so after 13 s without work on the GPU; it should "
        r"take 56 s at most\. Last seen: status idle\.",
        str(raised.value),
    )


def test_hibernation_ends_with_the_id_of_the_snapshot() -> None:
    detector = Detector({"status": "hibernating"}, {"status": "hibernated", "snapshot_id": "abcd1234"})
    assert wait_until_hibernated(detector, 7, 60, FakeTime().clock()).value == "abcd1234"


def test_a_failed_hibernation_ends_the_wait_at_once_and_says_why() -> None:
    time = FakeTime()
    detector = Detector({"status": "failed", "error": "Fatal: unable to open config file"})
    with pytest.raises(Timeout, match="because its hibernation failed: Fatal: unable to open config file"):
        wait_until_hibernated(detector, 7, 60, time.clock())
    assert time.seconds == 0


def test_an_overdue_hibernation_that_has_not_begun_ends_the_wait() -> None:
    time = FakeTime()
    with pytest.raises(Timeout, match="should take 56 s at most"):
        wait_until_hibernated(Detector({}), 7, 600, time.clock(), TOLD)
    assert 56 < time.seconds < 65


def test_a_hibernation_that_has_begun_may_take_its_time() -> None:
    time = FakeTime()
    with pytest.raises(Timeout, match="limit 600 s"):
        wait_until_hibernated(Detector({"status": "hibernating"}), 7, 600, time.clock(), TOLD)


def test_a_hibernation_without_a_snapshot_is_none() -> None:
    with pytest.raises(Mismatch, match="machine 7 is hibernated, but names no snapshot"):
        wait_until_hibernated(Detector({"status": "hibernated", "snapshot_id": None}), 7, 60, FakeTime().clock())


def test_a_busy_machine_is_never_hibernated_and_the_message_says_how_busy() -> None:
    busy = {"status": "running", "gpu_utilization": 90.0}
    with pytest.raises(Timeout, match=r"Last seen: status running, gpu_utilization 90\.0\."):
        wait_until_hibernated(Detector(busy), 7, 5, FakeTime().clock())


@pytest.mark.parametrize(("claimed", "measured"), [(3.5, 2.6), (2.0, 2.1), (0.0, 9.9), (20.0, 65.0), (120.0, 121.0)])
def test_a_wake_takes_about_as_long_as_is_said(claimed: float, measured: float) -> None:
    check_wake_time(7, claimed, measured)


@pytest.mark.parametrize(("claimed", "measured"), [(3.7, 2.6), (0.02, 12.0), (20.0, 75.0)])
def test_a_wake_that_took_another_time_than_is_said_is_told(claimed: float, measured: float) -> None:
    with pytest.raises(Mismatch) as raised:
        check_wake_time(7, claimed, measured)
    assert str(raised.value) == (
        f"Dumont Cloud says that it woke machine 7 in {claimed:.1f} s, but by our clock it took {measured:.1f} s."
    )
