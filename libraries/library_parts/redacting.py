"""The listener that lets no secret into Robot's output, whatever keyword lets it slip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from robot.api import logger

from rekindle.redaction import KNOWN

# What Robot writes of an item when that ends: it is in the result by then, and still to be changed. Beside its message.
_AT_THE_END = {
    "TestSuite": ("doc", "metadata"),
    "TestCase": ("doc", "tags", "metadata"),
    "Keyword": ("args", "doc", "tags"),
    "For": ("values",),
    "ForIteration": ("assign",),
    "Var": ("value",),
    "Return": ("values",),
    "Error": ("values",),
}
_NAMED = ("TestSuite", "TestCase", "Keyword", "Group", "Var")


class Redacting:
    """Replaces each secret by `[redacted NAME]`: in messages of every level, arguments, return values and errors.

    It is a second line. What it has to replace, a keyword should not have told: a warning names the place. The name
    that a test, a keyword or a group has after its variables were replaced is written before any listener sees it; a
    secret in it is an error, because it cannot be taken back. What a keyword writes to the console passes no listener.
    """

    ROBOT_LISTENER_API_VERSION = 3
    ROBOT_LISTENER_PRIORITY = 1000  # before every other listener, so that those get no secret either

    def __init__(self) -> None:
        self._places: list[str] = []
        self._told: set[str] = set()

    def log_message(self, message: Any) -> None:
        self._redact(message, "message", f"a message of level {message.level}")

    def message(self, message: Any) -> None:
        self._redact(message, "message", f"a message of Robot itself, of level {message.level}")

    def start_test(self, data: Any, result: Any) -> None:
        self._start(data, result)

    def start_body_item(self, data: Any, result: Any) -> None:
        self._start(data, result)

    def end_body_item(self, _: Any, result: Any) -> None:
        self._end(result)

    def end_test(self, _: Any, result: Any) -> None:
        self._end(result)

    def end_suite(self, data: Any, result: Any) -> None:
        self._places.append(_place(data, result))
        self._end(result)

    def _start(self, data: Any, result: Any) -> None:
        self._places.append(_place(data, result))
        names: set[str] = set()
        if type(result).__name__ in _NAMED:
            _clean(result.name, names)
        if names:
            self._tell(
                logger.error,
                f"{_all(names)} stands in the name{self._where()}, which Robot has written already: pass the output "
                "of this run on to nobody, and change the secret.",
            )

    def _end(self, result: Any) -> None:
        for attribute in ("message", *_AT_THE_END.get(type(result).__name__, ())):
            self._redact(result, attribute, f"its {attribute}")
        if self._places:
            self._places.pop()

    def _redact(self, holder: Any, attribute: str, what: str) -> None:
        names: set[str] = set()
        try:
            clean = _clean(getattr(holder, attribute), names)
            if names:
                setattr(holder, attribute, clean)
        except Exception:
            with suppress(Exception):  # what cannot be looked through must not be shown
                setattr(holder, attribute, "[not shown: it could not be searched for secrets]")
            raise
        if names:
            self._tell(logger.warn, f"Redacted {_all(names)} in {what}{self._where()}. It should not have come there.")

    def _where(self) -> str:
        return f" of {self._places[-1]}" if self._places else ""

    def _tell(self, tell: Callable[[str], None], text: str) -> None:
        """Once for each place."""
        text = KNOWN.redact(text).text
        if text not in self._told:
            self._told.add(text)
            tell(text)


def _clean(value: Any, names: set[str]) -> Any:
    """The same without secrets; adds the names of those that were in it."""
    if isinstance(value, str):
        redacted = KNOWN.redact(value)
        names |= redacted.names
        return redacted.text
    if isinstance(value, Mapping):
        return {key: _clean(one, names) for key, one in value.items()}
    if hasattr(value, "__iter__"):  # a tuple, or the tags of a test
        return [_clean(one, names) for one in value]
    return value


def _all(names: set[str]) -> str:
    return " and ".join(sorted(names))


def _place(data: Any, result: Any) -> str:
    name = result.name if type(result).__name__ in _NAMED else str(data.type)
    line = getattr(data, "lineno", None)
    return f"`{name}`{f' ({data.source.name}, line {line})' if data.source and line else ''}"
