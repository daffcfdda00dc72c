"""Runs that share a cloud and its bucket, at the same time or one after the other, do not make each other red."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.bucket_lease import FOLDER as LEASES
from rekindle.kept_manifests import FOLDER as MANIFESTS
from rekindle.kept_manifests import SET_ASIDE
from tests.suites_under_test import WITHIN, Ended, Run, Stage, ended

HIBERNATES = ("--test", "Machine Is Hibernated Step By Step")
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


def test_two_runs_of_phase_3_at_once_are_green_and_leave_nothing(stage: Stage, tmp_path: Path) -> None:
    for run in at_once(*(stage.sandbox(tmp_path / name, "--include", "phase3") for name in "ab")):
        run.passed()
    assert stage.rented() == {}
    assert keys(stage, "restic/snapshots/") == keys(stage, "restic/data/") == keys(stage, "rekindle/") == []


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
