"""Clocks of services, read from the `Date` header of their answers and compared with the clock of this computer.

Whoever judges the age of something by this computer's clock alone is wrong by as much as that clock is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

# Seconds by which two clocks may differ before ages are no longer judged. `Date` has a resolution of one second, and an
# answer may be on its way for as long as a request may take.
TOLERANCE = 60.0


@dataclass(frozen=True)
class _Reading:
    epoch: float
    at: float  # monotonic


class ServiceClock:
    """The clock of one service as its latest answer showed it. Thread-safe.

    Between two answers it advances with this computer's monotonic clock, which setting the date does not change.
    """

    def __init__(self, owner: str) -> None:
        """Create a clock without a reading; `owner` names the service in messages, "the market"."""
        self.owner = owner
        self._reading: _Reading | None = None

    def read(self, date: str | None) -> None:
        """Take a `Date` header in; ignore a missing or malformed one."""
        try:
            epoch = parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        self._reading = _Reading(epoch, time.monotonic())

    @property
    def is_known(self) -> bool:
        """Whether an answer has shown it."""
        return self._reading is not None

    def now(self) -> float:
        """Return its time, epoch seconds; this computer's where both agree, which is finer, or where it is unknown."""
        return self.at(time.monotonic())

    def at(self, monotonic: float) -> float:
        """Return its time, epoch seconds, at a moment of this computer's monotonic clock; likewise."""
        ours, theirs = local_epoch(monotonic), self._shown(monotonic)
        return ours if theirs is None or abs(ours - theirs) <= TOLERANCE else theirs

    def disagreement(self) -> str | None:
        """Return a phrase that names both clocks when they differ by more than `TOLERANCE`; otherwise None."""
        ours, theirs = time.time(), self._shown(time.monotonic())
        if theirs is None or abs(ours - theirs) <= TOLERANCE:
            return None
        return f"this computer's clock shows {_words(ours)}, but that of {self.owner} {_words(theirs)}"

    def _shown(self, monotonic: float) -> float | None:
        reading = self._reading
        return reading.epoch + monotonic - reading.at if reading else None


def local_epoch(monotonic: float) -> float:
    """Return the epoch seconds by this computer's clock at a moment of its monotonic clock."""
    return time.time() - (time.monotonic() - monotonic)


def disagreement(clocks: Iterable[ServiceClock]) -> str | None:
    """Return the phrase on the first clock that differs from this computer's; None when all agree."""
    return next((words for clock in clocks if (words := clock.disagreement())), None)


def _words(epoch: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch))
