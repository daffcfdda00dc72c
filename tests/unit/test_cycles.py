"""What is said of failovers in a row: a cycle that did not run counts, and no failure hides behind the weather."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.budget import Reservation
from rekindle.cycle_chart import Bar, chart
from rekindle.cycles import COMPARED, Cycle, Failovers, compared, percentile, phases_of, statistics_of
from rekindle.errors import Mismatch, RekindleError, Unknown, Weather
from rekindle.failover import Failover, Identity
from rekindle.rented import RentedMachine
from rekindle.report import Check, Report, Step
from rekindle.ticks import Loss


def cycle(number: int, seconds: float = 4.0, error: str | None = None, failed_in: str | None = None) -> Cycle:
    return Cycle(
        number=number,
        nonce="n" * number,
        old=number,
        new=None if error else number + 1,
        snapshot_id=f"snapshot{number}",
        phases={"snapshot": seconds / 4, "restore": seconds / 2},
        seconds=seconds,
        files=0 if error else 10,
        bytes=0 if error else 1000,
        error=error,
        failed_in=failed_in,
    )


def failed_over(number: int, rto: float, rpo: float | None, error: str | None = None) -> Cycle:
    """A cycle about a failover of the product's own."""
    old = RentedMachine(number, "label", "RTX 4090", 0.5, 0.0, number, Reservation("", 0.0))
    expected: Any = None
    failover = Failover(old, Identity(number, "key", "boot"), expected, wall_seconds=rto)
    failover.loss = None if rpo is None else Loss(rpo, 3, ("ticks/1.txt",))
    return replace(cycle(number, error=error), failover=failover)


LOST = "Restored workspace differs from the manifest: 1 missing."
NO_OFFERS = "WEATHER: No GPU offers available under $0.50/h."
NO_ANSWER = "UNKNOWN: The bucket does not answer."


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=30))
def test_statistics_are_those_of_the_textbook(values: list[float]) -> None:
    found = statistics_of(values)
    assert found.count == len(values)
    assert (found.min, found.max) == (min(values), max(values))
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.stdev == pytest.approx(statistics.stdev(values))
    assert found.p50 == pytest.approx(statistics.median(values))
    assert found.p95 == pytest.approx(statistics.quantiles(values, n=20, method="inclusive")[18])


def test_of_a_single_value_everything_is_that_value() -> None:
    found = statistics_of([3.0])
    assert (found.mean, found.min, found.max, found.stdev, found.p50, found.p95) == (3, 3, 3, 0, 3, 3)


def test_a_percentile_lies_between_two_values_in_proportion() -> None:
    assert percentile([10, 20], 95) == 19.5
    assert percentile([30, 10, 20], 50) == 20


def test_all_is_well_when_all_that_were_wanted_succeeded() -> None:
    failovers = Failovers(2, [cycle(1), cycle(2)])
    failovers.raise_unless_all_succeeded()
    assert failovers.rate == 100
    assert failovers.score() == "Failovers that succeeded: 2 of 2 (100 %)."


def test_a_cycle_that_did_not_run_counts_against_the_rate() -> None:
    failovers = Failovers(5, [cycle(1), cycle(2), cycle(3, error=LOST, failed_in="restore")])
    assert failovers.rate == 40
    with pytest.raises(Mismatch) as raised:
        failovers.raise_unless_all_succeeded()
    assert str(raised.value) == (
        f"Cycle 3 of 5 failed in restore: {LOST}\nFailovers that succeeded: 2 of 5 (40 %); 2 did not run."
    )


def test_a_run_that_came_to_no_cycle_is_no_success() -> None:
    with pytest.raises(Mismatch, match=r"^Failovers that succeeded: 0 of 5 \(0 %\); 5 did not run\.$"):
        Failovers(5).raise_unless_all_succeeded()


@pytest.mark.parametrize(
    ("errors", "kind", "message"),
    [
        (
            [NO_OFFERS],
            Weather,
            (
                "WEATHER: Cycle 1 of 1 failed in provision: No GPU offers available under $0.50/h.\n"
                "Failovers that succeeded: 0 of 1 (0 %)."
            ),
        ),
        (
            [NO_OFFERS, LOST],
            Mismatch,
            (
                "Cycle 1 of 2 failed in provision (weather): No GPU offers available under $0.50/h.\n"
                f"Cycle 2 of 2 failed in provision: {LOST}\nFailovers that succeeded: 0 of 2 (0 %)."
            ),
        ),
        (
            [NO_OFFERS, NO_ANSWER],
            Unknown,
            (
                "UNKNOWN: Cycle 1 of 2 failed in provision (weather): No GPU offers available under $0.50/h.\n"
                "Cycle 2 of 2 failed in provision (unknown): The bucket does not answer.\n"
                "Failovers that succeeded: 0 of 2 (0 %)."
            ),
        ),
    ],
)
def test_a_failure_of_the_product_does_not_hide_behind_the_weather(
    errors: list[str], kind: type[RekindleError], message: str
) -> None:
    cycles = [cycle(number, error=error, failed_in="provision") for number, error in enumerate(errors, 1)]
    with pytest.raises(kind) as raised:
        Failovers(len(errors), cycles).raise_unless_all_succeeded()
    assert type(raised.value) is kind
    assert str(raised.value) == message


def test_statistics_are_of_the_cycles_that_succeeded() -> None:
    failovers = Failovers(3, [cycle(1, 4), cycle(2, 100, error=LOST), cycle(3, 8)])
    found = failovers.statistics()
    assert list(found) == ["snapshot", "restore", "total"]
    assert (found["total"].count, found["total"].mean, found["restore"].max) == (2, 6, 4)
    assert Failovers(3, [cycle(1, error=LOST)]).statistics() == {}


