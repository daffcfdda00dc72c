"""Runs that share a cloud and its bucket, at the same time or one after the other, do not make each other red."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from rekindle.bucket_lease import FOLDER as LEASES
from rekindle.kept_manifests import FOLDER as MANIFESTS
from rekindle.kept_manifests import SET_ASIDE
from rekindle.waiting import wait_until
from tests.cloud.test_sweep import kill_with_guard
from tests.cloud_under_test import PROJECT_DIR
from tests.suites_under_test import WITHIN, Ended, Run, Stage, ended
from tests.wrong_clock import wrong_clock

PHASE_3 = ("--include", "phase3", "--variable", "BUDGET_USD:3")
HIBERNATES = ("--test", "Machine Is Hibernated Step By Step")
HIBERNATES_BY_PRODUCT = ("--test", "Idle Machine Is Hibernated By The Product")
WAKES = ("--suite", "wake_hibernation", "--test", "Hibernated Machine Wakes Step By Step")
WAKES_BY_PRODUCT = ("--suite", "wake_hibernation", "--test", "Hibernated Machine Is Woken By The Product")


def at_once(*runs: Run) -> list[Ended]:
    """Start all runs at the same moment, and wait for their ends."""
    processes = [run.start() for run in runs]
    consoles = [process.communicate(timeout=WITHIN)[0] for process in processes]
    return [
        ended(run.folder, process.returncode, console)
        for run, process, console in zip(runs, processes, consoles, strict=True)
    ]


def keys(stage: Stage, folder: str) -> list[str]:
    return [one.key for one in stage.store.list(folder)]


def nothing_is_left(stage: Stage) -> None:
    assert stage.rented() == {}
    assert keys(stage, "restic/snapshots/") == keys(stage, "restic/data/") == keys(stage, "rekindle/") == []


def with_conditional_writes(stage: Stage) -> Mapping[str, str]:
    """Return the same bucket at another address: behind the entrance that plays Backblaze B2."""
    inner = json.loads((stage.cloud.state_dir / "store" / "ports.json").read_text())["s3"]
    endpoint, repository = stage.cloud.environment["B2_ENDPOINT"], stage.cloud.environment["RESTIC_REPOSITORY"]
    changed = f"http://127.0.0.1:{inner}"
    return {"B2_ENDPOINT": changed, "RESTIC_REPOSITORY": repository.replace(endpoint, changed)}


def expire(stage: Stage, folder: str) -> None:
    """Let leases of dead runs last for no time at all, instead of waiting until they expire."""
    for key in keys(stage, folder):
        stage.store.put(key, json.dumps(json.loads(stage.store.read(key)) | {"seconds": -60.0}).encode())


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A checkout with a ledger of its own, as on another computer."""
    checkout = tmp_path / "elsewhere"
    for folder in ("libraries", "resources", "suites"):
        shutil.copytree(PROJECT_DIR / folder, checkout / folder)
    return checkout


def test_two_runs_of_phase_3_at_once_are_green_and_leave_nothing(stage: Stage, tmp_path: Path) -> None:
    for run in at_once(*(stage.sandbox(tmp_path / name, "--include", "phase3") for name in "ab")):
        run.passed()
    nothing_is_left(stage)


@pytest.mark.nightly
def test_runs_that_start_at_once_sweep_the_leftovers_of_a_killed_run_together(stage: Stage, tmp_path: Path) -> None:
    """Each finds the same machine and the same snapshot, and deletes them while another one does."""
    started: list[subprocess.Popen[str]] = []
    with stage.at("snapshot.finished", lambda _: kill_with_guard(psutil.Process(started[0].pid))):
        started.append(stage.sandbox(tmp_path / "killed", *HIBERNATES).start())
        started[0].communicate(timeout=WITHIN)
    assert started[0].returncode == -signal.SIGKILL
    assert stage.rented()
    assert keys(stage, "restic/snapshots/")
    for run in at_once(*(stage.sandbox(tmp_path / name, "--include", "phase3") for name in "abc")):
        run.passed()
    nothing_is_left(stage)


@pytest.mark.nightly
@pytest.mark.parametrize("conditional", [False, True], ids=["create then list", "conditional writes"])
@pytest.mark.parametrize("ahead", [-600.0, 600.0], ids=["late clock", "early clock"])
def test_runs_on_two_computers_are_green_and_leave_nothing(
    stage: Stage, elsewhere: Path, tmp_path: Path, conditional: bool, ahead: float
) -> None:
    """They share the product and the bucket, but neither the ledger nor the time."""
    store = with_conditional_writes(stage) if conditional else {}
    here = stage.live(tmp_path / "here", *PHASE_3, **store)
    there = stage.live(tmp_path / "there", *PHASE_3, **store, **wrong_clock(ahead, tmp_path / "clock"))
    for run in at_once(here, replace(there, checkout=elsewhere)):
        run.passed()
    assert (elsewhere / ".rekindle" / "ledger.db").exists()
    nothing_is_left(stage)


