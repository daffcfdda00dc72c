"""The cause of a failure is found in whatever Robot joins and frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.failure import LONGEST_CAUSE, cause, failures, first_sentence, verdict

DATA = "Snapshot 41ab cannot be restored: 3 of 1 009 files are affected."
MACHINE = "Machine 7 was destroyed, but the market still lists it."
MONEY = "Machine 7: billed at $0.5000/h, agreed $0.3200/h."


@pytest.mark.parametrize(
    "framed",
    [
        DATA,
        f"Setup failed:\n{DATA}",
        f"Parent suite setup failed:\n{DATA}",
        f"Suite setup failed:\n{DATA}",
        f"Teardown failed:\n{DATA}",
        f"Parent suite teardown failed:\n{DATA}",
        f"Keyword teardown failed:\n{DATA}",
        f"Setup failed:\n\n   {DATA}\nDetails\n  in more lines",
        f"AssertionError: {DATA}",
        f"Setup failed:\nAssertionError: {DATA}",
        f"Several failures occurred:\n\n1) {DATA}\n\n2) Another one.",
        f"Setup failed:\nSeveral failures occurred:\n\n1) Parent suite setup failed:\n{DATA}\n\n2) Another one.",
        f"{DATA}\n\nAlso teardown failed:\nAnother one.",
        f"Setup failed:\n{DATA}\n\nAlso teardown failed:\nSeveral failures occurred:\n\n1) Another.\n\n2) And another.",
        f"{DATA}\n\nAlso parent suite teardown failed:\nAnother one.",
        f"{DATA}\n\nAlso keyword teardown failed:\nAnother one.",
        f"Keyword 'A Check' failed after retrying 3 times. The last error was: {DATA}",
        f"Keyword 'A Check' failed after retrying for 10 seconds. The last error was: AssertionError: {DATA}",
        f"Skipped in suite teardown:\nNo reason.\n\nEarlier message:\n{DATA}",
        f"Failed test skipped using 'flaky' tag.\n\nOriginal failure:\n{DATA}",
        f'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    f()\nAssertionError: {DATA}',
        f"*HTML* Setup failed:\n<b>{DATA}</b><br>",
        f"==========\n\n{DATA}",
        f"{DATA} Object restic/data/41 in bucket b hashes to 00, not to its name.",
    ],
)
def test_the_cause_is_the_first_sentence_without_frames(framed: str) -> None:
    assert cause(framed) == DATA


def test_each_failure_keeps_its_whole_text() -> None:
    several = f"Several failures occurred:\n\n1) {DATA}\nline 2\n\n2) {MONEY}"
    message = f"Setup failed:\n{several}\n\nAlso teardown failed:\n{MACHINE}"
    assert failures(message) == [f"{DATA}\nline 2", MONEY, MACHINE]


def test_a_list_within_a_failure_is_no_list_of_failures() -> None:
    listed = f"{DATA}\n\n1) first, {MONEY}\n\n2) second"
    assert failures(listed) == [listed]


@pytest.mark.parametrize(
    ("message", "first"),
    [
        (f"{DATA}\n\nAlso teardown failed:\n{MACHINE}", MACHINE),
        (f"{MONEY}\n\nAlso teardown failed:\n{DATA}", DATA),
        (f"Test timeout 30 minutes exceeded.\n\nAlso teardown failed:\n{MONEY}", MONEY),
        (f"Several failures occurred:\n\n1) The price is shown to people as 'US$ 1'.\n\n2) {MACHINE}", MACHINE),
        (
            "Something odd happened here.\n\nAlso teardown failed:\nIt took 12 s, expected were 3 s.",
            "It took 12 s, expected were 3 s.",
        ),
        ("Something odd happened here.\n\nAlso teardown failed:\nAnother odd thing.", "Something odd happened here."),
    ],
)
def test_of_several_failures_the_gravest_comes_first(message: str, first: str) -> None:
    assert cause(message) == first


@pytest.mark.parametrize(
    ("message", "about"),
    [
        (MACHINE, "machine"),
        (
            "Dumont Cloud answered that machine 7 was destroyed, but SSH still answers; it still bills $0.30/h.",
            "machine",
        ),
        ("machine 7: its bill still grows, by $0.3000/h", "machine"),
        (DATA, "data"),
        ("Workspace of machine 7 differs from the manifest: 1 missing of 9 files: missing a.", "data"),
        (MONEY, "money"),
        ("The budget of $1.00 is overdrawn: $1.20 is spent.", "money"),
        ("The phases of failover 3 take 1.0 s together, but by our clock it took 4.0 s.", "time"),
        ("Test timeout 30 minutes exceeded.", "time"),
        ("machine 7: $0.50/h is shown as 0.25", "wording"),
        ("Something odd happened here.", None),
    ],
)
def test_a_failure_is_about_one_thing(message: str, about: str | None) -> None:
    assert verdict(message) == about


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("UNKNOWN: The store gave no answer. Check B2_ENDPOINT.", "UNKNOWN: The store gave no answer."),
        ("WEATHER: No GPU offers under $0.50/h. Raise MAX_PRICE.", "WEATHER: No GPU offers under $0.50/h."),
        ("These files differ:\n  - a\n  - b", "These files differ: a"),
        ("It failed. The disk of machine 7 is full.\nMore.", "It failed. The disk of machine 7 is full."),
        ("Use a store, e.g. Backblaze B2, with versions. Next.", "Use a store, e.g. Backblaze B2, with versions."),
        ("restic 0.16.4 wrote pack 1.5 GB to s3.us-west. Done.", "restic 0.16.4 wrote pack 1.5 GB to s3.us-west."),
        ("ValueError: invalid literal for int()", "ValueError: invalid literal for int()"),
        ("1 != 2", "1 != 2"),
        (
            "Expected 'No offers. Wait*' but got 'It is full. Now.'. Next.",
            "Expected 'No offers. Wait*' but got 'It is full. Now.'.",
        ),
        ("The users' disk isn't free. Next.", "The users' disk isn't free."),
        ("...", "..."),
        ("", ""),
    ],
)
def test_a_sentence_ends_where_a_person_ends_it(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_a_message_without_words_says_so() -> None:
    assert cause("") == cause("Setup failed:\n") == "No reason was given."


@given(st.text())
def test_a_cause_is_one_short_line_whatever_the_message(message: str) -> None:
    found = cause(message)
    assert found
    assert len(found.splitlines()) == 1
    assert len(found) <= LONGEST_CAUSE


PLAIN = st.text(st.characters(categories=["L", "Nd"], include_characters=" "), min_size=30, max_size=80).map(str.strip)
FRAMES = st.sampled_from(
    [
        "{}",
        "Setup failed:\n{}",
        "Parent suite setup failed:\n{}",
        "Teardown failed:\n{}",
        "AssertionError: {}",
        "Several failures occurred:\n\n1) {}\n\n2) other",
        "{}\n\nAlso teardown failed:\nother",
    ]
)


@given(PLAIN.filter(lambda words: len(words) >= 20 and verdict(words) is None), st.lists(FRAMES, max_size=3))
def test_no_frame_hides_the_cause(words: str, frames: list[str]) -> None:
    message = f"{words}."
    for frame in frames:
        message = frame.replace("{}", message)
    assert cause(message) == f"{words}."
