"""The wait: fast when ready, as long as asked when not, and at once when hopeless."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest

from rekindle.errors import Misconfigured, Mismatch
from rekindle.waiting import FLOOR, LAG, Clock, Timeout, hold_for, wait_until


class Time:
    """A clock that moves only when somebody pauses."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        assert seconds >= 0
        self.pauses.append(seconds)
        self.now += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, pause=self.pause)

    def running_from(self, seconds: float) -> Callable[[], str]:
        began = self.now
        return lambda: "running" if self.now - began >= seconds else "loading"


@pytest.fixture
def time() -> Time:
    return Time()


def is_running(state: str) -> bool:
    return state == "running"


@pytest.mark.parametrize("seconds", [-0.1, -math.inf, math.nan])
def test_a_negative_time_is_refused_before_the_first_look(seconds: float) -> None:
    def look() -> int:
        raise AssertionError

    for wait in (partial(wait_until, timeout=seconds), partial(hold_for, seconds=seconds)):
        with pytest.raises(Misconfigured) as refused:
            wait("machine 7 to be gone", look, bool)
        assert str(refused.value) == (
            f"The time allowed for machine 7 to be gone must be zero or more seconds, such as 30; it is {seconds:g}."
        )


def test_what_is_ready_is_not_waited_for(time: Time) -> None:
    waited = wait_until("it", lambda: "running", is_running, timeout=600, clock=time.clock)
    assert (waited.value, waited.seconds, waited.looks) == ("running", 0, 1)
    assert time.pauses == []


@pytest.mark.parametrize("ready", [0.2, 1, 3, 60, 500])
def test_it_is_noticed_soon(time: Time, ready: float) -> None:
    waited = wait_until("it", time.running_from(ready), is_running, timeout=600, clock=time.clock)
    assert ready <= waited.seconds <= ready + max(FLOOR, ready * LAG) + 1e-6
    assert waited.looks == len(time.pauses) + 1


def test_looks_grow_rare(time: Time) -> None:
    waited = wait_until("it", time.running_from(600), is_running, timeout=1000, clock=time.clock)
    assert waited.looks < 400


def test_the_whole_time_is_waited_and_the_last_look_is_at_its_end(time: Time) -> None:
    looked_at: list[float] = []

    def look() -> str:
        looked_at.append(time.now - 100)
        return "loading"

    with pytest.raises(Timeout) as timeout:
        wait_until("machine 7 to be running", look, is_running, timeout=10, clock=time.clock)
    assert looked_at[-1] == pytest.approx(10)
    assert str(timeout.value) == (
        f"Waited for machine 7 to be running: not so after 10.0 s (limit 10 s) and {len(looked_at)} looks. "
        "Last seen: 'loading'."
    )


def test_ready_at_the_very_end_is_ready(time: Time) -> None:
    assert wait_until("it", time.running_from(10), is_running, timeout=10, clock=time.clock).seconds == 10


def test_no_time_is_still_one_look(time: Time) -> None:
    assert wait_until("it", lambda: "running", is_running, timeout=0, clock=time.clock).looks == 1
    with pytest.raises(Timeout, match=r"not so after 0\.0 s \(limit 0 s\) and 1 looks"):
        wait_until("it", lambda: "loading", is_running, timeout=0, clock=time.clock)


def test_the_hopeless_is_given_up_at_once(time: Time) -> None:
    def look() -> str:
        return "error" if time.now >= 103 else "loading"

    def hopeless(state: str) -> str | None:
        return "an error is final" if state == "error" else None

    with pytest.raises(Timeout) as timeout:
        wait_until("it", look, is_running, timeout=600, hopeless=hopeless, describe=str.upper, clock=time.clock)
    assert time.now < 103.2
    assert str(timeout.value) == (
        f"Waited for it: gave up after {time.now - 100:.1f} s and {len(time.pauses) + 1} looks, "
        "because an error is final. Last seen: ERROR."
    )


def test_done_goes_before_hopeless(time: Time) -> None:
    assert wait_until("it", lambda: 1, bool, timeout=1, hopeless=lambda _: "no", clock=time.clock).value == 1


def test_tolerated_errors_are_not_yet(time: Time) -> None:
    def look() -> str:
        if time.now < 101:
            raise ConnectionRefusedError("not yet")
        return "running"

    waited = wait_until("it", look, is_running, timeout=5, tolerate=(ConnectionRefusedError,), clock=time.clock)
    assert waited.seconds == pytest.approx(1, abs=2 * FLOOR)
    time.now = 0
    with pytest.raises(Timeout, match=r"Last seen: ConnectionRefusedError: not yet\.$"):
        wait_until("it", look, is_running, timeout=0.5, tolerate=(ConnectionRefusedError,), clock=time.clock)


def test_other_errors_are_not_swallowed(time: Time) -> None:
    def look() -> str:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        wait_until("it", look, is_running, timeout=5, tolerate=(ConnectionRefusedError,), clock=time.clock)
    assert time.pauses == []


def test_the_floor_spares_who_is_asked(time: Time) -> None:
    waited = wait_until("it", time.running_from(10), is_running, timeout=20, floor=2, clock=time.clock)
    assert waited.looks == 6


def test_slow_looks_count_as_time(time: Time) -> None:
    def look() -> str:
        time.now += 4
        return "loading"

    with pytest.raises(Timeout, match=r"not so after 12\.\d s \(limit 10 s\) and 3 looks"):
        wait_until("it", look, is_running, timeout=10, clock=time.clock)


def test_what_holds_is_watched_from_the_beginning_to_the_end(time: Time) -> None:
    held = hold_for("it to stay", lambda: "idle", lambda s: s == "idle", seconds=3, clock=time.clock)
    assert (held.seconds, held.looks) == (3, 7)


def test_what_does_not_hold_is_told_at_once(time: Time) -> None:
    def look() -> str:
        return "idle" if time.now < 101 else "busy"

    with pytest.raises(Mismatch) as mismatch:
        hold_for("the GPU to stay idle", look, lambda s: s == "idle", seconds=3, clock=time.clock)
    assert str(mismatch.value) == "Expected the GPU to stay idle for 3 s, but after 1.0 s saw: 'busy'."
