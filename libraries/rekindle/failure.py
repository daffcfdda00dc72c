"""The cause of a failure: what of Robot's message of a failed test or suite a user must read first.

Robot joins everything that failed into one text and frames each part ("Setup failed:", "Several failures occurred:",
"Also teardown failed:"). Here the text is split into its failures again, and the first sentence of the gravest one is
the cause.
"""

from __future__ import annotations

import re
from html import unescape

LONGEST_CAUSE = 300  # characters: two lines on the first screen of log.html
# A shorter first sentence ("It failed.") says too little on its own.
SHORTEST_SENTENCE = 12  # characters

_HTML = "*HTML*"
_PART = r"(?:(?:parent[ ])?suite[ ]|keyword[ ])?(?:setup|teardown)"
_ALSO = re.compile(
    rf"\n\n(?:Also {_PART} failed|Also failures? occurred|Earlier message|Original failure):(?:\n+|\Z)", re.IGNORECASE
)
_FRAME = re.compile(
    rf"""(?:
        {_PART}\ failed:\s*
      | Skipped\ in\ {_PART}:\s*
      | Failed\ (?:test|task)\ skipped\ using\ [^\n]*(?:\n+|\Z)
      | Several\ failures\ occurred:\s*
      | Keyword\ '[^\n]*?'\ failed\ after\ retrying\ [^\n]*?\.\ The\ last\ error\ was:\s*
      | (?:AssertionError|RuntimeError|Exception|Error):\s+
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ \t]+.*\n|\n)*")
_NUMBER = re.compile(r"(?:\A|\n\n)(\d+)\) ")
_SENTENCE_END = re.compile(r"(?<=[^\s.][.!?])\s+(?=[^\sa-z])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|approx|cf)|(?<!\S)[A-Z])\.\Z")
_OPENING, _CLOSING = re.compile(r"(?<![^\s(])'(?=\S)"), re.compile(r"(?<=\S)'(?![^\s.,;:!?)])")
_TAG = re.compile(r"<[^<>]+>")

# The verdicts in their order, and the words by which a message is recognised. A message is of the first that fits.
_VERDICTS = (
    (
        "machine",
        re.compile(
            r"still (?:rented|lists?\b|lives|bills|runs)|bill still grows|it still answers|not (?:proven )?gone"
            r"|was destroyed, but|(?:cannot|could not) be destroyed|not destroyed|is left\b|left behind|nobody needs"
            r"|and \d+ beside|nothing was ordered|no such machine",
            re.IGNORECASE,
        ),
    ),
    ("money", re.compile(r"\bbill(?:s|ed)?\b|\bbudget\b|\bagreed \$|\boverdrawn\b", re.IGNORECASE)),
    (
        "wording",
        re.compile(r"\bis shown\b|\bthe page (?:shows|to show)\b|\bwording\b|\bin its words\b", re.IGNORECASE),
    ),
    (
        "data",
        re.compile(
            r"\b(?:snapshot|manifest|workspace|object|blob|files?|tree|standby|restored?|repository)\b", re.IGNORECASE
        ),
    ),
    ("time", re.compile(r"\btime-?outs?\b|\bexceeded\b|\bwithin [\d.]+|\b[\d.]+ s\b|\bseconds\b", re.IGNORECASE)),
)
_ORDER = ("machine", "data", "money", "time", "wording")


def cause(message: str) -> str:
    """Return the first meaningful sentence of the gravest failure in a message.

    Args:
        message: of a failed test or suite, as Robot writes it.

    Returns:
        One line of at most `LONGEST_CAUSE` characters; "No reason was given." for a message without words.
    """
    parts = failures(message)
    return first_sentence(min(parts, key=_gravity)) if parts else "No reason was given."


def failures(message: str) -> list[str]:
    """Return the failures that Robot joined into one message, in the order in which they happened, without its frames.

    Each is the whole text that its keyword failed with.
    """
    if message.lstrip().startswith(_HTML):
        message = unescape(_TAG.sub("", message.lstrip().removeprefix(_HTML)))
    return [part for joined in _ALSO.split(message) for one in _numbered(joined.strip()) if (part := _unframed(one))]


def first_sentence(text: str) -> str:
    """Return the first sentence of a text that says something, as one line of at most `LONGEST_CAUSE` characters.

    A heading ("These files differ:") is joined with the line after it. A sentence of less than `SHORTEST_SENTENCE`
    characters is joined with the next one.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if any(character.isalnum() for character in line)] or [
        line for line in lines if line
    ]
    if not lines:
        return ""
    said, *others = lines
    while said.endswith(":") and others:
        said = f"{said} {others.pop(0).lstrip('-*• ')}"
    first, *later = _sentences(said)
    later += others
    while len(first) < SHORTEST_SENTENCE and later:
        first = f"{first} {later.pop(0)}"
    return first if len(first) <= LONGEST_CAUSE else f"{first[: LONGEST_CAUSE - 1].rstrip()}…"


def verdict(failure: str) -> str | None:
    """Return what a failure is about: `machine`, `data`, `money`, `time` or `wording`; None when no words say so."""
    return next((name for name, words in _VERDICTS if words.search(failure)), None)


def _gravity(failure: str) -> int:
    about = verdict(failure)
    return _ORDER.index(about) if about else len(_ORDER)


def _numbered(text: str) -> list[str]:
    """Split "Several failures occurred:" into its parts; a number that is not the next one belongs to the text."""
    match = _FRAME.match(text)
    frames = ""
    while match:
        frames, text = match[0], text[match.end() :]
        match = _FRAME.match(text)
    if not frames.lower().startswith("several failures"):
        return [text]
    starts: list[re.Match[str]] = []
    for number in _NUMBER.finditer(text):
        if int(number[1]) == len(starts) + 1:
            starts.append(number)
    ends = [start.start() for start in starts[1:]] + [len(text)]
    parts = [text[start.end() : end] for start, end in zip(starts, ends, strict=True)] or [text]
    return [one for part in parts for one in _numbered(part)]


def _unframed(text: str) -> str:
    """Remove all frames and a Python traceback from the beginning of a failure."""
    before = None
    while before != text:
        before = text
        text = text.strip()
        if frame := _FRAME.match(text) or _TRACEBACK.match(text):
            text = text[frame.end() :]
    return text


def _sentences(line: str) -> list[str]:
    sentences: list[str] = []
    for piece in _SENTENCE_END.split(line):
        if sentences and (_ABBREVIATION.search(sentences[-1]) or _is_within_quotes(sentences[-1])):
            sentences[-1] = f"{sentences[-1]} {piece}"
        else:
            sentences.append(piece)
    return sentences


def _is_within_quotes(text: str) -> bool:
    """Return whether a text ends within a quotation ("Expected error 'No offers. Wait*' but got …")."""
    openings, closings = list(_OPENING.finditer(text)), list(_CLOSING.finditer(text))
    return bool(openings) and not any(closing.start() > openings[-1].start() for closing in closings)
