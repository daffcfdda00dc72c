"""What `robot`, `pabot` and `robot --rerunfailed` with `rebot --merge` leave in their output directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from robot.api import ExecutionResult

from rekindle.run_folder import closed_runs
from rekindle.waiting import wait_until

BILLING = """
from library_parts.results import BILL, bill_of_run, keep, output_dir
from robot.libraries.BuiltIn import BuiltIn
from rekindle.documents import write_document

def settle_bill(usd: float):
    keep(write_document(output_dir(), "bill", {"billed_usd": usd, "agrees": True}))
    BuiltIn().set_suite_metadata(BILL, bill_of_run(f"${usd:.4f}"), top=True)
"""
SUITE = """
*** Settings ***
Library           MetricsLibrary
Library           ../billing.py
Suite Setup       Should Be Equal    ${DISK}    free
Suite Teardown    Settle Bill    %s

*** Variables ***
${DISK}           free
${RESULT}         lost

*** Test Cases ***
Files Are Restored
    GROUP    [1/1] Restore
        Should Be Equal    ${RESULT}    restored
    END
    [Teardown]    Publish Report

Machine Is Destroyed
    No Operation
    [Teardown]    Publish Report
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan").mkdir()
    (tmp_path / "billing.py").write_text(BILLING)
    for name, usd in (("hibernate", "0.03"), ("wake", "0.01")):
        (tmp_path / "plan" / f"{name}.robot").write_text(SUITE % usd)
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
    bills = {path.name for path in (folder / "results").glob("bill_*.json")}
    assert names(first) | names(second) == {"log.html", "report.html", "output.xml", *reports, *bills}
    assert not names(first) & names(second) & reports


def test_a_run_of_several_libraries_is_closed_once(folder: Path) -> None:
    """Each of them brings the listener that closes it."""
    suite = folder / "plan" / "wake.robot"
    suite.write_text(suite.read_text().replace("Suite Setup", "Library           ProvisioningLibrary\nSuite Setup"))
    run(folder, "robot", "--outputdir", "results", "plan/wake.robot")
    assert [path.name for path in (folder / "results" / "runs").iterdir()] == [kept(folder)[-1].name]


def test_the_number_of_kept_runs_is_limited(folder: Path) -> None:
    for _ in range(2):
        run(folder, "robot", "--outputdir", "results", "--variable", "KEPT_RUNS:1", "plan/wake.robot")
    assert len(kept(folder)) == 1


def test_names_that_the_user_gave_are_kept_and_absent_files_missed_by_no_one(folder: Path) -> None:
    run(folder, "robot", "--outputdir", "results", "--log", "story.html", "--report", "NONE", "plan/wake.robot")
    (only,) = kept(folder)
    assert {"story.html", "output.xml"} == {name for name in names(only) if not name.endswith(".json")}


def test_a_dry_run_leaves_no_run_folder(folder: Path) -> None:
    run(folder, "robot", "--outputdir", "results", "--dryrun", "plan/wake.robot")
    assert not (folder / "results" / "runs").exists()


def test_a_suite_that_python_code_runs_without_files_leaves_no_run_folder(folder: Path) -> None:
    (folder / "quiet.robot").write_text(
        "*** Settings ***\nLibrary    MetricsLibrary\n*** Test Cases ***\nOne\n    Log    1"
    )
    code = "from robot.running import TestSuite; TestSuite.from_file_system('quiet.robot').run(output=None)"
    subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, timeout=60, check=True)
    assert {path.name for path in folder.iterdir()} == {"billing.py", "plan", "quiet.robot"}


def test_the_processes_of_pabot_are_one_run(folder: Path) -> None:
    run(folder, "pabot", "--processes", "2", "--artifacts", "json", "--outputdir", "results", "plan")
    (only,) = wait_until("the run to be closed", lambda: kept(folder), bool, timeout=10).value
    assert (folder / "results" / "latest").resolve() == only
    assert (only / "log.html").read_text() == (folder / "results" / "log.html").read_text()
    copied = {path.name for path in (folder / "results").glob("*.json")}
    own = {str(path.relative_to(folder / "results")) for path in folder.glob("results/pabot_results/*/*.json")}
    assert len(copied) == len(own) == 4 + 2
    assert names(only) == {"log.html", "report.html", "output.xml", *copied, *own}


