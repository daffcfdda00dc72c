"""One wait for everything: look, stop at once when done or hopeless, and say how long and how often."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from rekindle.errors import Misconfigured, Mismatch, RekindleError

T = TypeVar("T")

# A pause of 2 % of what was waited already keeps the lag of noticing within 2 % (or within the floor, at first).
LAG = 0.02
FLOOR = 0.05


class Timeout(RekindleError):
    """The wait ran to its end. The message carries the last thing seen."""


@dataclass(frozen=True)
class Clock:
    """Monotonic time in seconds and the pause between two looks; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Waited(Generic[T]):
    """What a wait ended with: the value seen last, the seconds it took, how often it looked."""

    value: T
    seconds: float
    looks: int


def wait_until(
    what: str,
    look: Callable[[], T],
    done: Callable[[T], bool],
    *,
    timeout: float,
    hopeless: Callable[[T], str | None] = lambda _: None,
    describe: Callable[[T], str] = repr,
    tolerate: tuple[type[Exception], ...] = (),
    floor: float = FLOOR,
    clock: Clock | None = None,
) -> Waited[T]:
    """Looks until `done` says yes.

    Args:
        what: what is waited for, as it stands in the message: "machine 7 to be running".
        look: fetches the state once.
        done: tells whether the state is the wanted one.
        timeout: seconds after which the wait gives up. The state is looked at once more at the very end.
        hopeless: a reason when the state can never become the wanted one; ends the wait at once.
        describe: the state in a few words, for the message.
        tolerate: errors of `look` that count as "not yet" (a connection that is refused while a machine boots).
        floor: the shortest pause between two looks, seconds.
        clock: time and pause; the real ones by default.

    Returns:
        The value seen last, the seconds waited and the number of looks.

    Raises:
        Misconfigured: the timeout is negative.
        Timeout: at the deadline, or at once when hopeless; says what was wanted, seen, how long and how often.
    """
    _check_limit(what, timeout)
    time_source = clock or Clock()
    begun = time_source.now()
    looks = 0
    while True:
        seen: str
        looks += 1
        try:
            value = look()
        except tolerate as error:
            seen = f"{type(error).__name__}: {error}"
        else:
            elapsed = time_source.now() - begun
            if done(value):
                return Waited(value, elapsed, looks)
            seen = describe(value)
            if reason := hopeless(value):
                raise Timeout(
                    f"Waited for {what}: gave up after {elapsed:.1f} s and {looks} looks, because {reason}. "
                    f"Last seen: {seen}."
                )
        elapsed = time_source.now() - begun
        if elapsed >= timeout:
            raise Timeout(
                f"Waited for {what}: not so after {elapsed:.1f} s (limit {timeout:g} s) and {looks} looks. "
                f"Last seen: {seen}."
            )
        time_source.pause(min(max(floor, elapsed * LAG), timeout - elapsed))


def hold_for(
    what: str,
    look: Callable[[], T],
    still: Callable[[T], bool],
    *,
    seconds: float,
    describe: Callable[[T], str] = repr,
    pause: float = 0.5,
    clock: Clock | None = None,
) -> Waited[T]:
    """Looks again and again for the whole time, and fails at once when a look shows that it no longer holds.

    Args:
        what: what must hold, as it stands in the message: "the GPU of machine 7 to stay idle".
        look: fetches the state once.
        still: tells whether the state is still as it must be.
        seconds: how long it must hold. There is one look at the beginning and one at the very end.
        describe: the state in a few words, for the message.
        pause: seconds between two looks.
        clock: time and pause; the real ones by default.

    Raises:
        Misconfigured: the time is negative.
        Mismatch: it did not hold; says what was seen and after how long.
    """
    _check_limit(what, seconds)
    time_source = clock or Clock()
    begun = time_source.now()
    looks = 0
    while True:
        value = look()
        looks += 1
        elapsed = time_source.now() - begun
        if not still(value):
            raise Mismatch(f"Expected {what} for {seconds:g} s, but after {elapsed:.1f} s saw: {describe(value)}.")
        if elapsed >= seconds:
            return Waited(value, elapsed, looks)
        time_source.pause(min(pause, seconds - elapsed))


def _check_limit(what: str, seconds: float) -> None:
    if not seconds >= 0:  # `nan` compares false
        raise Misconfigured(f"The time allowed for {what} must be zero or more seconds, such as 30; it is {seconds:g}.")
