"""Idleness and hibernation as the product tells of them: the waits end when they should, with the right words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rekindle.errors import Mismatch
from rekindle.hibernating import wait_until_begun, wait_until_hibernated
from rekindle.ssh import SshRefused
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


def test_hibernation_ends_with_the_id_of_the_snapshot() -> None:
    detector = Detector({"status": "hibernating"}, {"status": "hibernated", "snapshot_id": "abcd1234"})
    assert wait_until_hibernated(detector, 7, 60, FakeTime().clock()).value == "abcd1234"


def test_a_failed_hibernation_ends_the_wait_at_once_and_says_why() -> None:
    time = FakeTime()
    detector = Detector({"status": "failed", "error": "Fatal: unable to open config file"})
    with pytest.raises(Timeout, match="because its hibernation failed: Fatal: unable to open config file"):
        wait_until_hibernated(detector, 7, 60, time.clock())
    assert time.seconds == 0


def test_a_hibernation_without_a_snapshot_is_none() -> None:
    with pytest.raises(Mismatch, match="machine 7 is hibernated, but names no snapshot"):
        wait_until_hibernated(Detector({"status": "hibernated", "snapshot_id": None}), 7, 60, FakeTime().clock())


def test_a_busy_machine_is_never_hibernated_and_the_message_says_how_busy() -> None:
    busy = {"status": "running", "gpu_utilization": 90.0}
    with pytest.raises(Timeout, match=r"Last seen: status running, gpu_utilization 90\.0\."):
        wait_until_hibernated(Detector(busy), 7, 5, FakeTime().clock())
