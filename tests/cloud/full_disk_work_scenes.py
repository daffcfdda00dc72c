"""Tests of a disk that fills up under a cloud at work. `test_full_disk_work` starts them on a small disk.

Each gets a cloud of its own on an empty disk.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.dumont import DumontClient
from rekindle.errors import Unknown
from rekindle.http import StorageFull
from rekindle.ledger import State
from rekindle.objects import ObjectStore
from rekindle.settings import Settings
from tests.cloud.test_no_leak import Doomed
from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi, eventually
from tests.small_disk import MB, fill, place
from tests.suites_under_test import QUICK, Run

FULL = "The disk of the computer that runs the embedded cloud is too full: the file system of "
ONE_TEST = (*QUICK, "--include", "phase3", "--test", "Machine Is Hibernated Step By Step")
# Without `&&`: what writes goes on when there is no space, and takes each byte that becomes free.
GREEDY = "nohup sh -c 'while true; do cat /dev/zero >>/workspace/greedy; done' >/dev/null 2>&1 &"


@pytest.fixture
def cloud() -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest(place() / "cloud")
    cloud.up()
    yield cloud
    cloud.down()


@pytest.fixture
def api(cloud: CloudUnderTest) -> Iterator[ControlApi]:
    api = ControlApi(cloud.environment)
    yield api
    api.close()


def dumont(cloud: CloudUnderTest) -> DumontClient:
    known = Settings.from_mapping(cloud.environment)
    return DumontClient(known.dumont_api_url, known.dumont_email, known.dumont_password.get_secret_value())


def machines(api: ControlApi) -> list[int]:
    return [row["id"] for row in api.call("GET", "/instances")["instances"]]


def test_nothing_is_rented(cloud: CloudUnderTest, api: ControlApi) -> None:
    offer = api.offer()
    fill(place(), leave=10 * MB)
    with dumont(cloud) as client, pytest.raises(StorageFull) as refused:
        client.create_instance(offer, "label", 10)
    assert str(refused.value).startswith("UNKNOWN: Dumont API refused POST /api/v1/instances with 507: " + FULL)
    assert "32.0 MB needed. Free space there, or use a cloud in another directory" in str(refused.value)
    assert machines(api) == []


def test_a_suite_that_finds_no_space_says_so_and_blames_no_market(cloud: CloudUnderTest, tmp_path: Path) -> None:
    fill(place(), leave=10 * MB)
    options = (*ONE_TEST, "--variable", f"STATE_DIR:{cloud.state_dir}")
    ended = Run(tmp_path / "results", options).to_its_end()
    assert ended.failures
    for message in ended.failures.values():
        assert message.startswith("UNKNOWN: Dumont API refused POST /api/v1/instances with 507: " + FULL)
    assert "WEATHER" not in ended.console


def test_machines_are_destroyed_on_a_disk_without_a_free_byte(cloud: CloudUnderTest, api: ControlApi) -> None:
    rented = [api.rent() for _ in range(3)]
    api.run(rented[0], GREEDY)
    eventually("no space is left", lambda: not _free())
    for machine in reversed(rented):  # the greedy one last: it takes what the others leave
        api.call("DELETE", f"/instances/{machine}")
    assert machines(api) == []
    rows = _records(cloud, "market.db", "Segment")
    assert {row["instance_id"] for row in rows} == set(rented)
    assert all(row["end"] for row in rows)


def test_what_was_destroyed_stays_destroyed_at_the_next_start(cloud: CloudUnderTest, api: ControlApi) -> None:
    machine = api.rent()
    filling = fill(place())
    api.call("DELETE", f"/instances/{machine}")
    cloud.down()
    filling.unlink()
    cloud.up()
    after = ControlApi(cloud.environment)
    assert machines(after) == []
    after.close()


def test_a_snapshot_names_the_disk(api: ControlApi) -> None:
    machine = api.rent(files="head -c 20000000 /dev/urandom >data")
    fill(place())
    words = api.error("POST", "/snapshots", 507, json={"instance_id": machine})
    assert words.startswith(FULL)
    api.call("DELETE", f"/instances/{machine}")
    assert machines(api) == []


def test_a_snapshot_that_fills_the_disk_names_it(api: ControlApi) -> None:
    machine = api.rent(files="head -c 60000000 /dev/urandom >data")
    fill(place(), leave=20 * MB)
    words = api.error("POST", "/snapshots", 507, json={"instance_id": machine})
    assert words.startswith("The disk of the computer that runs the embedded cloud is too full: the file system of ")
    assert "restic" in words
    api.call("DELETE", f"/instances/{machine}")
    assert machines(api) == []


def test_a_restore_names_the_disk_and_leaves_the_workspace(api: ControlApi) -> None:
    machine = api.rent(files="head -c 60000000 /dev/urandom >data")
    snapshot = api.call("POST", "/snapshots", 201, json={"instance_id": machine})["snapshot_id"]
    api.run(machine, "rm /workspace/data; echo mine >/workspace/mine")
    fill(place(), leave=20 * MB)
    words = api.error("POST", "/snapshots/restore", 507, json={"instance_id": machine, "snapshot_id": snapshot})
    assert words.startswith("The disk of the computer that runs the embedded cloud is too full: the file system of ")
    assert "no space left on device" in words
    assert api.run(machine, "ls -A /workspace") == "mine\n"


def test_the_bucket_names_the_disk(cloud: CloudUnderTest) -> None:
    known = Settings.from_mapping(cloud.environment)
    fill(place(), leave=MB // 2)
    store = ObjectStore(
        known.b2_endpoint, known.b2_bucket, known.b2_key_id, known.b2_application_key.get_secret_value()
    )
    with pytest.raises(Unknown, match="answered 507 InsufficientStorage .*" + FULL):
        store.put("key", b"data")
    store.close()


def test_the_watchdog_destroys_the_machines_of_a_dead_run(cloud: CloudUnderTest) -> None:
    folder = place() / "run"
    folder.mkdir()
    run = Doomed(cloud, folder)
    run.start("with five machines")
    run.comes_there()
    fill(place())
    run.kill()
    run.nothing_is_left()
    run.guard_has_ended()
    assert run.states() == [State.DESTROYED] * 5
    assert _integrity(run.ledger.path) == "ok"
    run.close()


def test_a_full_output_directory_is_named_before_a_rent(tmp_path: Path) -> None:
    results = place() / "results"
    results.mkdir()
    fill(place(), leave=10 * MB)
    options = (*ONE_TEST, "--variable", f"STATE_DIR:{tmp_path / 'cloud'}")
    ended = Run(results, options).to_its_end()
    assert ended.failures
    for message in ended.failures.values():
        assert message.startswith(
            "Nothing is rented, because a disk of this computer is full: the output directory (--outputdir), "
            f"{results}, has "
        )
    CloudUnderTest(tmp_path / "cloud").down()


def test_a_full_directory_of_temporary_files_is_named_before_a_rent(tmp_path: Path) -> None:
    temporary = place() / "temporary"
    temporary.mkdir()
    fill(place(), leave=10 * MB)
    options = (*ONE_TEST, "--variable", f"STATE_DIR:{tmp_path / 'cloud'}")
    ended = Run(tmp_path / "results", options, {"TMPDIR": str(temporary)}).to_its_end()
    assert ended.failures
    for message in ended.failures.values():
        assert message.startswith(
            "Nothing is rented, because a disk of this computer is full: the directory of temporary files (TMPDIR), "
            f"{temporary}, has "
        )
    CloudUnderTest(tmp_path / "cloud").down()


def _free() -> int:
    (free,) = subprocess.run(
        ["stat", "--file-system", "--format=%a", str(place())], capture_output=True, text=True, check=True
    ).stdout.split()
    return int(free)


def _records(cloud: CloudUnderTest, file: str, kind: str) -> list[dict[str, float]]:
    database = sqlite3.connect(cloud.state_dir / file)
    rows = database.execute("SELECT body FROM record WHERE kind = ?", (kind,)).fetchall()
    database.close()
    return [json.loads(body) for (body,) in rows]


def _integrity(file: Path) -> str:
    database = sqlite3.connect(file)
    (answer,) = database.execute("PRAGMA integrity_check").fetchone()
    database.close()
    return str(answer)
