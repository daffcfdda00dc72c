"""A run keeps its leases for as long as it lives, and loses none of them silently."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from rekindle.bucket_lease import LeaseLost, acquire
from rekindle.errors import Unknown
from rekindle.lease_keeper import LeaseKeeper
from rekindle.waiting import wait_until
from tests.unit.memory_bucket import MemoryBucket


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def keeper(bucket: MemoryBucket) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(bucket, "run")
    yield keeper
    keeper.close()


def test_two_processes_of_one_run_are_two_owners(bucket: MemoryBucket, keeper: LeaseKeeper) -> None:
    other = LeaseKeeper(bucket, "run")
    assert keeper.take("a")
    assert keeper.take("a")
    assert not other.take("a")
    keeper.give_back("a")
    assert other.take("a")
    other.close()


def test_the_end_of_a_run_frees_everything(bucket: MemoryBucket) -> None:
    keeper = LeaseKeeper(bucket, "run")
    assert keeper.take("a")
    assert keeper.take("b")
    keeper.close()
    assert bucket.keys == []


def test_a_lease_is_renewed_while_the_run_lives(bucket: MemoryBucket) -> None:
    keeper = LeaseKeeper(bucket, "run", seconds=0.2)
    keeper.take("a")
    first = dict(bucket._objects)
    wait_until("a renewal", lambda: bucket._objects != first, bool, timeout=10)
    keeper.close()


def test_a_store_in_trouble_is_asked_again(bucket: MemoryBucket) -> None:
    keeper = LeaseKeeper(bucket, "run", seconds=0.2)
    keeper.take("a")
    troubles: list[int] = []

    def trouble(_: str) -> None:
        if len(troubles) < 3:
            troubles.append(1)
            raise Unknown("the store is away")

    bucket.before = trouble
    wait_until("three troubles", lambda: len(troubles), lambda count: count == 3, timeout=10)
    first = dict(bucket._objects)
    wait_until("a renewal", lambda: bucket._objects != first, bool, timeout=10)
    keeper.close()
    assert bucket.keys == []


def test_a_lease_that_another_run_took_over_is_not_held(bucket: MemoryBucket) -> None:
    elapsed = 0.0
    keeper = LeaseKeeper(bucket, "run", now=lambda: time.monotonic() + elapsed)
    keeper.take("a")
    elapsed = bucket.at = 1000.0
    assert acquire(bucket, "a", "other", 60.0)
    with pytest.raises(LeaseLost, match=r"^Another run \(other\) holds the lease of a, so it is left alone\. Was this"):
        keeper.require("a")
    keeper.close()
    assert bucket.keys == ["rekindle/leases/a/lease"]


def test_what_is_required_is_taken_where_it_is_free(bucket: MemoryBucket, keeper: LeaseKeeper) -> None:
    keeper.require("a")
    assert not LeaseKeeper(bucket, "other").take("a")


def test_a_store_that_is_away_at_the_end_is_no_error(bucket: MemoryBucket) -> None:
    keeper = LeaseKeeper(bucket, "run")
    keeper.take("a")

    def away(_: str) -> None:
        raise Unknown("the store is away")

    bucket.before = away
    keeper.close()


def test_a_store_that_hangs_does_not_keep_a_run_from_ending(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rekindle.lease_keeper.CLOSED_WITHIN", 0.1)
    hanging, release = threading.Event(), threading.Event()
    keeper = LeaseKeeper(bucket, "run", seconds=0.2)
    keeper.take("a")

    def hang(_: str) -> None:
        hanging.set()
        release.wait(10)

    bucket.before = hang
    assert hanging.wait(10)
    keeper.close()
    release.set()
