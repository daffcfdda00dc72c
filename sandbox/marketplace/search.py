"""Reads a search, however a client words it, and answers it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.marketplace.filters import QueryError, check_columns, matches, ordered, parse_order
from sandbox.marketplace.offers import DEFAULT_DISK_GB, Offer, driver_number

_KINDS = {"on-demand": False, "ask": False, "reserved": False, "bid": True, "interruptible": True}
_IGNORED = {"api_key", "owner", "disable_bundling", "select_cols"}
# In the plain-parameter form a capacity is the least that is wanted: nobody asks for exactly 10000 MB.
_CAPACITIES = {
    "gpu_ram", "gpu_total_ram", "cpu_ram", "cpu_cores", "cpu_cores_effective", "disk_space", "disk_bw", "inet_up",
    "inet_down", "direct_port_count", "duration", "cuda_max_good", "reliability", "reliability2", "dlperf",
}  # fmt: skip


@dataclass
class Search:
    """What somebody looks for."""

    conditions: dict[str, Any] = field(default_factory=dict)
    order: list[tuple[str, bool]] = field(default_factory=list)
    interruptible: bool = False
    limit: int | None = None
    disk_gb: float = DEFAULT_DISK_GB

    @classmethod
    def from_query(cls, query: Mapping[str, Any]) -> Search:
        """From a JSON query: conditions, and `order`, `type`, `limit` and `allocated_storage` among them."""
        conditions = {name: value for name, value in query.items() if name not in _IGNORED}
        order = parse_order(conditions.pop("order", None))
        kind = conditions.pop("type", None) or "on-demand"
        if kind not in _KINDS:
            raise QueryError(f"there is no type {kind!r}; use on-demand, bid or reserved")
        limit = conditions.pop("limit", None)
        disk = conditions.pop("allocated_storage", None)
        search = cls(
            conditions=conditions,
            order=order,
            interruptible=_KINDS[kind],
            limit=None if limit is None else int(_number("limit", limit)),
            disk_gb=DEFAULT_DISK_GB if disk is None else _number("allocated_storage", disk),
        )
        search.conditions = {_column(name): _operands(name, value) for name, value in search.conditions.items()}
        return search

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Search:
        """From a URL: `q` holds a JSON query; every other parameter adds to it, a capacity as the least wanted."""
        query: dict[str, Any] = {}
        for name, value in parameters.items():
            if name != "q":
                query[name] = {"gte": value} if name in _CAPACITIES else value
        if "q" in parameters:
            try:
                nested = json.loads(parameters["q"])
            except ValueError as error:
                raise QueryError(f"q is not JSON: {error}") from None
            if not isinstance(nested, dict):
                raise QueryError("q must be a JSON object")
            query |= nested
        return cls.from_query(query)

    def among(self, offers: Iterable[Offer]) -> list[dict[str, Any]]:
        """The offers that fit, in order."""
        rows = [offer.row(self.disk_gb, interruptible=self.interruptible) for offer in offers]
        if not rows:
            return []
        check_columns(self.conditions, rows[0])
        check_columns(dict(self.order), rows[0])
        fitting = ordered([row for row in rows if matches(row, self.conditions)], [*self.order, ("id", False)])
        return [dict(row) for row in fitting[: self.limit]]


def _column(name: str) -> str:
    return "driver_vers" if name == "driver_version" else name


def _operands(name: str, value: Any) -> Any:
    """Versions of drivers are compared as numbers."""
    if name != "driver_version":
        return value
    if isinstance(value, Mapping):
        return {one: _operands(name, operand) for one, operand in value.items()}
    if isinstance(value, list):
        return [_operands(name, one) for one in value]
    if isinstance(value, str) and "." in value:
        try:
            return driver_number(value)
        except ValueError:
            raise QueryError(f"driver_version: {value!r} is not like 535.86.05") from None
    return value


def _number(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise QueryError(f"{name}: {value!r} is not a number from 0 up")
    return number
