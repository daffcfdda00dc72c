"""Kinds of values that a user can set: numbers with bounds, times, switches, choices, names and paths.

Each kind reads one value and rejects everything else, also values that Python would accept (`nan`, `1e400`, an empty
text). A value arrives as text from the command line, or as a number, a boolean or None from a suite.
"""

from __future__ import annotations

import math
import os
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
DAY = 86_400.0  # seconds
LONGEST_NAME = 255  # bytes that a file system allows for a name
SPECIAL_CLOUDS = ("temporary", "breakable")
NEARLY_SPECIAL = 0.5  # similarity from which a bare word counts as a misspelled special name


class Rejected(ValueError):
    """A value is not of its kind. The message completes the sentence "it is …", or is empty."""


class Kind(ABC):
    """A kind of value.

    Attributes:
        optional: None stands for "not set" and is accepted.
    """

    optional: bool = False

    @property
    @abstractmethod
    def wanted(self) -> str:
        """Type, unit and bounds, as they complete the sentence "MAX_PRICE must be …"."""

    @abstractmethod
    def read(self, value: object) -> object:
        """Return the value in its own type.

        Raises:
            Rejected: the value is not of this kind.
        """


@dataclass(frozen=True)
class Number(Kind):
    """A number from `low` to `high`, in `unit`."""

    unit: str
    low: float
    high: float
    whole: bool = False
    optional: bool = False

    @property
    def wanted(self) -> str:
        what = "a whole number" if self.whole else "a number"
        return f"{what} of {self.unit} from {_plain(self.low)} to {_plain(self.high)}"

    def read(self, value: object) -> float:
        number = self._number(value)
        if not math.isfinite(number) or (self.whole and number != int(number)):
            raise Rejected
        if not self.low <= number <= self.high:
            raise Rejected
        return int(number) if self.whole else number

    def _number(self, value: object) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            # A whole number too large for a float is above every bound.
            return float(value) if isinstance(value, float) or abs(value) < 10**300 else math.inf
        if not isinstance(value, str):
            raise Rejected
        text = value.strip()
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            raise Rejected(f"with a decimal comma: write {text.replace(',', '.')}")
        # Keywords read whole numbers from digits only.
        pattern = r"[+-]?\d+" if self.whole else r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"
        if not re.fullmatch(pattern, text, re.ASCII | re.IGNORECASE):
            raise Rejected
        return float(text)


@dataclass(frozen=True)
class Duration(Kind):
    """A time in seconds. Users write it in Robot Framework's notation: `90`, `90s`, `1 min 30 s` or `00:01:30`."""

    low: float = 0.1
    high: float = DAY

    @property
    def wanted(self) -> str:
        return f"a time from {_plain(self.low)} s to {_plain(self.high / 3600)} h"

    def read(self, value: object) -> float:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise Rejected
        if not self.low <= seconds <= self.high:  # `nan` compares false
            raise Rejected
        return float(seconds)