def first_screen(output: Path) -> dict[str, str]:
    result = ExecutionResult(str(output))
    assert [message.message for message in result.errors.messages] == []
    metadata = result.suite.metadata
    return {name: value for name, value in metadata.items() if not name.startswith("Pabot")}


@pytest.mark.parametrize("split", [(), ("--testlevelsplit",)], ids=["by suite", "by test"])
def test_pabot_shows_all_tests_and_the_sum_of_all_bills(folder: Path, split: tuple[str, ...]) -> None:
    run(folder, "pabot", "--processes", "2", *split, "--outputdir", "results", "plan")
    shown = first_screen(folder / "results" / "output.xml")
    bill = shown.pop("Bill")
    assert bill.startswith("$0.0800 in 4 bills: $0.0" if split else "$0.0400 in 2 bills: $0.0")
    assert bill.endswith("; each bill agrees with what was measured")
    assert {name: starts(entry) for name, entry in shown.items()} == {
        "Hibernate": ["✓ *Machine Is Destroyed*", "✗ *Files Are Restored*"],
        "Wake": ["✓ *Machine Is Destroyed*", "✗ *Files Are Restored*"],
    }


def starts(entry: str) -> list[str]:
    """Return the verdict and the test of each line of an entry."""
    return sorted(line.removeprefix("- ").partition(":")[0] for line in entry.splitlines())


@pytest.mark.parametrize(("first", "failure"), [("robot", "DISK:full"), ("pabot", "RESULT:lost")])
def test_a_merged_log_shows_the_repeated_tests_as_they_ended_and_the_sum_of_both_bills(
    folder: Path, first: str, failure: str
) -> None:
    run(folder, first, "--outputdir", "results", "--variable", failure, "plan")
    wait_until("the run to be closed", lambda: kept(folder), bool, timeout=10)
    repeat = ("--rerunfailed", "results/output.xml", "--output", "repeated.xml", "--variable", "RESULT:restored")
    run(folder, "robot", "--outputdir", "results", *repeat, "plan")
    run(folder, "rebot", "--merge", "--output", "merged.xml", "results/output.xml", "results/repeated.xml")
    shown = first_screen(folder / "merged.xml")
    assert shown.pop("Bill") == (
        "$0.0800: $0.0400 before, $0.0400 in this run of failed tests; each bill agrees with what was measured"
    )
    passed = ["✓ *Files Are Restored*", "✓ *Machine Is Destroyed*", "✓ *Setup and teardown*"]
    assert {name: starts(entry) for name, entry in shown.items()} == {"Hibernate": passed, "Wake": passed}


def test_the_bill_of_a_run_that_is_repeated_twice_counts_once(folder: Path) -> None:
    run(folder, "robot", "--outputdir", "results", "plan/wake.robot")
    for before, after in (("output", "second"), ("second", "third")):
        repeat = ("--rerunfailed", f"results/{before}.xml", "--output", f"{after}.xml")
        run(folder, "robot", "--outputdir", "results", *repeat, "plan/wake.robot")
    assert first_screen(folder / "results" / "third.xml")["Bill"].startswith("$0.0300: $0.0200 before, $0.0100 in")


def test_the_console_of_pabot_shows_the_steps_of_all_processes(folder: Path) -> None:
    console = run(folder, "pabot", "--processes", "2", "--outputdir", "results", "plan")
    for suite in ("Hibernate", "Wake"):
        assert f"\n{suite}: [1/1] Restore…\n{suite}: [1/1] Restore: 0.0 s ✗ failed\n" in _only(suite, console)


def _only(suite: str, console: str) -> str:
    return "\n" + "".join(f"{line}\n" for line in console.splitlines() if line.startswith(f"{suite}: "))
