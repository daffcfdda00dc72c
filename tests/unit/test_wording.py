"""Numbers, names and lists in sentences."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.wording import counted, named, number, shown


def test_numbers_are_grouped() -> None:
    assert [number(n) for n in (0, 999, 1009, 67112345)] == ["0", "999", "1 009", "67 112 345"]


def test_nouns_follow_their_number() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(1000, "directory", "directories") == "1 000 directories"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("maçã 漢字".encode(), "maçã 漢字"),
        (b"new\nline\tand \x1b[31m", r"new\nline\tand \x1b[31m"),
        (b"caf\xe9", r"caf\xe9"),
        ("\u202e\u00a0".encode(), r"\u202e\xa0"),
    ],
)
def test_odd_names_are_escaped(name: bytes, text: str) -> None:
    assert shown(os.fsdecode(name)) == text


@given(st.binary())
def test_any_name_can_be_shown(name: bytes) -> None:
    assert shown(os.fsdecode(name)).isprintable()


def test_ten_are_named() -> None:
    assert named(["a", "b"]) == "a, b"
    assert named([str(n) for n in range(10)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert named([str(n) for n in range(1234)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 … and 1 224 more"
