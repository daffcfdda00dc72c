"""The market's query language, and the searches that clients word in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.marketplace.filters import QueryError, matches, ordered, parse_order
from sandbox.marketplace.offers import Offer, make_offers
from sandbox.marketplace.search import Search

ROW = {
    "gpu_name": "RTX 4090",
    "num_gpus": 2,
    "dph_total": 0.55,
    "verified": True,
    "geolocation": "Sweden, SE",
    "cluster_id": None,
}
NUMBERS = st.floats(-1e6, 1e6) | st.integers(-1000, 1000)


@pytest.mark.parametrize(
    ("column", "condition", "holds"),
    [
        ("gpu_name", {"eq": "RTX 4090"}, True),
        ("gpu_name", {"eq": "RTX_4090"}, False),
        ("gpu_name", {"neq": "RTX 3090"}, True),
        ("gpu_name", {"in": ["RTX 3090", "RTX 4090"]}, True),
        ("gpu_name", {"notin": ["RTX 3090", "RTX 4090"]}, False),
        ("gpu_name", "RTX 4090", True),
        ("num_gpus", {"eq": "2"}, True),
        ("num_gpus", {"in": ["1", "2"]}, True),
        ("num_gpus", {"gte": 2, "lt": "3"}, True),
        ("num_gpus", {"gte": 2, "lt": 2}, False),
        ("dph_total", {"lt": "1.0"}, True),
        ("dph_total", {"gt": 0.55}, False),
        ("verified", {"eq": True}, True),
        ("verified", {"eq": "true"}, True),
        ("verified", {"eq": "False"}, False),
        ("verified", {"neq": False}, True),
        ("geolocation", {"in": ["TW", "SE"]}, True),
        ("geolocation", {"notin": ["CN", "SE"]}, False),
        ("geolocation", {"eq": "Sweden, SE"}, True),
        ("cluster_id", {"eq": None}, True),
        ("cluster_id", {"gt": 5}, False),
        ("cluster_id", {"neq": 5}, True),
        ("gpu_name", {"eq": None}, False),
    ],
)
def test_conditions(column: str, condition: Any, holds: bool) -> None:
    assert matches(ROW, {column: condition}) is holds


def test_all_conditions_must_hold() -> None:
    assert matches(ROW, {"num_gpus": {"eq": 2}, "dph_total": {"lte": 0.55}})
    assert not matches(ROW, {"num_gpus": {"eq": 2}, "dph_total": {"lte": 0.5}})
    assert matches(ROW, {})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"num_gpus": {"like": 1}}, "num_gpus: there is no operator 'like'"),
        ({"num_gpus": {"eq": "many"}}, "num_gpus: 'many' is not a number"),
        ({"verified": {"eq": "perhaps"}}, "verified: 'perhaps' is not true or false"),
        ({"gpu_name": {"in": "RTX 4090"}}, "gpu_name: in needs a list"),
        ({"num_gpus": {"lt": [1]}}, r"num_gpus: \[1\] is not a number"),
    ],
)
def test_what_cannot_be_understood_is_said(condition: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        matches(ROW, condition)


@given(NUMBERS, NUMBERS)
def test_operators_agree_with_each_other_and_with_numbers_as_text(value: float, operand: float) -> None:
    row = {"n": value}
    holds = {name: matches(row, {"n": {name: operand}}) for name in ("eq", "neq", "gt", "gte", "lt", "lte")}
    assert holds == {
        "eq": value == operand,
        "neq": value != operand,
        "gt": value > operand,
        "gte": value >= operand,
        "lt": value < operand,
        "lte": value <= operand,
    }
    assert holds == {name: matches(row, {"n": {name: repr(operand)}}) for name in holds}


@given(st.text(), st.lists(st.text(), max_size=5))
def test_in_is_any_and_notin_is_none(value: str, operands: list[str]) -> None:
    row = {"name": value}
    assert matches(row, {"name": {"in": operands}}) == (value in operands)
    assert matches(row, {"name": {"notin": operands}}) == (value not in operands)


@pytest.mark.parametrize(
    ("spelling", "order"),
    [
        ([["dph_total", "asc"], ["score", "desc"]], [("dph_total", False), ("score", True)]),
        ([{"col": "id", "dir": "desc"}], [("id", True)]),
        ([{"col": "id"}], [("id", False)]),
        ("dph_total", [("dph_total", False)]),
        ("num_gpus,total_flops-", [("num_gpus", False), ("total_flops", True)]),
        ("-score", [("score", True)]),
        ([], []),
        (None, []),
    ],
)
def test_spellings_of_an_order(spelling: Any, order: list[tuple[str, bool]]) -> None:
    assert parse_order(spelling) == order


@pytest.mark.parametrize("spelling", [5, [5], [["id", "up"]], [{"dir": "asc"}]])
def test_an_order_that_makes_no_sense(spelling: Any) -> None:
    with pytest.raises(QueryError):
        parse_order(spelling)


def test_rows_without_a_value_come_last_both_ways() -> None:
    rows: list[dict[str, int | None]] = [{"n": None}, {"n": 1}, {"n": 2}]
    assert [row["n"] for row in ordered(rows, [("n", False)])] == [1, 2, None]
    assert [row["n"] for row in ordered(rows, [("n", True)])] == [2, 1, None]


def offers() -> list[Offer]:
    return list(make_offers(1).values())


def found(query: dict[str, Any]) -> list[dict[str, Any]]:
    return Search.from_query(query).among(offers())


def test_the_search_of_the_command_line() -> None:
    rows = found(
        {
            "verified": {"eq": True},
            "external": {"eq": False},
            "rentable": {"eq": True},
            "gpu_name": {"eq": "RTX 4090"},
            "num_gpus": {"eq": "1"},
            "reliability": {"gt": "0.98"},
            "dph_total": {"lt": "1.0"},
            "order": [["dph_total", "asc"]],
            "type": "on-demand",
            "limit": 2,
            "allocated_storage": 5.0,
        }
    )
    assert len(rows) == 2
    assert rows[0]["dph_total"] <= rows[1]["dph_total"] < 1.0
    for row in rows:
        assert (row["gpu_name"], row["num_gpus"], row["verified"]) == ("RTX 4090", 1, True)
        assert row["reliability"] > 0.98


def test_a_search_by_url_mixes_q_and_plain_parameters() -> None:
    query = {"gpu_name": {"eq": "RTX A4000"}, "num_gpus": {"eq": 1}}
    parameters = {"q": json.dumps(query), "order": "dph_total", "type": "on-demand", "limit": "3"}
    rows = Search.from_parameters(parameters).among(offers())
    assert 0 < len(rows) <= 3
    assert {row["gpu_name"] for row in rows} == {"RTX A4000"}
    assert rows == sorted(rows, key=lambda row: row["dph_total"])


def test_plain_parameters_ask_for_at_least_a_capacity() -> None:
    parameters = {"verified": "true", "rentable": "true", "gpu_ram": "20000", "num_gpus": "1", "order": "dph_total"}
    rows = Search.from_parameters(parameters).among(offers())
    assert rows
    assert {row["num_gpus"] for row in rows} == {1}
    assert min(row["gpu_ram"] for row in rows) >= 20000


def test_drivers_are_compared_as_versions() -> None:
    newer = found({"driver_version": {"gte": "550.54.15"}})
    assert 0 < len(newer) < len(offers())
    assert "535.86.05" not in {row["driver_version"] for row in newer}
    assert newer == found({"driver_version": {"gte": 550054015}})


def test_a_disk_raises_the_price_and_a_bid_lowers_it() -> None:
    small, large, bid = (
        {row["id"]: row["dph_total"] for row in found(query)}
        for query in ({}, {"allocated_storage": 500}, {"type": "bid"})
    )
    assert all(large[one] > small[one] > bid[one] for one in small)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"gpu_names": {"eq": "RTX 4090"}}, "there is no column 'gpu_names'"),
        ({"order": [["cheapness", "asc"]]}, "there is no column 'cheapness'"),
        ({"type": "gift"}, "there is no type 'gift'"),
        ({"limit": "all"}, "limit: 'all' is not a number"),
        ({"limit": -1}, "limit: -1 is not a number from 0 up"),
        ({"driver_version": {"gte": "new.er"}}, "driver_version: 'new.er' is not like"),
    ],
)
def test_a_search_that_makes_no_sense(query: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        found(query)


@pytest.mark.parametrize("q", ["{", "[]"])
def test_q_must_be_a_json_object(q: str) -> None:
    with pytest.raises(QueryError, match="q "):
        Search.from_parameters({"q": q})
