"""The stress suites on a cloud that suffers while they run: outages, a bucket that refuses, lost machines and files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from rekindle.dumont import DumontClient
from rekindle.embedded import EmbeddedCloud
from rekindle.settings import Settings
from rekindle.waiting import wait_until
from tests.suites_under_test import TEARDOWN_FAILED, WITHIN, Stage

MEGABYTES = 64
LARGE_MODEL = (
    *("--test", "Large Model Moves To Another Machine"),
    *("--variable", f"LARGE_FILE_MB:{MEGABYTES}"),
)
MANY_FILES = (
    *("--test", "Many Small Files Move To Another Machine"),
    *("--variable", "MANY_FILES:300"),
)
FAILOVERS = ("--test", "Machine Fails Over Again And Again", "--variable", "CYCLES:2")
DATA = "restic/data/"


@pytest.fixture
def trouble(stage: Stage) -> Iterator[EmbeddedCloud]:
    """Breaks the cloud of the stage, once its repository is there; all is well again after the test."""
    cloud = EmbeddedCloud(stage.cloud.state_dir)
    cloud.up(lease=os.getpid())
    wait_until("the repository to be made", lambda: stage.store.list("restic/config"), bool, timeout=WITHIN)
    yield cloud
    cloud.mend()


def snapshots(stage: Stage) -> set[str]:
    return {one.key for one in stage.store.list("restic/snapshots/")}


class Upload:
    """Tells that a new pack has reached the bucket."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before = len(stage.store.list(DATA))
        self.seen = False

    def has_begun(self) -> bool:
        self.seen = len(self._stage.store.list(DATA)) > self._before
        return self.seen


def knows_the_model(report: Mapping[str, Any], *, machines: int) -> None:
    assert report["test_name"] == "large_snapshot"
    assert report["resources"]["large_file_bytes"] == MEGABYTES << 20
    assert len(report["cost"]["machines"]) == machines
    assert report["cost"]["estimated_total_usd"] > 0


# ── The store ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_the_store_is_back_in_time(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    upload = Upload(stage)
    trouble.stop_part_when("store", upload.has_begun, back_after=1)
    ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    ended.passed()
    assert upload.seen
    assert stage.rented() == {}


@pytest.mark.nightly
def test_the_store_is_not_back_in_time(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    before = snapshots(stage)
    trouble.stop_part_when("store", Upload(stage).has_begun, back_after=None)
    ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    report = ended.failed_with(
        r"Dumont API refused POST /api/v1/snapshots with 503: The object store does not answer: .* \(for 10 s now\)\."
    )
    knows_the_model(report, machines=1)
    assert stage.rented() == {}
    trouble.mend()
    assert snapshots(stage) == before


@pytest.mark.parametrize(
    ("state", "words"),
    [
        pytest.param(
            "full",
            r"with 503: restic on instance \d+: Save\(.*\) failed: .*internal error.*",
            marks=pytest.mark.nightly,
        ),
        ("read-only", r"with 500: restic on instance \d+: Save\(.*\) failed: .*: Access Denied\."),
    ],
    ids=["full", "read-only"],
)
def test_the_bucket_takes_nothing(
    stage: Stage, trouble: EmbeddedCloud, tmp_path: Path, state: Literal["full", "read-only"], words: str
) -> None:
    before = snapshots(stage)
    trouble.break_bucket(state)
    # As a live target: a run that opens the embedded cloud by itself mends its bucket first.
    meant = ("--variable", "REAL:True", "--variable", "BUDGET_USD:3")
    ended = stage.live(tmp_path, *LARGE_MODEL, *meant).to_its_end()
    knows_the_model(ended.failed_with(f"Dumont API refused POST /api/v1/snapshots {words}"), machines=1)
    assert stage.rented() == {}
    assert snapshots(stage) == before


@pytest.mark.nightly
def test_the_bucket_gives_nothing_away(stage: Stage, trouble: EmbeddedCloud, tmp_path: Path) -> None:
    """The snapshot cannot be deleted, neither by the test nor by its clean-up: that is said once."""
    with stage.at("restore.finished", lambda _: trouble.break_bucket("read-only")):
        ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    report = ended.failed_with(
        r"Dumont API refused DELETE /api/v1/snapshots/\w+ with 500: restic \w+: .*: Access Denied\."
    )
    knows_the_model(report, machines=2)
    assert report["metrics"]["download_mbps"] > 0
    snapshot = report["resources"]["snapshot_id"]
    assert f"Clean-up: snapshot {snapshot} is left, as " in ended.console
    assert stage.rented() == {}
    trouble.mend()
    delete(stage, snapshot)


# ── Machines ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_the_second_machine_is_taken_away_in_the_middle_of_the_restore(
    stage: Stage, trouble: EmbeddedCloud, tmp_path: Path
) -> None:
    before = snapshots(stage)
    with dumont(stage) as client, ThreadPoolExecutor(1) as spectator:

        def restored() -> list[int]:
            return [row.id for row in client.instances() if row.progress and row.progress.activity == "restore"]

        def preempt() -> None:
            (machine,) = wait_until("a restore to begin", restored, bool, timeout=WITHIN).value
            trouble.preempt(machine)

        preempted = spectator.submit(preempt)
        ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
        preempted.result()
    report = ended.failed_with(
        r"Dumont API refused POST /api/v1/snapshots/restore with 502: Instance \d+: SSH failed: .*"
        rf"{TEARDOWN_FAILED}Machine \d+ \(label \S+\) was exited, but still rented: \$\S+/h for its disk\. "
        r"It is destroyed now\."
    )
    knows_the_model(report, machines=2)
    assert report["metrics"]["upload_mbps"] > 0
    assert stage.rented() == {}
    assert snapshots(stage) == before


