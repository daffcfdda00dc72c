"""Pages of a listing that stay right while rows come and go: a page begins after a row's place, not after a number."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sandbox.marketplace.filters import Order, QueryError, Row, comes_after, ordered, sort_key


@dataclass(frozen=True)
class Page:
    rows: list[Row]
    next_token: str | None  # None on the last page
    total: int  # rows on all pages


def page(rows: Collection[Row], order: Order, limit: int, after_token: str | None) -> Page:
    """The page after the token, or the first. `order` must end with a column that no two rows share.

    Raises:
        QueryError: the token is not one that a page with this order has given out.
    """
    in_order = ordered(rows, order)
    rest = in_order
    if after_token:
        after = _read(after_token, len(order))
        rest = [row for row in in_order if comes_after(sort_key(row, order), after, order)]
    shown = rest[:limit]
    more = len(rest) > len(shown)
    return Page(shown, _token(sort_key(shown[-1], order)) if more and shown else None, len(in_order))


def _token(key: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _read(token: str, columns: int) -> list[Any]:
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except ValueError:
        key = None
    if not isinstance(key, list) or len(key) != columns:
        raise QueryError("after_token is not a token of this listing")
    return key