def test_the_report_has_every_cycle_and_the_figures() -> None:
    report = Report("multiple_failovers")
    report.sections.append(Failovers(4, [cycle(1), cycle(2, error=LOST, failed_in="restore"), cycle(3, 6)]))
    document = report.document(passed=False, error=LOST)
    rows = document["cycles"]
    assert isinstance(rows, list)
    assert [row["success"] for row in rows if isinstance(row, dict)] == [True, False, True]
    assert rows[1] == {
        "cycle": 2,
        "success": False,
        "nonce": "nn",
        "old_instance_id": "2",
        "new_instance_id": None,
        "snapshot_id": "snapshot2",
        "timings": {"snapshot_sec": 1, "restore_sec": 2, "total_sec": 4},
        "files_compared": 0,
        "bytes_compared": 0,
        "failed_in": "restore",
        "error": LOST,
    }
    metrics = document["metrics"]
    assert isinstance(metrics, dict)
    assert (metrics["success_rate_percent"], metrics["cycles_run"], metrics["files_compared"]) == (50, 3, 20)
    assert (metrics["failover_mean_sec"], metrics["failover_p95_sec"]) == (5, 5.9)
    assert "2 of 4 failovers, mean 5.0 s, p95 5.9 s" in report.headline()


def test_rto_and_rpo_are_told_over_the_cycles_that_succeeded() -> None:
    cycles = [failed_over(1, 2, 0.2), failed_over(2, 90, 9, error=LOST), failed_over(3, 4, 0.6)]
    failovers = Failovers(3, cycles)
    found = failovers.statistics()
    assert list(found) == ["snapshot", "restore", "total", "rto", "rpo"]
    assert (found["rto"].count, found["rto"].p50, found["rto"].max) == (2, 3, 4)
    metrics = failovers.metrics()
    assert (metrics["rto_p95_sec"], metrics["rpo_mean_sec"], metrics["rpo_min_sec"]) == (3.9, 0.4, 0.2)
    assert failovers.headline() == ["2 of 3 failovers", "RTO mean 3.0 s, p95 3.9 s", "RPO mean 0.4 s, p95 0.6 s"]
    row = failovers.cycles[0].document()
    assert (row["rto_sec"], row["rpo_sec"]) == (2, 0.2)
    assert isinstance(row["failover"], dict)
    assert row["failover"]["lost_files"] == ["ticks/1.txt"]
    told = [" ".join(line.split()) for line in failovers.lines()]
    assert told[1] == "cycle snapshot restore total rto rpo compared"
    assert told[2] == "1 1.00 2.00 4.00 2.00 0.20 10 files ✓"
    assert "RTO 3" in "".join(failovers.html())


def test_where_nothing_was_written_no_loss_is_told() -> None:
    found = Failovers(2, [failed_over(1, 2, None), failed_over(2, 4, 0.5)]).statistics()
    assert (found["rto"].count, found["rpo"].count) == (2, 1)


def test_the_table_on_the_console_tells_what_became_of_each() -> None:
    lines = Failovers(4, [cycle(1), cycle(2, error=LOST, failed_in="restore")]).lines()
    told = [" ".join(line.split()) for line in lines]
    assert told[1] == "cycle snapshot restore total compared"
    assert told[2] == "1 1.00 2.00 4.00 10 files ✓"
    assert told[3] == "2 1.00 2.00 4.00 0 files ✗ failed in restore"
    assert told[4:6] == ["3 did not run", "4 did not run"]
    assert told[-1] == "Failovers that succeeded: 1 of 4 (25 %); 2 did not run."


def test_without_any_cycle_there_is_still_a_table_and_a_picture() -> None:
    failovers = Failovers(1)
    assert "did not run" in "\n".join(failovers.lines())
    assert "did not run" in "".join(failovers.html())


def test_phases_are_the_outermost_steps_and_add_up() -> None:
    steps = [
        Step("[1/2] Restore", 0, 1, passed=True, depth=1),
        Step("inner", 0, 1, passed=True, depth=2),
        Step("[1/2] Restore", 2, 2, passed=True, depth=1),
        Step("[2/2] Verify it", 4, 1, passed=True, depth=1),
    ]
    assert phases_of(steps) == {"restore": 3, "verify_it": 1}
    assert phases_of([]) == {}


def test_only_files_that_were_compared_on_a_machine_count() -> None:
    checks = [
        Check("manifest taken", {"files": 5, "bytes": 50}, "SSH"),
        Check(COMPARED, {"files": 3, "bytes": 30}, "SSH"),
    ]
    assert compared(checks) == (3, 30)
    assert compared(checks[:1]) == (0, 0)


def test_the_picture_shows_each_phase_and_marks_what_failed() -> None:
    bars = [
        Bar("Cycle 1", {"snapshot": 1, "restore": 3}, 4),
        Bar("Cycle <2>", {"snapshot": 1}, 1, "failed in & around"),
        Bar("Cycle 3", {}, 0, "did not run"),
    ]
    picture = chart(bars)
    assert picture.count("<title>") == 3
    assert "Cycle 1, restore: 3.00 s" in picture
    assert "✗ failed in &amp; around" in picture
    assert "Cycle &lt;2&gt;" in picture
    assert picture.count('fill="none"') == 1
    assert chart([]).startswith("<svg")
