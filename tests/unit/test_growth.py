"""How the time grows with the number of machines that are lost at once: read off the failovers, told in a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rekindle.cycles import Cycle, Failovers
from rekindle.failover import Failover
from rekindle.growth import HEADING, Growth, Row
from rekindle.ticks import Loss
from tests.unit.test_cycles import failed_over


def lost(number: int, begun: float, rto: float, error: str | None = None) -> Cycle:
    cycle = failed_over(number, rto, 0.25, error)
    assert isinstance(cycle.failover, Failover)
    cycle.failover.begun_at = begun
    cycle.failover.loss = Loss(0.25, 3, ())
    return cycle


def test_all_are_back_when_the_last_one_is() -> None:
    row = Row.of(Failovers(3, [lost(1, 100.0, 2.0), lost(2, 100.5, 5.0), lost(3, 100.25, 3.0)], "machine"))
    assert (row.machines, row.succeeded, row.all_back_sec) == (3, 3, 5.5)
    assert (row.rto_p50_sec, row.rto_max_sec, row.rpo_p95_sec) == (3.0, 5.0, 0.25)
    assert row.cells() == ["3", "3", "5.50", "1.83", "3.00", "4.80", "5.00", "0.25"]


def test_where_none_came_back_no_number_is_told() -> None:
    row = Row.of(Failovers(1, [lost(1, 100.0, 2.0, error="It failed.")], "machine"))
    assert (row.succeeded, row.all_back_sec, row.rto_p95_sec) == (0, None, None)
    assert set(row.cells()[2:]) == {"none came back"}
    assert Growth([row]).headline() == []


def test_the_table_is_the_same_everywhere() -> None:
    row = Row(1, 1, 2.0, 2.0, 2.0, 2.0, 0.5)
    growth = Growth([row, replace(row, machines=20, succeeded=19)])
    heading, first, second = growth.lines()
    assert heading.split("  ")[1].strip() == HEADING[0]
    assert first.split() == ["1", "1", "2.00", "2.00", "2.00", "2.00", "2.00", "0.50"]
    assert second.split()[:4] == ["20", "19", "2.00", "0.10"]
    assert growth.metadata().splitlines()[0].startswith("| =lost at once= |")
    assert "".join(growth.html()).count("<tr>") == 3
    rows: Any = growth.document()["growth"]
    assert [one["machines"] for one in rows] == [1, 20]


@pytest.mark.parametrize("number", [1, 20])
def test_a_machine_that_failed_is_named(number: int) -> None:
    failovers = Failovers(20, [lost(number, 0, 1, error="It stayed lost.")], "machine")
    with pytest.raises(AssertionError, match=rf"^Machine {number} of 20 failed: It stayed lost\."):
        failovers.raise_unless_all_succeeded()
    rows: Any = failovers.document()["machines"]
    assert [row["machine"] for row in rows] == [number]
