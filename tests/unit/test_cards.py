"""What counts as ours on the page, and what is told when a card of ours is missing, doubled, left over or wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rekindle.cards import PRICE, SECONDS, Card, Ours, compare, reads
from rekindle.dumont_views import InstanceView

OURS = Ours(living=frozenset({1, 2}), ended=frozenset({9}), prefix="rekindle-run-")
STRANGER = 7


def row(id_: int, label: str | None = "rekindle-run-1", state: str | None = "running") -> InstanceView:
    return InstanceView(id_, label, "running", state, "127.0.0.1", 22, 0.5, "RTX 4090", 100)


def card(
    id_: int,
    label: str = "rekindle-run-1",
    gpu: str = "RTX 4090",
    price: float | None = 0.5,
    state: str = "Online",
    priced: str = "US$\N{NO-BREAK SPACE}0,50/h",
) -> Card:
    return Card(id_, label, gpu, price, state, priced)


ROWS = [row(1), row(2, None), row(STRANGER, "rekindle-other-1")]
CARDS = [card(1), card(2, "Máquina 2"), card(STRANGER, "rekindle-other-1")]


def test_what_is_ours_is_compared_and_counted() -> None:
    assert compare(OURS, ROWS, CARDS).wrong == ()
    assert compare(OURS, ROWS, CARDS).machines == 2


def test_others_may_come_and_go_between_the_two_looks() -> None:
    assert compare(OURS, ROWS[:2], CARDS).wrong == ()
    assert compare(OURS, ROWS, CARDS[:2]).wrong == ()


@pytest.mark.parametrize(
    ("rows", "cards", "words"),
    [
        (ROWS[1:], CARDS[1:], "the API does not list machine 1, which is ours"),
        (ROWS, CARDS[1:], "machine 1 has no card"),
        (ROWS, [*CARDS, CARDS[0]], "machine 1 has 2 cards"),
        ([*ROWS, row(3, "rekindle-run-3")], CARDS, "machine 3 has no card"),
        (ROWS, [*CARDS, card(9, "other")], "there is a card of machine 9, which the API does not list"),
        (ROWS, [*CARDS, card(3, "rekindle-run-3")], "there is a card of machine 3, which the API does not list"),
        (ROWS, [card(1, "mine"), CARDS[1]], "machine 1: label 'rekindle-run-1' is shown as 'mine'"),
        (ROWS, [card(1, gpu="H100"), CARDS[1]], "machine 1: GPU 'RTX 4090' is shown as 'H100'"),
        (ROWS, [card(1, price=0.4), CARDS[1]], "machine 1: $0.5/h is shown as 0.4"),
        (ROWS, [card(1, price=None), CARDS[1]], "machine 1: $0.5/h is shown as None"),
        (ROWS, [card(1, priced="US$ 0,25/h"), CARDS[1]], "machine 1: $0.5/h is shown to people as 'US$ 0,25/h'"),
        (ROWS, [card(1, priced="R$ 0,50/h"), CARDS[1]], "machine 1: $0.5/h is shown to people as 'R$ 0,50/h'"),
        (ROWS, [card(1, priced=""), CARDS[1]], "machine 1: $0.5/h is shown to people as ''"),
        (ROWS, [card(1, state="Parada"), CARDS[1]], "machine 1: it is running, and shown as 'Parada'"),
        ([row(1, state="offline"), *ROWS[1:]], CARDS, "machine 1: it is offline, and shown as 'Online'"),
        ([row(1, state=None), *ROWS[1:]], CARDS, "machine 1: it is in no known state, and shown as 'Online'"),
    ],
)
def test_what_is_wrong_with_ours_is_told(rows: list[InstanceView], cards: list[Card], words: str) -> None:
    assert compare(OURS, rows, cards).wrong == (words,)


def test_the_work_on_a_machine_may_stand_in_place_of_its_state() -> None:
    assert compare(OURS, ROWS, [card(1, state="Migrando"), *CARDS[1:]]).wrong == ()


def test_a_machine_that_sleeps_has_a_card_without_a_price() -> None:
    assert compare(OURS, ROWS, [*CARDS, card(9, price=None)]).wrong == ()


@pytest.mark.parametrize(
    ("gpu", "model"),
    [("RTX 4090", "RTX 4090"), ("2 \N{MULTIPLICATION SIGN} RTX 4090", "RTX 4090"), ("1080 Ti", "1080 Ti")],
)
def test_a_card_is_read_from_the_page(gpu: str, model: str) -> None:
    seen: dict[str, Any] = {"id": "29070001", "label": "mine", "gpu": gpu, "price": "0.25", "state": "Online"}
    seen["priced"] = "US$ 0,25/h"
    assert Card.read(seen) == Card(29070001, "mine", model, 0.25, "Online", "US$ 0,25/h")
    assert Card.read(seen | {"price": ""}).price is None


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ("US$\N{NO-BREAK SPACE}0,3457/h", PRICE, 0.34567),
        ("US$ 0,50/h", PRICE, 0.5),
        ("US$ 1.234,56/h", PRICE, 1234.56),
        ("0,052\N{NO-BREAK SPACE}s", SECONDS, 0.0521),
        ("9,99 s", SECONDS, 9.994),
        ("12,3 s", SECONDS, 12.25),
        ("1.234,5 s", SECONDS, 1234.5),
    ],
)
def test_a_number_is_read_as_exactly_as_it_is_shown(text: str, form: re.Pattern[str], value: float) -> None:
    assert reads(text, form, value)


@pytest.mark.parametrize(
    ("text", "form", "value"),
    [
        ("US$ 0,1729/h", PRICE, 0.34567),
        ("R$ 0,3457/h", PRICE, 0.34567),
        ("US$ 0.3457/h", PRICE, 0.34567),
        ("US$ 0/h", PRICE, 0.34567),
        ("US$ 0,3457", PRICE, 0.34567),
        ("", PRICE, 0.0),
        ("52 ms", SECONDS, 0.052),
        ("12,2 s", SECONDS, 12.31),
        ("1,2 s", SECONDS, 12.0),
    ],
)
def test_another_number_is_not_read(text: str, form: re.Pattern[str], value: float) -> None:
    assert not reads(text, form, value)