@pytest.mark.nightly
@pytest.mark.parametrize("ahead", [-7200.0, 7200.0])
def test_a_computer_whose_requests_the_store_refuses_disturbs_no_other_run(
    stage: Stage, elsewhere: Path, tmp_path: Path, ahead: float
) -> None:
    """A clock that is hours wrong makes S3 refuse everything: this run is red, and says why."""
    right = stage.live(tmp_path / "right", *PHASE_3)
    wrong = stage.live(tmp_path / "wrong", *PHASE_3, **wrong_clock(ahead, tmp_path / "clock"))
    green, red = at_once(right, replace(wrong, checkout=elsewhere))
    green.passed()
    assert len(red.failures) == 4
    assert all("Set this computer's clock." in message for message in red.failures.values())
    assert all("UNKNOWN: The object store" in message for message in red.failures.values())
    wait_until("the watchdog to delete", lambda: keys(stage, "restic/data/"), lambda left: not left, timeout=60)
    nothing_is_left(stage)


@pytest.mark.nightly
@pytest.mark.parametrize("conditional", [False, True], ids=["create then list", "conditional writes"])
def test_a_run_that_is_killed_while_it_wakes_a_machine_blocks_no_other(
    stage: Stage, tmp_path: Path, conditional: bool
) -> None:
    """Its hibernation is passed over as long as its lease lasts, and then set aside, because it was woken."""
    store = with_conditional_writes(stage) if conditional else {}
    budget = ("--variable", "BUDGET_USD:3")
    stage.live(tmp_path / "hibernate", *HIBERNATES_BY_PRODUCT, *budget, **store).to_its_end().passed()
    (manifest,) = keys(stage, MANIFESTS)

    def wake(name: str) -> Run:
        return stage.live(tmp_path / name, *WAKES_BY_PRODUCT, *budget, **store)

    started: list[subprocess.Popen[str]] = []
    with stage.at("restore.finished", lambda _: os.kill(started[0].pid, signal.SIGKILL)):
        started.append(wake("killed").start())
        started[0].communicate(timeout=WITHIN)
    assert started[0].returncode == -signal.SIGKILL
    assert keys(stage, MANIFESTS) == [manifest]
    held = keys(stage, LEASES)
    assert len(held) == 1

    meanwhile = wake("meanwhile").to_its_end()
    meanwhile.passed()
    assert "Passed over: snapshot " in meanwhile.console
    assert (keys(stage, MANIFESTS), keys(stage, LEASES)) == ([manifest], held)

    expire(stage, LEASES)
    later = wake("later").to_its_end()
    later.passed()
    assert "Set aside: hibernation with snapshot " in later.console
    assert "wakes it only once" in later.console
    assert keys(stage, MANIFESTS) == keys(stage, LEASES) == []

    last = wake("last").to_its_end()
    last.passed()
    assert "et aside" not in last.console
    wait_until("the machine to be gone", stage.rented, lambda left: not left, timeout=60)


def test_a_snapshot_that_was_damaged_between_two_runs_is_reported_once(stage: Stage, tmp_path: Path) -> None:
    stage.sandbox(tmp_path / "hibernate", *HIBERNATES).to_its_end().passed()
    largest = max(stage.store.list("restic/data/"), key=lambda one: one.size)
    whole = stage.store.read(largest.key)
    stage.store.put(largest.key, whole[: len(whole) // 2])
    red = stage.sandbox(tmp_path / "red", *WAKES).to_its_end()
    ((_, message),) = red.failures.items()
    assert largest.key in message
    assert len(keys(stage, SET_ASIDE)) == 2  # the manifest, and why
    assert f"Set aside {SET_ASIDE}" in red.console
    stage.store.put(largest.key, whole)  # the embedded product prunes no repository that is damaged
    stage.sandbox(tmp_path / "green", *WAKES).to_its_end().passed()
    assert keys(stage, MANIFESTS) == keys(stage, LEASES) == []


@pytest.mark.nightly
def test_a_hibernation_that_was_woken_by_a_run_that_failed_is_not_woken_again(stage: Stage, tmp_path: Path) -> None:
    """The product rents and restores; then a file differs, and the run ends red after the wake."""

    def spoil(data: object) -> None:
        assert isinstance(data, dict)
        file = next(stage.workspace(data["instance_id"]).rglob("*test-2.txt"))
        file.write_text("spoilt")

    with stage.at("restore.finished", spoil):
        red = stage.sandbox(tmp_path / "red", *WAKES_BY_PRODUCT).to_its_end()
    assert len(red.failures) == 1
    stage.sandbox(tmp_path / "green", *WAKES_BY_PRODUCT).to_its_end().passed()
    assert stage.rented() == {}
    assert keys(stage, MANIFESTS) == keys(stage, LEASES) == []
