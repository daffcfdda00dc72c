"""What `robot`, `pabot` and `robot --rerunfailed` with `rebot --merge` leave in their output directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rekindle.run_folder import closed_runs
from rekindle.waiting import wait_until

SUITE = """
*** Settings ***
Library    MetricsLibrary

*** Variables ***
${RESULT}    lost

*** Test Cases ***
Files Are Restored
    Should Be Equal    ${RESULT}    restored
    [Teardown]    Publish Report

Machine Is Destroyed
    No Operation
    [Teardown]    Publish Report
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan").mkdir()
    for name in ("hibernate", "wake"):
        (tmp_path / "plan" / f"{name}.robot").write_text(SUITE)
    return tmp_path


def run(folder: Path, program: str, *options: str) -> str:
    """Run a program of Robot Framework; return its console. Failed tests are no failure of it."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name(program)), *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode < 250, done.stdout + done.stderr
    return done.stdout + done.stderr


def kept(folder: Path) -> list[Path]:
    return closed_runs(folder / "results")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


def test_each_run_keeps_its_log_and_reports(folder: Path) -> None:
    run(folder, "robot", "--outputdir", "results", "plan/wake.robot")
    (first,) = kept(folder)
    log = (first / "log.html").read_text()
    run(folder, "robot", "--outputdir", "results", "--variable", "RESULT:restored", "plan/wake.robot")
    again, second = kept(folder)
    assert again == first
    assert (first / "log.html").read_text() == log
    assert (second / "log.html").read_text() == (folder / "results" / "log.html").read_text() != log
    assert (folder / "results" / "latest").resolve() == second
    reports = {path.name for path in (folder / "results").glob("*_report_*.json")}
    assert len(reports) == 4
    assert names(first) | names(second) == {"log.html", "report.html", "output.xml", *reports}
    assert not names(first) & names(second) & reports


def test_the_number_of_kept_runs_is_limited(folder: Path) -> None:
    for _ in range(3):
        run(folder, "robot", "--outputdir", "results", "--variable", "KEPT_RUNS:2", "plan/wake.robot")
    assert len(kept(folder)) == 2


def test_names_that_the_user_gave_are_kept_and_absent_files_missed_by_no_one(folder: Path) -> None:
    run(folder, "robot", "--outputdir", "results", "--log", "story.html", "--report", "NONE", "plan/wake.robot")
    (only,) = kept(folder)
    assert {"story.html", "output.xml"} == {name for name in names(only) if not name.endswith(".json")}


def test_a_dry_run_leaves_no_run_folder(folder: Path) -> None:
    run(folder, "robot", "--outputdir", "results", "--dryrun", "plan/wake.robot")
    assert not (folder / "results" / "runs").exists()


def test_the_processes_of_pabot_are_one_run(folder: Path) -> None:
    run(folder, "pabot", "--processes", "2", "--artifacts", "json", "--outputdir", "results", "plan")
    (only,) = wait_until("the run to be closed", lambda: kept(folder), bool, timeout=10).value
    assert (folder / "results" / "latest").resolve() == only
    assert (only / "log.html").read_text() == (folder / "results" / "log.html").read_text()
    copied = {path.name for path in (folder / "results").glob("*_report_*.json")}
    own = {str(path.relative_to(folder / "results")) for path in folder.glob("results/pabot_results/*/*_report_*.json")}
    assert len(copied) == len(own) == 4
    assert names(only) == {"log.html", "report.html", "output.xml", *copied, *own}
