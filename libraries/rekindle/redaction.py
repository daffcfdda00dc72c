"""Blots secrets out of texts: the second line, for what the first one, which keeps them out of texts, has missed.

A secret is known by its value, and sought as it stands and in the forms in which texts repeat it: base64, hexadecimal,
escaped for JSON, Python, HTML or an address. Some are known by their form alone: a token (JWT), the signature of a
request, a private SSH key.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

# Shorter ones would be found in many words that are none.
SHORTEST = 6
# Where only the name of a variable says that its value is secret, a value as short as a word is left alone.
SHORTEST_GUESSED = 12
# So many first characters of a long secret are enough, because logs cut long texts.
ENOUGH = 12

_BY_NAME = re.compile(r"(^|_)(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|KEY|KEY_ID|CREDENTIALS?)($|_(?!PATH|FILE|DIR))")
_BY_FORM = {
    "a token": re.compile(r"eyJ[\w-]{8,}\.eyJ[\w-]*(?:\.[\w-]*)?"),
    "a signature": re.compile(r"(?<=Signature=)[0-9a-f]{12,64}"),
    "a private key": re.compile(
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
    ),
}


@dataclass(frozen=True)
class Redacted:
    """A text without its secrets, and the names of those that were in it."""

    text: str
    names: frozenset[str]


class Redactor:
    """Knows the secrets of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}  # by form
        self._sought: list[tuple[str, str]] = []  # the first characters of each form, and all of it; the longest first

    def learn(self, name: str, value: str | None) -> None:
        """From now on this value is a secret. One that is too short to be told from ordinary words is passed over."""
        if value and len(value) >= SHORTEST:
            with self._lock:
                self._names = dict.fromkeys(_forms(value), name) | self._names
                self._sought = [(_head(form), form) for form in sorted(self._names, key=len, reverse=True)]

    def learn_from(self, variables: Mapping[str, str]) -> None:
        """Learns the variables that hold a secret, as their names say."""
        for name, value in variables.items():
            if looks_secret(name) and len(value) >= SHORTEST_GUESSED:
                self.learn(name, value)

    def redact(self, text: str) -> Redacted:
        """Puts `[redacted NAME]` in the place of each secret."""
        names = set()
        for head, form in self._sought:
            if head in text:
                names.add(self._names[form])
                text = _replaced(text, form, head, f"[redacted {self._names[form]}]")
        for name, pattern in _BY_FORM.items():
            text, count = pattern.subn(f"[redacted {name}]", text)
            names.update([name] if count else [])
        return Redacted(text, frozenset(names))


KNOWN = Redactor()
"""What this process must not show."""


def looks_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret: `DUMONT_PASSWORD`, but not `SSH_KEY_PATH`."""
    return _BY_NAME.search(name.upper()) is not None


def _forms(value: str) -> Iterator[str]:
    raw = value.encode(errors="surrogateescape")
    yield from (value, json.dumps(value)[1:-1], repr(value)[1:-1], html.escape(value), raw.hex(), raw.hex().upper())
    yield from (quote(raw, safe=""), quote(raw), quote_plus(raw))
    # What stands before the value in a longer text, "user:" say, shifts its base64: three alignments.
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode()
        whole = encoded[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        if len(whole) >= SHORTEST:
            yield from (whole, whole.replace("+", "-").replace("/", "_"))


def _head(form: str) -> str:
    return form[:ENOUGH] if len(form) >= 2 * ENOUGH else form


def _replaced(text: str, form: str, head: str, instead: str) -> str:
    """Replaces the form where it stands, and as much of it as stands there where it was cut."""
    parts = []
    begin = 0
    while (at := text.find(head, begin)) >= 0:
        end = at + len(head)
        while end < len(text) and end - at < len(form) and text[end] == form[end - at]:
            end += 1
        parts += [text[begin:at], instead]
        begin = end
    return "".join([*parts, text[begin:]])