@dataclass(frozen=True)
class Switch(Kind):
    """True or False, in the words that Robot Framework accepts."""

    @property
    def wanted(self) -> str:
        return "True or False"

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in TRUE + FALSE:
            raise Rejected
        return word in TRUE


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words, in capitals or not."""

    choices: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return " or ".join(self.choices)

    def read(self, value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in self.choices:
            raise Rejected(_suggestion(word, self.choices))
        return word


@dataclass(frozen=True)
class Choices(Kind):
    """Any number of a few words, with commas between them; none when empty."""

    choices: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return f"empty, or any of {', '.join(self.choices)} with commas between them"

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, str):
            raise Rejected
        words = [word.strip() for word in value.split(",") if word.strip()]
        for word in words:
            if word not in self.choices:
                raise Rejected(_suggestion(word, self.choices))
        return tuple(words)


@dataclass(frozen=True)
class Name(Kind):
    """A name as the product or the market writes it: one line with at least one letter."""

    what: str
    longest: int = 100

    @property
    def wanted(self) -> str:
        return f"{self.what} of at most {self.longest} characters"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or len(value) > self.longest:
            raise Rejected
        if not any(character.isalpha() for character in value):
            raise Rejected
        return value


@dataclass(frozen=True)
class CountryCodes(Kind):
    """A list of country codes of two letters, or such codes with commas between them."""

    @property
    def wanted(self) -> str:
        return "a list of country codes of two capital letters"

    def read(self, value: object) -> tuple[str, ...]:
        codes = value.split(",") if isinstance(value, str) else value
        if not isinstance(codes, list | tuple) or not codes:
            raise Rejected
        if not all(isinstance(code, str) and re.fullmatch("[A-Z]{2}", code.strip()) for code in codes):
            raise Rejected
        return tuple(code.strip() for code in codes)


@dataclass(frozen=True)
class Folder(Kind):
    """An absolute path on a rented machine."""

    @property
    def wanted(self) -> str:
        return "an absolute path on the machine"

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.isprintable() or not value.startswith("/"):
            raise Rejected
        if value.strip("/") == "" or ".." in value.split("/"):
            raise Rejected
        return value


@dataclass(frozen=True)
class File(Kind):
    """A file on this computer that exists; a program must be executable."""

    program: bool = False
    optional: bool = True

    @property
    def wanted(self) -> str:
        return "the path of an executable program" if self.program else "the path of a file that exists"

    def read(self, value: object) -> Path:
        path = _path(value)
        try:
            if not path.exists():
                raise Rejected("which does not exist")
            if path.is_dir():
                raise Rejected("which is a directory")
        except OSError as error:
            raise Rejected(f"which cannot be used ({error.strerror})") from error
        if self.program and not os.access(path, os.X_OK):
            raise Rejected("which is not executable")
        return path


@dataclass(frozen=True)
class CloudDirectory(Kind):
    """Where an embedded cloud keeps its state: a special name, or a directory.

    A bare word that resembles a special name, or a bare number, is taken for a mistake unless such a directory exists.
    """

    optional: bool = True

    @property
    def wanted(self) -> str:
        return f"{' or '.join(SPECIAL_CLOUDS)}, a cloud's directory, or a new directory in one that exists"

    def read(self, value: object) -> str | Path:
        if isinstance(value, str) and value.strip().lower() in SPECIAL_CLOUDS:
            return value.strip().lower()
        path = _path(value)
        try:
            exists = path.exists()
            if exists and not path.is_dir():
                raise Rejected("which is not a directory")
            if not exists and not path.absolute().parent.is_dir():
                raise Rejected(f"but {path.absolute().parent} does not exist: create it first")
        except OSError as error:
            raise Rejected(f"which cannot be used ({error.strerror})") from error
        word = str(value)
        if not exists and not {os.sep, "."} & set(word):
            if near := get_close_matches(word.lower(), SPECIAL_CLOUDS, 1, NEARLY_SPECIAL):
                raise Rejected(f"did you mean {near[0]}? A directory of that name is written ./{word}")
            if word.startswith("-") or word.isdecimal():
                raise Rejected(f"a directory of that name is written ./{word}")
        return path


def _path(value: object) -> Path:
    if not isinstance(value, str | Path):
        raise Rejected
    text = str(value)
    if (
        not text.strip()
        or not text.isprintable()
        or any(len(os.fsencode(part)) > LONGEST_NAME for part in Path(text).parts)
    ):
        raise Rejected
    return Path(text).expanduser()


def _suggestion(word: str, choices: tuple[str, ...]) -> str:
    near = get_close_matches(word, choices, 1)
    return f"did you mean {near[0]}?" if near else ""


def _plain(number: float) -> str:
    """A bound as a user types it: without exponent, and without a fraction that is zero."""
    return f"{number:.10f}".rstrip("0").rstrip(".")
