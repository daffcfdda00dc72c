"""Leases on the real store, between processes: one holder at a time, and a process that is killed gives way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rekindle.bucket_lease import FOLDER, SLACK, acquire, holder, release
from rekindle.objects import ObjectStore
from rekindle.waiting import wait_until
from tests.cloud.test_store import Store
from tests.cloud_under_test import PROJECT_DIR
from tests.nightly import nightly_but
from tests.wrong_clock import wrong_clock

SECONDS = 3.0
TEN_MINUTES = 600.0  # seconds; stores refuse requests that are signed more than 15 minutes early or late
# Takes the lease again and again; a file that must not exist yet shows that nobody else has it meanwhile.
_WORKER = """
import os, sys, time
from rekindle.bucket_lease import acquire, release, renew
from rekindle.objects import ObjectStore
endpoint, bucket, key_id, owner, busy, times = sys.argv[1:]
store = ObjectStore(endpoint, bucket, key_id, sys.stdin.readline().strip())
done = 0
deadline = time.monotonic() + 60
while done < int(times) and time.monotonic() < deadline:
    if lease := acquire(store, "shared", owner, 30):
        os.close(os.open(busy, os.O_CREAT | os.O_EXCL))
        lease = renew(lease)
        os.unlink(busy)
        release(lease)
        done += 1
print(done, flush=True)
"""
_HOLDER = """
import sys, time
from rekindle.bucket_lease import acquire
from rekindle.objects import ObjectStore
endpoint, bucket, key_id, owner, seconds = sys.argv[1:]
store = ObjectStore(endpoint, bucket, key_id, sys.stdin.readline().strip())
print(bool(acquire(store, "shared", owner, float(seconds))), flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.running.stop()


class Bucket:
    """One of the two buckets, as its users enter it."""

    def __init__(self, store: Store, *, plays: str) -> None:
        keys = store.secrets
        entered = {
            "b2": (keys.b2_bucket, keys.b2_key_id, keys.b2_application_key),
            "r2": (keys.r2_bucket, keys.r2_access_key, keys.r2_secret_key),
        }
        self.name, self.key_id, self._secret = entered[plays]
        self.endpoint = store.config.store_url
        self.client = ObjectStore(self.endpoint, self.name, self.key_id, self._secret)

    def process(
        self, program: str, owner: str, *words: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a process that enters the bucket; the secret reaches it by its input.

        Args:
            program: Python.
            owner: of its leases.
            words: more arguments.
            environment: additional variables.
        """
        process = subprocess.Popen(
            [sys.executable, "-c", program, self.endpoint, self.name, self.key_id, owner, *words],
            cwd=PROJECT_DIR / "libraries",
            env=dict(os.environ) | dict(environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(f"{self._secret}\n")
        process.stdin.flush()
        return process


@pytest.fixture(params=["b2", "r2"])
def bucket(store: Store, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    bucket = Bucket(store, plays=request.param)
    yield bucket
    bucket.client.close()


def test_only_the_bucket_that_plays_r2_honours_conditions(store: Store) -> None:
    assert [Bucket(store, plays=name).client.honours_conditions() for name in ("b2", "r2")] == [False, True]


def test_two_processes_hold_a_lease_in_turn(bucket: Bucket, tmp_path: Path) -> None:
    processes = [bucket.process(_WORKER, owner, str(tmp_path / "busy"), "10") for owner in "ab"]
    outputs = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert outputs == ["10", "10"]
    assert bucket.client.list(FOLDER) == []


def test_processes_whose_clocks_differ_hold_a_lease_in_turn(bucket: Bucket, tmp_path: Path) -> None:
    """Each would take the lease of another one for expired, or for everlasting, if it judged by its own clock."""
    clocks = {"early": -TEN_MINUTES, "right": 0.0, "late": TEN_MINUTES}
    busy = str(tmp_path / "busy")
    processes = [
        bucket.process(_WORKER, owner, busy, "5", environment=wrong_clock(ahead, tmp_path / owner))
        for owner, ahead in clocks.items()
    ]
    outputs = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert outputs == ["5", "5", "5"]
    assert bucket.client.list(FOLDER) == []


@pytest.mark.parametrize("ahead", nightly_but(0.0, [0.0, -TEN_MINUTES, TEN_MINUTES]))
def test_the_lease_of_a_process_that_is_killed_expires(bucket: Bucket, ahead: float, tmp_path: Path) -> None:
    process = bucket.process(_HOLDER, "doomed", str(SECONDS), environment=wrong_clock(ahead, tmp_path / "clock"))
    assert process.stdout
    assert process.stdout.readline() == "True\n"
    begun = time.monotonic()
    process.kill()
    process.communicate()
    assert acquire(bucket.client, "shared", "heir", SECONDS) is None
    held = holder(bucket.client, "shared")
    assert held
    assert held.owner == "doomed"
    waited = wait_until(
        "the lease to expire", lambda: acquire(bucket.client, "shared", "heir", SECONDS), bool, timeout=30
    )
    assert waited.value
    assert time.monotonic() - begun > SECONDS + SLACK - 2  # the store's dates have whole seconds
    release(waited.value)
    assert bucket.client.list(FOLDER) == []
