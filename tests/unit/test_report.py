"""What a report holds, and that it is written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rekindle.cost import Cost, Life
from rekindle.errors import Mismatch, Unknown
from rekindle.report import Report, Step
from rekindle.report_tables import checks_table, machines_table
from rekindle.timeline import timeline


def _report() -> Report:
    report = Report("auto_hibernation")
    report.start_step("[1/5] Provision")
    report.end_step(passed=True)
    report.start_step("[2/5] Create files")
    report.end_step(passed=False)
    return report


@pytest.mark.parametrize(
    ("name", "key"),
    [("[1/5] Provision", "provision_sec"), ("[2/5] Create files", "create_files_sec"), ("Wake-up!", "wake_up_sec")],
)
def test_the_name_of_a_step_is_its_key(name: str, key: str) -> None:
    assert Step(name, 0, 1, passed=True).key == key


def test_a_report_has_every_promised_key(tmp_path: Path) -> None:
    report = _report()
    report.resources |= {"instance_id": "29070710", "snapshot_id": "abc123", "test_files_count": 5}
    written = report.write(tmp_path, passed=True, error=None)
    document = json.loads(written.read_text())
    assert written.name.startswith("auto_hibernation_report_")
    assert document["test_name"] == "auto_hibernation"
    assert set(document["timings"]) == {"provision_sec", "create_files_sec", "total_sec", "total_min"}
    assert document["validation"] == {"success": True, "error": None, "cause": None}
    assert document["resources"]["test_files_count"] == 5


def test_two_reports_of_one_second_do_not_overwrite_each_other(tmp_path: Path) -> None:
    first = _report().write(tmp_path, passed=True, error=None)
    second = _report().write(tmp_path, passed=False, error="A byte was wrong.")
    assert first != second
    assert json.loads(first.read_text())["validation"]["success"] is True
    assert json.loads(second.read_text())["validation"] == {
        "success": False,
        "error": "A byte was wrong.",
        "cause": "A byte was wrong.",
    }


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o027, 0o640)])
def test_the_mode_of_a_report_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        written = _report().write(tmp_path, passed=True, error=None)
    finally:
        os.umask(before)
    assert written.stat().st_mode & 0o777 == mode


def test_nothing_is_left_behind_when_a_report_cannot_be_written(tmp_path: Path) -> None:
    report = _report()
    report.resources["broken"] = object()  # type: ignore[assignment]
    with pytest.raises(TypeError):
        report.write(tmp_path, passed=True, error=None)
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_ran_twice_counts_twice() -> None:
    report = Report("cycles")
    report.steps += [Step("[1/1] Restore", 0, 2, passed=True), Step("[1/1] Restore", 3, 4, passed=True)]
    assert report.timings()["restore_sec"] == 6


def test_nested_steps_end_inside_out() -> None:
    report = Report("nested")
    report.start_step("outer")
    report.start_step("inner")
    assert [report.end_step(passed=True).name, report.end_step(passed=True).name] == ["inner", "outer"]


def test_the_sum_of_a_step_that_did_not_run_is_unknown() -> None:
    with pytest.raises(Unknown, match="UNKNOWN: The seconds of restore cannot be summed up"):
        _report().seconds_of("provision", "restore")


def test_the_summary_tells_the_error_and_what_was_not_witnessed() -> None:
    report = _report()
    report.add_check("objects hash to their names", "bucket", objects=12, bytes=64_000_000)
    report.not_witnessed.append("market: VAST_API_KEY is not given")
    text = "\n".join(report.summary(error="One byte differs.\nDetails"))
    assert "REPORT: AUTO HIBERNATION TEST" in text
    assert "objects hash to their names: 12 objects, 64 000 000 bytes  (by bucket)" in text
    assert "not witnessed: market: VAST_API_KEY is not given" in text
    assert "Result: ✗ One byte differs." in text


def test_the_result_is_the_cause_without_the_frames_of_robot() -> None:
    error = "Setup failed:\nSeveral failures occurred:\n\n1) One byte differs.\nDetails\n\n2) Another one."
    assert "Result: ✗ One byte differs." in _report().summary(error=error)
    assert _report().document(passed=False, error=error)["validation"] == {
        "success": False,
        "error": error,
        "cause": "One byte differs.",
    }


def test_a_failed_check_is_listed_with_expected_and_actual_values() -> None:
    report = _report()
    report.add_check("manifest taken", "SSH", files=1010)
    message = "The manifest of <a> differs. Look at it."
    error = Mismatch(message, expected="1010 files", actual="1009 files")
    report.keyword_failed("Workspace Should Equal Manifest", "WorkspaceLibrary", "Compares.", message, error)
    report.keyword_failed("Run Keywords", "BuiltIn", "Executes all.", message)
    report.keyword_failed("A Caught Check", "BuiltIn", "Fails.", "This was expected by the test.")
    report.test_failed(f"Setup failed:\n{message}\n\nAlso teardown failed:\nNo keyword with name 'X' found.")
    own, later, passed = json.loads(json.dumps(report.document(passed=False, error=message)["checks"]))
    assert own == {
        "what": "Workspace Should Equal Manifest",
        "witness": "WorkspaceLibrary",
        "counted": {},
        "passed": False,
        "expected": "1010 files",
        "actual": "1009 files",
        "message": message,
    }
    assert (later["what"], later["actual"]) == ("[2/5] Create files", "No keyword with name 'X' found.")
    assert passed == {"what": "manifest taken", "witness": "SSH", "counted": {"files": 1010}, "passed": True}
    line = "✗ Workspace Should Equal Manifest: expected 1010 files; actual 1009 files  (by WorkspaceLibrary)"
    assert f"   {line}" in report.summary(error=message)
    rows = checks_table(report.checks, report.failed_checks).split("<tr")
    assert [("color:#e0332c" in row, "✗" in row) for row in rows[2:]] == [(True, True), (True, True), (False, False)]
    assert ">1010 files<" in rows[2]
    assert ">1009 files<" in rows[2]


@pytest.mark.parametrize(
    ("keyword", "library", "documentation", "expected"),
    [
        ("Machine Should Be Gone", "Ours", "Prove that a machine is gone.", "Prove that a machine is gone."),
        ("Should Be Equal", "BuiltIn", "Fails if the given objects are unequal.", "it to pass"),
    ],
)
def test_an_error_without_values_is_listed_with_what_its_keyword_expects_and_its_first_sentence(
    keyword: str, library: str, documentation: str, expected: str
) -> None:
    report = _report()
    report.keyword_failed(keyword, library, documentation, "1 != 2")
    report.test_failed("1 != 2")
    (check,) = report.failed_checks
    assert (check.expected, check.actual) == (expected, "1 != 2")


def test_the_headline_tells_the_most_that_was_checked() -> None:
    report = _report()
    report.add_check("manifest taken", "SSH", files=1010, bytes=64_000_000)
    report.add_check("snapshot is whole", "bucket", files=1009, objects=12, bytes=9)
    report.metrics["wake_up_time_sec"] = 4.25
    report.machine_gone(29070710, "RTX A4000", Cost(0.36, Life(3, 4.2)), None)
    told = "wake up time 4.2 s, checked 1 010 files, 64 000 000 bytes, 12 objects, $0.00042 estimated"
    assert report.headline() == f"{report.elapsed():.1f} s, {told}"


def test_pictures_escape_what_they_show() -> None:
    picture = timeline([Step("<b>&", 0, 1, passed=False)], 2)
    assert "&lt;b&gt;&amp;" in picture
    assert picture.startswith("<svg")
    report = Report("x")
    report.add_check("<i>", "w", files=1)
    table = checks_table(report.checks)
    assert "<i>" not in table
    assert "1 file<" in table


def test_the_cost_of_a_test_is_that_of_all_its_machines() -> None:
    report = Report("failovers")
    assert report.cost == {}
    report.machine_rented(1, "RTX A4000", 0.36, report.now() - 7)
    report.machine_gone(1, "RTX A4000", Cost(0.36, Life(9, 10)), 0.00095)
    report.machine_gone(2, "RTX 4090", Cost(0.72, Life(19, 20)), 0.0049, {"gpu": 0.0039, "upload": 0.001})
    cost = report.cost
    machines = cost.pop("machines")
    assert cost == {
        "gpu_hourly_usd": 1.08,
        "estimated_total_usd": 0.005,
        "market_bill_usd": 0.00585,
        "market_bill_parts_usd": {"GPU time": 0.0039, "traffic": 0.001},
    }
    assert report.headline().endswith("$0.0058 billed")
    assert "market_bill_parts:           GPU time $0.0039, traffic $0.0010 (traffic is not part of the estimate)" in (
        "\n".join(report.summary(error=None))
    )
    assert isinstance(machines, list)
    assert machines[1] == {
        "instance_id": "2",
        "gpu_name": "RTX 4090",
        "gpu_hourly_usd": 0.72,
        "seconds": 20,
        "estimated_usd": 0.004,
        "market_bill_usd": 0.0049,
        "measured_least_usd": 0.0038,
        "billed": {"gpu": 0.0039, "upload": 0.001},
        "difference_usd": 0.0,
        "billing_unit_usd": 0.0002,
        "bill_agrees": True,
        "gone": True,
    }
    report.standby_gone("dumont-x-1", Cost(0.036, Life(9, 10)))
    assert report.cost["standby_usd"] == 0.0001
    assert report.cost["standbys"] == [
        {"name": "dumont-x-1", "hourly_usd": 0.036, "seconds": 10, "estimated_usd": 0.0001}
    ]
    assert "machines:                    2" in "\n".join(report.summary(error=None))
    assert "<td" in machines_table(report.machines.values(), report.now())


def test_a_machine_that_is_not_gone_costs_what_it_has_cost_so_far() -> None:
    report = Report("cut off")
    report.machine_gone(1, "RTX A4000", Cost(0.36, Life(9, 10)), 0.00095)
    report.machine_rented(2, "RTX A4000", 0.36, report.now() - 100)
    report.end()
    cost = report.cost
    assert cost["estimated_total_usd"] == pytest.approx(0.011, abs=0.001)
    assert cost["market_bill_usd"] is None
    assert report.cost == cost


def test_a_check_that_was_made_several_times_is_told_once() -> None:
    report = _report()
    for files in (3, 4):
        report.add_check("workspace equals manifest", "SSH", files=files)
    report.add_check("workspace equals manifest", "another", files=1)
    text = "\n".join(report.summary(error=None))
    assert "workspace equals manifest, 2 times: 7 files  (by SSH)" in text
    assert "workspace equals manifest: 1 file  (by another)" in text
    assert len(report.document(passed=True, error=None)["checks"]) == 3  # type: ignore[arg-type]


def test_steps_within_steps_are_timed_but_not_drawn() -> None:
    report = Report("nested")
    report.start_step("outer")
    report.start_step("inner")
    report.end_step(passed=True)
    report.end_step(passed=True)
    assert [(step.name, step.depth) for step in report.steps] == [("inner", 1), ("outer", 0)]
    picture = timeline(report.steps, 1)
    assert "outer" in picture
    assert "inner" not in picture
