"""The market's query language: `{"gpu_name": {"eq": "RTX 4090"}, "dph_total": {"lte": "0.5"}}`.

A column may carry several conditions, and all of them must hold. Clients send numbers and truth values as text as
well as by themselves, so what a row holds decides how the operand is read.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
Order = Sequence[tuple[str, bool]]  # column, descending

_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class QueryError(ValueError):
    """The query cannot be understood. The message names the column and what was wrong with it."""


def check_columns(conditions: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses a condition on a column that no row has: it would silently match nothing."""
    for column in conditions:
        if column not in known:
            raise QueryError(f"there is no column {column!r}; the columns are: {', '.join(sorted(known))}")


def matches(row: Row, conditions: Mapping[str, Any]) -> bool:
    """Tells whether a row fulfils every condition. A bare value means `eq`.

    Raises:
        QueryError: an unknown operator, or an operand that cannot be compared with what the column holds.
    """
    return all(
        _holds(column, row.get(column), name, operand)
        for column, condition in conditions.items()
        for name, operand in (condition if isinstance(condition, Mapping) else {"eq": condition}).items()
    )


def sort_key(row: Row, order: Order) -> list[Any]:
    """What decides a row's place in a listing; plain JSON, so that it can travel in a page's token."""
    return [row.get(column) for column, _ in order]


def comes_after(key: list[Any], other: list[Any], order: Order) -> bool:
    return _compare(key, other, order) > 0


def ordered(rows: Collection[Row], order: Order) -> list[Row]:
    """The rows in order. Rows without a value come last, whatever the direction."""
    by_key = functools.cmp_to_key(functools.partial(_compare, order=order))
    return sorted(rows, key=lambda row: by_key(sort_key(row, order)))


def parse_order(text: Any) -> list[tuple[str, bool]]:
    """Reads an order: `[["dph_total", "asc"]]`, `[{"col": "id", "dir": "asc"}]` or `"dph_total,score-"`."""
    if text is None:
        return []
    parts = text.split(",") if isinstance(text, str) else text
    if not isinstance(parts, Sequence):
        raise QueryError(f"the order {text!r} is not a list of columns")
    return [_parse_order_of_one(part) for part in parts]


def _parse_order_of_one(part: Any) -> tuple[str, bool]:
    match part:
        case str():
            name = part.strip()
            return name.strip("+-"), name.startswith("-") or name.endswith("-")
        case [str() as column]:
            return column, False
        case [str() as column, str() as direction] | {"col": str() as column, "dir": str() as direction}:
            if direction.lower() not in ("asc", "desc"):
                raise QueryError(f"the direction of {column!r} must be asc or desc, not {direction!r}")
            return column, direction.lower() == "desc"
        case {"col": str() as column}:
            return column, False
    raise QueryError(f"{part!r} does not name a column to order by")


def _holds(column: str, value: Any, name: str, operand: Any) -> bool:
    match name:
        case "eq":
            return _equal(column, value, operand)
        case "neq":
            return not _equal(column, value, operand)
        case "in" | "notin":
            if isinstance(operand, str) or not isinstance(operand, Sequence):
                raise QueryError(f"{column}: {name} needs a list, not {operand!r}")
            return any(_equal(column, value, one) for one in operand) == (name == "in")
    if name not in _ORDERED:
        raise QueryError(f"{column}: there is no operator {name!r}; use eq, neq, gt, gte, lt, lte, in or notin")
    return value is not None and operand is not None and _ORDERED[name](value, _as(column, value, operand))


def _equal(column: str, value: Any, operand: Any) -> bool:
    if value is None or operand is None:
        return value is operand
    if isinstance(value, str) and column == "geolocation":
        return operand in (value, value.rpartition(", ")[2])  # "Sweden, SE" answers to its country code as well
    return bool(value == _as(column, value, operand))


def _as(column: str, value: Any, operand: Any) -> Any:
    """The operand in the type of the value."""
    try:
        if isinstance(value, bool):
            return _TRUTH[str(operand).lower()]
        if isinstance(value, (int, float)):
            return float(operand)
    except (KeyError, TypeError, ValueError):
        kind = "true or false" if isinstance(value, bool) else "a number"
        raise QueryError(f"{column}: {operand!r} is not {kind}") from None
    return str(operand)


def _compare(key: list[Any], other: list[Any], order: Order) -> int:
    for mine, theirs, (column, descending) in zip(key, other, order, strict=True):
        if mine == theirs:
            continue
        if mine is None or theirs is None:
            return 1 if mine is None else -1
        try:
            return 1 if (mine > theirs) != descending else -1
        except TypeError:
            raise QueryError(f"one cannot order by {column}") from None
    return 0
