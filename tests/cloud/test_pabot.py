"""Several runs at once on one cloud: nothing is shared but the cloud, and nobody's machine is touched by another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from robot.api import ExecutionResult

from rekindle.waiting import hold_for, wait_until
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.suites_under_test import QUICK, WITHIN, Stage

SMALL = tuple(
    word for variable in ("CYCLES:2", "MANY_FILES:200", "LARGE_FILE_MB:2") for word in ("--variable", variable)
)


def machines_of(report: dict[str, Any]) -> set[int]:
    return {int(machine["instance_id"]) for machine in report["cost"]["machines"]}


@pytest.mark.nightly
def test_pabot_runs_phase_4_on_one_cloud(own_cloud: CloudUnderTest, tmp_path: Path) -> None:
    """The cloud is down at first, so that both processes want to start it."""
    folder = tmp_path / "results"
    program = str(Path(sys.executable).with_name("pabot"))
    pabot = ("--processes", "2", "--artifacts", "json")
    options = (*pabot, "--outputdir", str(folder), "--variable", f"STATE_DIR:{own_cloud.state_dir}")
    done = subprocess.run(
        [program, *options, *QUICK, *SMALL, "--include", "phase4", str(PROJECT_DIR / "suites")],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * WITHIN,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    suite = ExecutionResult(str(folder / "output.xml")).suite
    assert {test.status for test in suite.all_tests} == {"PASS"}
    reports = {path: json.loads(path.read_text()) for path in folder.glob("pabot_results/*/*_report_*.json")}
    assert {report["test_name"] for report in reports.values()} == {
        "large_snapshot",
        "many_files",
        "multiple_failovers",
    }
    # The reports are linked from the log of all runs together.
    linked = (folder / "log.html").read_text()
    assert all(path.name in linked for path in folder.glob("*_report_*.json"))
    # Each machine was rented, destroyed and paid for in one run alone, under the label of that run.
    rented = [machines_of(report) for report in reports.values()]
    assert sum(map(len, rented)) == len(set.union(*rented)) == 2 + 2 + 3
    # The labels of each process are its own, because its watchdog goes by them; the run is one.
    outputs = [(path.parent / "output.xml").read_text() for path in reports]
    labels = [set(re.findall(r"label rekindle-(\d+-\w+)-\d+", output)) for output in outputs]
    assert len(set.union(*labels)) == len(labels) == 3
    (run,) = {run for output in outputs for run in re.findall(r'name="Run">([^<]*)<', output)}
    kept = folder / "runs" / run
    wait_until("the run to be closed", kept.is_dir, bool, timeout=10)
    assert (kept / "log.html").read_text() == linked


@pytest.mark.nightly
def test_a_run_that_is_killed_takes_no_other_with_it(stage: Stage, tmp_path: Path) -> None:
    failovers = ("--test", "Machine Fails Over Again And Again", *SMALL)
    doomed = stage.sandbox(tmp_path / "doomed", *failovers, "--variable", "CYCLES:50")
    lasting = stage.sandbox(tmp_path / "lasting", *failovers, "--variable", "CYCLES:3")
    with doomed.start() as killed, lasting.start() as survivor:
        assert killed.stdout
        for line in killed.stdout:
            if "[5/7]" in line:
                break
        labels = set(stage.rented().values())
        killed.kill()
        killed.stdout.read()
        console, _ = survivor.communicate(timeout=WITHIN)
    assert survivor.returncode == 0, console
    runs = {label.rsplit("-", 2)[0] for label in labels}
    assert len(runs) == 2, labels
    wait_until("nothing to be rented", stage.rented, lambda there: not there, timeout=10)
    hold_for("nothing to be rented", stage.rented, lambda there: not there, seconds=1)