# ── Many files ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_one_file_that_is_lost_of_many_is_named(stage: Stage, tmp_path: Path) -> None:
    before = snapshots(stage)
    lost: list[str] = []

    def lose_one(data: Mapping[str, int]) -> None:
        workspace = stage.workspace(data["instance_id"])
        file = sorted(workspace.glob("data-set/labels/*/*.json"))[7]
        lost.append(str(file.relative_to(workspace)))
        file.unlink()

    with stage.at("restore.finished", lose_one):
        ended = stage.sandbox(tmp_path, *MANY_FILES).to_its_end()
    report = ended.failed_with(
        r"Restored workspace differs from the manifest: (1 changed, )?1 missing of 300 files .*"
        rf"missing {lost[0]}\."
    )
    assert report["test_name"] == "many_files"
    assert stage.rented() == {}
    assert snapshots(stage) == before


# ── Snapshots that stay ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
@pytest.mark.parametrize("suite", [MANY_FILES, FAILOVERS], ids=["many files", "failovers"])
def test_a_delete_that_lies_is_told_once(stage: Stage, tmp_path: Path, suite: tuple[str, ...]) -> None:
    before = snapshots(stage)
    with stage.answering(match="^DELETE .*/snapshots/", status=200, body={"success": True}):
        ended = stage.sandbox(tmp_path, *suite).to_its_end()
    lie = r"Dumont Cloud said that snapshot \w+ was deleted, but still lists it\."
    ended.failed_with(rf"{lie}(\n{lie})*")
    assert stage.rented() == {}
    left = snapshots(stage) - before
    assert len(left) == (2 if suite is FAILOVERS else 1)
    for key in left:
        delete(stage, key.rpartition("/")[2])


@pytest.mark.nightly
def test_a_snapshot_that_took_too_long_is_deleted_when_it_has_ended(stage: Stage, tmp_path: Path) -> None:
    before = snapshots(stage)
    ended = stage.sandbox(tmp_path, *LARGE_MODEL, "--variable", "LARGE_SNAPSHOT_TIMEOUT:1s").to_its_end()
    ended.failed_with(
        r"UNKNOWN: The answer of Dumont API at \S+ to POST /api/v1/snapshots was lost: no answer within 1 s\. "
        r"It may or may not have been obeyed\."
    )
    assert "Clean-up: snapshot" in ended.console
    assert stage.rented() == {}
    assert snapshots(stage) == before


def dumont(stage: Stage) -> DumontClient:
    settings = Settings.from_mapping(stage.cloud.environment)
    return DumontClient(settings.dumont_api_url, settings.dumont_email, settings.dumont_password.get_secret_value())


def delete(stage: Stage, snapshot_id: str) -> None:
    with dumont(stage) as client:
        client.delete_snapshot(snapshot_id)
