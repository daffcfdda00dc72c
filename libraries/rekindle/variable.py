"""One Robot variable that a user can set, and how its value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from rekindle.errors import Misconfigured
from rekindle.value_kinds import Duration, Kind, Rejected

Target = Literal["sandbox", "live"]

SHOWN = 200  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Variable:
    """A Robot variable that a user can set.

    Attributes:
        name: without `${}`.
        group: heading in the reference.
        meaning: one sentence for the reference.
        kind: type, unit and bounds.
        example: a value as it is typed after `--variable NAME:`.
        default: value on both targets; None when not set.
        live: default on a live target, where it differs.
        elsewhere: default in some suites, by the name of the group of suites.
        required_on: target that has no default and needs a value.
    """

    name: str
    group: str
    meaning: str
    kind: Kind
    example: str
    default: object = None
    live: object = None
    elsewhere: Mapping[str, object] = field(default_factory=dict)
    required_on: Target | None = None

    def default_on(self, target: Target) -> object:
        """Return the default on a target; None when not set."""
        if target == self.required_on:
            return None
        return self.live if target == "live" and self.live is not None else self.default

    def wanted(self) -> str:
        """Return type, unit and bounds, as they complete the sentence "NAME must be …"."""
        return self.kind.wanted

    def read(self, value: object, read_time: Callable[[str], float] = float) -> object:
        """Return a value in its own type; None when it is not set and need not be.

        Args:
            value: as it came from the command line or from a suite.
            read_time: returns the seconds of a text in Robot Framework's notation; raises ValueError for other texts.

        Raises:
            Misconfigured: one sentence that names the variable, its value, type, unit, bounds and an example.
        """
        return self.read_as(self.name, f"{self.name}:{self.example}", value, read_time)

    def read_as(self, name: str, example: str, value: object, read_time: Callable[[str], float] = float) -> object:
        """Return a value as `read` does; the message calls it `name`. For arguments of keywords and functions."""
        if value is None and self.kind.optional:
            return None
        try:
            if isinstance(self.kind, Duration) and isinstance(value, str):
                return self.kind.read(_seconds(value, read_time))
            return self.kind.read(value)
        except Rejected as rejected:
            hint = f" ({rejected})" if str(rejected) else ""
            raise Misconfigured(
                f"{name} must be {self.kind.wanted}, such as {example}; it is {_shown(value)}{hint}."
            ) from None


def _seconds(text: str, read_time: Callable[[str], float]) -> float:
    try:
        return read_time(text)
    except (ValueError, OverflowError):
        raise Rejected from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
