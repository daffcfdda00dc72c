"""The large model: an honest run, runs on a cloud that loses things, mistaken users, and progress that is only seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle import progress, target
from rekindle.model_file import NAME, create_model_file
from rekindle.progress import Done, Look, growth_of_bucket, told_by_product, watched, written_on_machine
from rekindle.target import Target
from tests.cloud_under_test import CloudUnderTest
from tests.nightly import nightly_but
from tests.suites_under_test import Ended, Stage

MEGABYTES = 24
SIZE = MEGABYTES << 20
LARGE_MODEL = (
    *("--test", "Large Model Moves To Another Machine"),
    *("--variable", f"LARGE_FILE_MB:{MEGABYTES}"),
)


def failed_with(ended: Ended, words: str) -> None:
    """The one test failed with these words, and its report knows the file."""
    report = ended.failed_with(words)
    assert report["test_name"] == "large_snapshot"
    assert report["resources"]["large_file_bytes"] == SIZE


@pytest.mark.nightly
def test_an_honest_run_reports_figures_that_fit_together(stage: Stage, tmp_path: Path) -> None:
    before = stage.store.list("restic/")
    ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    ended.passed()
    (report,) = ended.reports()
    metrics, timings = report["metrics"], report["timings"]
    assert SIZE * 0.9 < metrics["download_bytes"] < metrics["upload_bytes"] < SIZE * 1.01
    assert metrics["upload_mbps"] == pytest.approx(
        metrics["upload_bytes"] * 8 / timings["snapshot_sec"] / 1e6, rel=0.01
    )
    assert metrics["download_mbps"] == pytest.approx(
        metrics["download_bytes"] * 8 / timings["restore_sec"] / 1e6, rel=0.01
    )
    assert metrics["compression_ratio"] == pytest.approx(SIZE / metrics["download_bytes"], rel=0.001)
    assert metrics["space_freed_bytes"] >= metrics["upload_bytes"]
    assert (report["validation"]["md5_equal"], report["validation"]["sha256_equal"]) == (True, True)
    assert len(report["cost"]["machines"]) == 2
    assert stage.rented() == {}
    # The index is written anew by a prune; everything else is as it was.
    kept = re.compile("restic/(data|snapshots)/")
    assert [one for one in stage.store.list("restic/") if kept.match(one.key)] == [
        one for one in before if kept.match(one.key)
    ]


@pytest.mark.nightly
def test_a_pack_that_is_cut_short_is_found_and_the_snapshot_removed(stage: Stage, tmp_path: Path) -> None:
    before = {one.key for one in stage.store.list("restic/data/")}
    cut: list[str] = []

    def cut_the_last_pack(_: object) -> None:
        cut.append(max(one.key for one in stage.store.list("restic/data/") if one.key not in before))
        stage.store.put(cut[0], stage.store.read(cut[0])[:-1])

    with stage.at("snapshot.finished", cut_the_last_pack):
        ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    failed_with(ended, rf"Object {cut[0]} in bucket \S+ is 1 byte short: [\d ]+ bytes seen, [\d ]+ expected\.")
    assert "[6/10]" not in ended.console
    assert stage.rented() == {}
    assert {one.key for one in stage.store.list("restic/data/")} == before


@pytest.mark.nightly
def test_a_byte_that_is_wrong_after_the_restore_is_found(stage: Stage, tmp_path: Path) -> None:
    def flip(data: object) -> None:
        assert isinstance(data, dict)
        with (stage.workspace(data["instance_id"]) / NAME).open("r+b") as file:
            file.seek(SIZE // 2)
            byte = file.read(1)
            file.seek(SIZE // 2)
            file.write(bytes([byte[0] ^ 1]))

    with stage.at("restore.finished", flip):
        ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    failed_with(
        ended,
        r"Restored workspace differs from the manifest: 1 changed of 1 file \([\d ]+ bytes\): changed large-model\.bin "
        r"\(sha256 \w+… expected, \w+… seen; mtime .*\)\.",
    )
    assert "Clean-up: snapshot" in ended.console
    assert stage.rented() == {}


@pytest.mark.nightly
def test_a_snapshot_that_is_not_deleted_is_found(stage: Stage, tmp_path: Path) -> None:
    with stage.answering(match="^DELETE .*/snapshots/", status=200, body={"success": True}):
        ended = stage.sandbox(tmp_path, *LARGE_MODEL).to_its_end()
    failed_with(ended, r"Dumont Cloud said that snapshot \w+ was deleted, but still lists it\.")
    assert ended.console.count("still lists it") == 2  # in the report's summary and as Robot's message
    assert stage.rented() == {}


MEANINGLESS = {
    "LARGE_FILE_MB:1GB": "LARGE_FILE_MB must be a number of MB from 0.001 to 900000, such as ",
    "LARGE_FILE_MB:20000": "LARGE_FILE_MB:20000 is a file of 20 971 520 000 bytes, which does not fit the disk of ",
    "DISK_GB:much": "DISK_GB must be a whole number of GB from 10 to 10000, such as ",
    "LARGE_SNAPSHOT_TIMEOUT:soon": "LARGE_SNAPSHOT_TIMEOUT must be a time from 0.1 s to 24 h, such as ",
}


@pytest.mark.parametrize("variable", nightly_but("LARGE_FILE_MB:20000", MEANINGLESS))
def test_what_cannot_be_meant_is_told_before_anything_is_rented(stage: Stage, tmp_path: Path, variable: str) -> None:
    ended = stage.sandbox(tmp_path, *LARGE_MODEL, "--variable", variable).to_its_end()
    (message,) = ended.failures.values()
    assert re.match(f"Parent suite setup failed:\n{MEANINGLESS[variable]}", message), message
    assert "GPU:" not in ended.console


# ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def opened(cloud: CloudUnderTest) -> Iterator[Target]:
    yield target.open_target("live", budget_usd=1, environment=cloud.environment)
    for machine in target.current().machines.values():
        target.current().destroyer.destroy_and_prove(machine)
    target.close()


@pytest.mark.nightly
def test_long_work_is_told_by_the_product_and_seen_from_outside(
    opened: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "RESTRAINT", 0.0)
    machine = opened.renter.rent(max_price=1, disk_gb=20)
    opened.machines[machine.id] = machine
    size = 200 << 20
    create_model_file(machine.machine, "/workspace", machine.label, size)
    seen: dict[str, list[Done]] = {}

    def noting(name: str, look: Look) -> Look:
        notes = seen.setdefault(name, [])

        def noted() -> Done | None:
            if done := look():
                notes.append(done)
            return done

        return noted

    def show(_: Done) -> None:
        """Nobody looks on."""

    with (
        watched(noting("snapshot", told_by_product(opened.dumont, machine.id, "snapshot")), show, 0.1),
        watched(noting("bucket", growth_of_bucket(opened.store, "restic/data/", size)), show, 0.1),
    ):
        snapshot = opened.dumont.snapshot(machine.id, "/workspace").snapshot_id
    machine.machine.run("rm -- /workspace/*")
    with (
        watched(noting("restore", told_by_product(opened.dumont, machine.id, "restore")), show, 0.1),
        watched(noting("disk", written_on_machine(machine.machine, "/workspace", size)), show, 0.1),
    ):
        opened.dumont.restore(snapshot, machine.id)
    opened.dumont.delete_snapshot(snapshot)
    for name, notes in seen.items():
        bytes_done = [done.bytes for done in notes]
        assert name == "disk" or bytes_done == sorted(bytes_done), name
        assert any(0 < done < size for done in bytes_done), f"{name}: {bytes_done}"
        assert bytes_done[-1] < size * 1.01, name
        assert all(done.estimated == (name in {"bucket", "disk"}) for done in notes)
        assert notes[-1].total in {None, size}, name
