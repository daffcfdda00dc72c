"""Pages of the market's listings, its rate limits and its delays."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.marketplace.accounts import InvalidKey, checked_public_key
from sandbox.marketplace.filters import Order, QueryError, ordered
from sandbox.marketplace.limits import RateLimiter
from sandbox.marketplace.paging import page
from sandbox.marketplace.profiles import PROFILES

Row = dict[str, Any]
ORDERS: st.SearchStrategy[list[tuple[str, bool]]] = st.sampled_from(
    [
        [("id", False)],
        [("id", True)],
        [("label", False), ("id", False)],
        [("price", True), ("label", False), ("id", True)],
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 200),
            "label": st.none() | st.sampled_from("abc"),
            "price": st.sampled_from([0.1, 0.2, 0.3]),
        }
    ),
    unique_by=lambda row: row["id"],
    max_size=40,
)


def read_all(rows: list[Row], order: Order, limit: int, between: Any = None) -> list[Row]:
    seen: list[Row] = []
    token = None
    while True:
        found = page(rows, order, limit, token)
        assert len(found.rows) <= limit
        seen += [dict(row) for row in found.rows]
        if found.next_token is None:
            return seen
        token = found.next_token
        if between:
            between(rows)


@given(ROWS, ORDERS, st.integers(1, 10))
def test_all_pages_together_are_the_whole_listing(rows: list[Row], order: Order, limit: int) -> None:
    assert read_all(rows, order, limit) == ordered(rows, order)


@given(ROWS, ORDERS, st.integers(1, 10), st.integers())
def test_rows_that_come_and_go_hide_no_other_row(rows: list[Row], order: Order, limit: int, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - test data
    staying = [dict(row) for row in rows[::2]]
    passing = [dict(row) for row in rows[1::2]]
    current = staying + passing

    def shake(there: list[Row]) -> None:
        there[:] = staying + [row for row in passing if chance.random() < 0.5]

    seen = read_all(current, order, limit, shake)
    ids = [row["id"] for row in seen]
    assert len(ids) == len(set(ids))
    assert [row for row in seen if row in staying] == ordered(staying, order)


def test_the_last_page_has_no_token_even_when_it_is_full() -> None:
    rows = [{"id": number} for number in range(50)]
    first = page(rows, [("id", False)], 25, None)
    last = page(rows, [("id", False)], 25, first.next_token)
    assert (len(first.rows), len(last.rows), last.next_token) == (25, 25, None)
    assert first.total == 50


@pytest.mark.parametrize("token", ["5", "%%%", "W10=", "eyJhIjoxfQ=="])
def test_a_token_of_somebody_else(token: str) -> None:
    with pytest.raises(QueryError, match="after_token"):
        page([{"id": 1}], [("id", False)], 25, token)


def test_a_burst_passes_and_then_so_many_a_second() -> None:
    now = 0.0
    limiter = RateLimiter(2.0, 5, lambda: now)
    assert [limiter.admits("me", "GET /x") for _ in range(7)] == [True] * 5 + [False] * 2
    now = 1.0
    assert [limiter.admits("me", "GET /x") for _ in range(3)] == [True, True, False]
    now = 100.0
    assert [limiter.admits("me", "GET /x") for _ in range(7)] == [True] * 5 + [False] * 2


def test_keys_and_endpoints_are_limited_each_for_itself() -> None:
    limiter = RateLimiter(1.0, 1, lambda: 0.0)
    assert limiter.admits("me", "GET /x")
    assert limiter.admits("me", "GET /y")
    assert limiter.admits("you", "GET /x")
    assert not limiter.admits("me", "GET /x")


def test_delays_are_repeatable_and_within_the_profile() -> None:
    realistic = PROFILES["realistic"]
    drawn = {realistic.delays(1, machine) for machine in range(50)}
    assert len(drawn) == 50
    assert drawn == {realistic.delays(1, machine) for machine in range(50)}
    assert drawn.isdisjoint({realistic.delays(2, machine) for machine in range(50)})
    for created, loading in drawn:
        assert realistic.created[0] <= created <= realistic.created[1]
        assert realistic.loading[0] <= loading <= realistic.loading[1]
    assert PROFILES["instant"].delays(1, 1) == (0, 0)


def test_a_public_key_is_one_line_and_nothing_else() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPyv7H5 me@home of mine"
    assert checked_public_key(f"  {key}\n") == key
    for wrong in (f'command="rm" {key}', f"{key}\n{key}", "ssh-ed25519", "", "-----BEGIN OPENSSH PRIVATE KEY-----"):
        with pytest.raises(InvalidKey):
            checked_public_key(wrong)
