"""A published report lists every failure of its test, with the values that the failed keyword's error carries."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from robot import running

LIBRARY = """
from rekindle.errors import Mismatch

def manifest_should_fit():
    "Compares the manifest with the machine. In two sentences."
    raise Mismatch("Snapshot 41 cannot be restored. Details.", expected="9 files", actual="8 files")

def machine_should_be_gone():
    "Asks the market."
    raise ValueError("no machine id")
"""
SUITE = """
*** Settings ***
Library    MetricsLibrary
Library    {library}

*** Keywords ***
Check
    Run Keyword And Expect Error    *    Machine Should Be Gone
    Wait Until Keyword Succeeds    2x    0s    Manifest Should Fit

*** Test Cases ***
Workspace Is Whole
    [Setup]    Run Keyword And Continue On Failure    Check
    No Operation
    [Teardown]    Publish Report
"""


def _published(tmp_path: Path, suite: str) -> dict[str, Any]:
    library = tmp_path / "checks.py"
    library.write_text(LIBRARY)
    quiet = io.StringIO()
    running.TestSuite.from_string(suite.format(library=library)).run(
        output=None, outputdir=str(tmp_path), stdout=quiet, stderr=quiet
    )
    (report,) = tmp_path.glob("*_report_*.json")
    return dict(json.loads(report.read_text()))


def test_a_report_that_cannot_be_written_leaves_the_verdict(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in the way").write_text("A file, where the output directory would be.")
    library = tmp_path / "checks.py"
    library.write_text(LIBRARY)
    quiet, warnings = io.StringIO(), io.StringIO()
    done = running.TestSuite.from_string(SUITE.format(library=library)).run(
        output=None, outputdir=str(tmp_path / "in the way"), stdout=quiet, stderr=warnings
    )
    (test,) = done.suite.tests
    assert test.message.endswith("The last error was: Snapshot 41 cannot be restored. Details.")
    assert "teardown" not in test.message
    assert "A report is missing: " in warnings.getvalue()
    assert "✗ Snapshot 41 cannot be restored" in capfd.readouterr().out


def test_the_check_that_failed_is_listed_with_its_values(tmp_path: Path) -> None:
    report = _published(tmp_path, SUITE)
    assert report["checks"] == [
        {
            "what": "Manifest Should Fit",
            "witness": "checks",
            "counted": {},
            "passed": False,
            "expected": "9 files",
            "actual": "8 files",
            "message": "Snapshot 41 cannot be restored. Details.",
        }
    ]
    assert report["validation"]["cause"] == "Snapshot 41 cannot be restored."


def test_an_error_of_any_library_is_listed(tmp_path: Path) -> None:
    report = _published(
        tmp_path, SUITE.replace("Run Keyword And Continue On Failure    Check", "Machine Should Be Gone")
    )
    (check,) = report["checks"]
    assert (check["what"], check["expected"]) == ("Machine Should Be Gone", "Asks the market.")
    assert check["actual"] == "ValueError: no machine id"
