"""What can go wrong, as people must read it.

RekindleError
├── Mismatch            something was looked at and is not as it must be
├── Unknown             a check could not be made: `UNKNOWN: …`, never a pass
├── Weather             the market's mood, not the product's fault: `WEATHER: …`
├── Misconfigured       the user's own input: a missing key, a budget that is not set
├── CapabilityMissing   the target has no such route
└── Timeout             waited to the end (see `waiting`)

A message says what was expected, what was seen, after how long, and what to do next.
"""

from __future__ import annotations

from typing import Self


class RekindleError(AssertionError):
    """Base of all errors that a suite may show. Robot prints the message alone, without the class name.

    Args:
        message: the sentences that a user reads.
        expected: the value that was expected, for the table of checks. None where the message alone says it.
        actual: the value that was found.
    """

    ROBOT_SUPPRESS_NAME = True
    prefix = ""

    def __init__(self, message: str, *, expected: str | None = None, actual: str | None = None) -> None:
        super().__init__(self.prefix + message)
        self.expected = expected
        self.actual = actual


class Mismatch(RekindleError):
    """Something was looked at, and it is not as it must be."""

    def with_consequence(self, consequence: str) -> Self:
        """Return the same error, beginning with what it means for the user: one or more sentences."""
        return type(self)(f"{consequence} {self}", expected=self.expected, actual=self.actual)


class Unknown(RekindleError):
    """A check could not be made. It is red: what was not looked at is never a pass."""

    prefix = "UNKNOWN: "


class Weather(RekindleError):
    """The market gave no machine: no offers, rate limits to the end of the patience, a host that never boots."""

    prefix = "WEATHER: "


class Misconfigured(RekindleError):
    """The user's own input is missing or wrong."""


class CapabilityMissing(RekindleError):
    """The target does not have a route that the keyword needs."""
