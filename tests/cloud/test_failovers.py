"""Failovers in a row on a cloud that loses things in one of them, that is slow, or whose user changes his mind."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rekindle.embedded import EmbeddedCloud
from rekindle.waiting import wait_until
from tests.nightly import nightly_but
from tests.suites_under_test import WITHIN, Ended, Run, Stage

TEST = "Machine Fails Over Again And Again"
FAILOVERS = ("--test", TEST)


def cycles(wanted: int, after_failed: str = "stop") -> tuple[str, ...]:
    return (*FAILOVERS, "--variable", f"CYCLES:{wanted}", "--variable", f"AFTER_FAILED_CYCLE:{after_failed}")


def only(ended: Ended) -> dict[str, Any]:
    (report,) = ended.reports()
    return report


class Nth:
    """Acts at one of several events only."""

    def __init__(self, number: int, act: Callable[[Mapping[str, int]], None]) -> None:
        self._number, self._act = number, act
        self.seen = 0

    def __call__(self, data: Mapping[str, int]) -> None:
        self.seen += 1
        if self.seen == self._number:
            self._act(data)


def lose_a_file(stage: Stage, data: Mapping[str, int]) -> None:
    small = stage.workspace(data["instance_id"]) / "auto-hibernation-test-more" / "small"
    next(small.iterdir()).unlink()


@pytest.mark.nightly
def test_failovers_succeed_and_every_machine_is_paid_for(stage: Stage, tmp_path: Path) -> None:
    ended = stage.sandbox(tmp_path, *cycles(2)).to_its_end()
    ended.passed()
    report = only(ended)
    assert report["metrics"]["success_rate_percent"] == 100
    first, second = report["cycles"]
    assert first["new_instance_id"] == second["old_instance_id"]
    assert first["nonce"] != second["nonce"]
    assert first["snapshot_id"] != second["snapshot_id"]
    assert min(cycle["files_compared"] for cycle in (first, second)) > 20
    phases = ["change", "snapshot", "audit", "provision", "restore", "verify", "destroy", "total"]
    assert list(report["statistics"]) == phases
    assert {found["count"] for found in report["statistics"].values()} == {2}
    machines = report["cost"]["machines"]
    assert [machine["gone"] for machine in machines] == [True] * 3
    assert sum(machine["market_bill_usd"] for machine in machines) == pytest.approx(
        report["cost"]["market_bill_usd"], abs=1e-5
    )
    assert "Expected cost: free, on the embedded cloud (3 machines)" in ended.console
    left = {one.key.rpartition("/")[2][:8] for one in stage.store.list("restic/snapshots/")}
    assert not left & {cycle["snapshot_id"][:8] for cycle in (first, second)}
    assert stage.rented() == {}


@pytest.mark.nightly
def test_a_file_lost_in_one_cycle_is_found_and_the_rest_does_not_run(stage: Stage, tmp_path: Path) -> None:
    with stage.at("restore.finished", Nth(2, lambda data: lose_a_file(stage, data))):
        ended = stage.sandbox(tmp_path, *cycles(4)).to_its_end()
    assert re.fullmatch(
        r"Cycle 2 of 4 failed in verify: Restored workspace differs from the manifest: 1 changed, 1 missing of .*, "
        r"missing auto-hibernation-test-more/small/\d+\.txt\.\n"
        r"Failovers that succeeded: 1 of 4 \(25 %\); 2 did not run\.",
        ended.failures[TEST],
    ), ended.failures[TEST]
    report = only(ended)
    assert report["validation"]["success"] is False
    assert [cycle["success"] for cycle in report["cycles"]] == [True, False]
    assert report["statistics"]["total"]["count"] == 1
    assert [machine["gone"] for machine in report["cost"]["machines"]] == [True] * 3
    assert stage.rented() == {}


@pytest.mark.nightly
def test_the_run_goes_on_with_the_machine_that_still_has_the_work(stage: Stage, tmp_path: Path) -> None:
    with stage.at("restore.finished", Nth(1, lambda data: lose_a_file(stage, data))):
        ended = stage.sandbox(tmp_path, *cycles(2, "continue")).to_its_end()
    assert ended.failures[TEST].startswith("Cycle 1 of 2 failed in verify: ")
    assert ended.failures[TEST].endswith("\nFailovers that succeeded: 1 of 2 (50 %).")
    failed, good = only(ended)["cycles"]
    assert (failed["success"], good["success"]) == (False, True)
    assert failed["old_instance_id"] == good["old_instance_id"]
    assert stage.rented() == {}


@pytest.mark.nightly
def test_an_older_snapshot_cannot_pass(stage: Stage, tmp_path: Path) -> None:
    older = tmp_path / "older"

    def keep(data: Mapping[str, int]) -> None:
        shutil.copytree(stage.workspace(data["instance_id"]), older, symlinks=True)

    def restore_older(data: Mapping[str, int]) -> None:
        workspace = stage.workspace(data["instance_id"])
        shutil.rmtree(workspace / "auto-hibernation-test-more")
        for path in workspace.iterdir():
            path.unlink()
        shutil.copytree(older, workspace, symlinks=True, dirs_exist_ok=True)

    first, second = Nth(1, keep), Nth(2, restore_older)

    def both(data: Mapping[str, int]) -> None:
        first(data)
        second(data)

    with stage.at("restore.finished", both):
        ended = stage.sandbox(tmp_path / "run", *cycles(2)).to_its_end()
    message = ended.failures[TEST]
    assert re.match(r"Cycle 2 of 2 failed in verify: .* \d+ changed, \d missing, \d extra of ", message), message
    assert stage.rented() == {}


def test_a_market_without_offers_is_weather(stage: Stage, tmp_path: Path) -> None:
    """The market itself must have none: a product that only shows none would be at fault."""
    cloud = EmbeddedCloud(stage.cloud.state_dir)
    cloud.up(lease=os.getpid())
    search = {"name": "sold-out", "kind": "answer", "match": "/api/v0/(bundles|search)", "status": 200}
    try:
        with stage.at("snapshot.finished", lambda _: cloud.add_fault("market", search | {"body": {"offers": []}})):
            ended = stage.sandbox(tmp_path, *cycles(1)).to_its_end()
    finally:
        cloud.mend()
    message = ended.failures[TEST]
    assert message.startswith("WEATHER: Cycle 1 of 1 failed in provision: No GPU offers available under "), message
    assert stage.rented() == {}


@pytest.mark.nightly
def test_a_test_that_takes_too_long_ends_at_once(stage: Stage, tmp_path: Path) -> None:
    ended = stage.sandbox(tmp_path, *cycles(50), "--variable", "MACHINE_MINUTES:0.15").to_its_end()
    assert ended.failures[TEST] == "Test timeout 9 seconds exceeded."
    report = only(ended)
    assert report["metrics"]["success_rate_percent"] < 100
    assert report["cycles"][-1]["error"] == "Test timeout 9 seconds exceeded."
    assert stage.rented() == {}


@pytest.mark.nightly
def test_ctrl_c_ends_it_and_both_machines(stage: Stage, tmp_path: Path) -> None:
    run = stage.sandbox(tmp_path, *cycles(50))
    with run.start() as process:
        assert process.stdout
        for line in process.stdout:
            if "[5/7]" in line:
                break
        assert len(stage.rented()) == 2
        os.killpg(process.pid, signal.SIGINT)
        wait_until("both machines to be gone", stage.rented, lambda there: not there, timeout=10)
        process.stdout.read()
        assert process.wait(WITHIN) == 1


# ── Before anything is rented ───────────────────────────────────────────────────────────────────────────────────────


MEANINGLESS = {
    "CYCLES:many": "CYCLES must be a whole number of failovers from 1 to 1000, such as CYCLES:5; it is 'many'.",
    "AFTER_FAILED_CYCLE:wait": (
        "AFTER_FAILED_CYCLE must be stop or continue, such as AFTER_FAILED_CYCLE:continue; it is 'wait'."
    ),
    "MACHINE_MINUTES:inf": (
        "MACHINE_MINUTES must be a number of minutes from 0.1 to 1440, such as MACHINE_MINUTES:30; it is 'inf'."
    ),
}


@pytest.mark.parametrize("variable", nightly_but("AFTER_FAILED_CYCLE:wait", MEANINGLESS))
def test_a_variable_that_means_nothing_is_told(stage: Stage, tmp_path: Path, variable: str) -> None:
    ended = stage.sandbox(tmp_path, *FAILOVERS, "--variable", variable).to_its_end()
    ended.stopped_with(MEANINGLESS[variable])
    assert stage.rented() == {}


def live(stage: Stage, folder: Path, budget: str, *options: str) -> Run:
    return stage.live(folder, "--variable", f"BUDGET_USD:{budget}", *cycles(1), *options)


def test_real_money_has_to_be_meant(stage: Stage, tmp_path: Path) -> None:
    ended = live(stage, tmp_path, "30").to_its_end()
    (message,) = ended.failures.values()
    assert re.fullmatch(
        r"Parent suite setup failed:\nThese tests would rent 2 machines on the real market, for about \$\d+\.\d\d and "
        r"at most \$2\.02\. When that is meant, say so: --variable REAL:True",
        message,
    ), message
    assert re.search(r"Expected cost: \$\S+, for 2 machines and 20 minutes in all at \$\S+/h \(", ended.console)
    assert stage.rented() == {}


def test_the_budget_has_to_be_enough(stage: Stage, tmp_path: Path) -> None:
    ended = live(stage, tmp_path, "2", "--variable", "REAL:True").to_its_end()
    (message,) = ended.failures.values()
    assert "These tests can cost $2.02 (2 machines, each for up to 60 minutes at up to $1.00/h" in message
    assert "but $2.00 of BUDGET_USD is left." in message
    assert stage.rented() == {}


def test_what_is_meant_and_can_be_paid_runs(stage: Stage, tmp_path: Path) -> None:
    ended = live(stage, tmp_path, "3", "--variable", "REAL:True").to_its_end()
    ended.passed()
    assert "At most: $2.02, when each of them lives 60 minutes at $1.00/h" in ended.console
