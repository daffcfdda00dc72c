"""A lease has one holder at a time, whatever the store can do and however the requests of several owners mix."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.bucket_lease import SLACK, Holder, Lease, LeaseLost, acquire, holder, release, renew
from rekindle.errors import Unknown
from tests.unit.memory_bucket import MemoryBucket

SECONDS = 60.0


class Schedule:
    """Lets one of several threads take its next step, in an order that a seed decides."""

    def __init__(self, seed: int, threads: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a schedule is no secret
        self._changed = threading.Condition()
        self._running = threads
        self._waiting: list[int] = []
        self._arrivals = 0
        self._next: int | None = None

    def step(self) -> None:
        with self._changed:
            self._arrivals += 1
            mine = self._arrivals
            self._waiting.append(mine)
            self._choose()
            assert self._changed.wait_for(lambda: self._next == mine, 30)
            self._next = None
            self._waiting.remove(mine)

    def leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._choose()

    def _choose(self) -> None:
        if self._waiting and len(self._waiting) == self._running:
            self._next = self._random.choice(sorted(self._waiting))
            self._changed.notify_all()


@pytest.fixture(params=[True, False], ids=["conditional", "create then list"])
def bucket(request: pytest.FixtureRequest) -> MemoryBucket:
    return MemoryBucket(conditional=request.param)


def take(bucket: MemoryBucket, owner: str, name: str = "snapshot", seconds: float = SECONDS) -> Lease | None:
    return acquire(bucket, name, owner, seconds, pause=lambda _: None)


def taken(bucket: MemoryBucket, owner: str) -> Lease:
    lease = take(bucket, owner)
    assert lease is not None
    return lease


def test_a_held_lease_is_refused_to_another_owner(bucket: MemoryBucket) -> None:
    taken(bucket, "a")
    assert take(bucket, "b") is None
    assert holder(bucket, "snapshot") == Holder("a", SECONDS + SLACK)


def test_names_are_independent(bucket: MemoryBucket) -> None:
    taken(bucket, "a")
    assert take(bucket, "b", "snapshot2") is not None
    assert take(bucket, "b", "snap") is not None


def test_a_released_lease_is_free_and_leaves_nothing_in_the_bucket(bucket: MemoryBucket) -> None:
    release(taken(bucket, "a"))
    assert holder(bucket, "snapshot") is None
    assert bucket.keys == []
    assert take(bucket, "b") is not None


def test_the_owner_may_take_its_own_lease_again(bucket: MemoryBucket) -> None:
    taken(bucket, "a")
    release(taken(bucket, "a"))
    assert bucket.keys == []


def test_a_lease_expires_by_the_clock_of_the_store(bucket: MemoryBucket) -> None:
    taken(bucket, "a")
    bucket.at += SECONDS + SLACK - 0.1
    assert take(bucket, "b") is None
    bucket.at += 0.2
    assert holder(bucket, "snapshot") is None
    assert take(bucket, "b") is not None
    assert holder(bucket, "snapshot") == Holder("b", SECONDS + SLACK)


def test_a_renewed_lease_lasts_longer(bucket: MemoryBucket) -> None:
    lease = taken(bucket, "a")
    for _ in range(5):
        bucket.at += SECONDS * 0.9
        lease = renew(lease)
    assert take(bucket, "b") is None
    release(lease)
    assert bucket.keys == []


def test_a_lease_that_was_taken_over_cannot_be_renewed(bucket: MemoryBucket) -> None:
    old = taken(bucket, "a")
    bucket.at += SECONDS + SLACK + 1
    new = taken(bucket, "b")
    with pytest.raises(LeaseLost, match=r"^The lease of snapshot was lost: it was not renewed within 60 s, and"):
        renew(old)
    assert renew(new)


def test_a_late_renewal_beside_a_new_holder_is_refused(bucket: MemoryBucket) -> None:
    old = taken(bucket, "a")
    bucket.at += SECONDS + SLACK + 1
    late = old.since + SECONDS + SLACK + 1

    def take_over_first(verb: str) -> None:
        if verb == "put":
            bucket.before = lambda _: None
            taken(bucket, "b")

    bucket.before = take_over_first
    with pytest.raises(LeaseLost):
        renew(old, now=lambda: late)
    assert holder(bucket, "snapshot") == Holder("b", SECONDS + SLACK)


def test_a_contender_does_not_disturb_a_renewal_in_time() -> None:
    bucket = MemoryBucket(conditional=False)
    lease = taken(bucket, "a")
    bucket.put("rekindle/leases/snapshot/b", b'{"owner": "b", "seconds": 60, "token": "of b"}')
    assert renew(lease)


def test_releasing_a_lost_lease_leaves_the_new_holder_alone(bucket: MemoryBucket) -> None:
    old = taken(bucket, "a")
    bucket.at += SECONDS + SLACK + 1
    taken(bucket, "b")
    release(old)
    assert holder(bucket, "snapshot") == Holder("b", SECONDS + SLACK)


def test_a_lease_that_was_taken_over_and_given_back_cannot_be_renewed(bucket: MemoryBucket) -> None:
    old = taken(bucket, "a")
    bucket.at += SECONDS + SLACK + 1
    release(taken(bucket, "b"))
    with pytest.raises(LeaseLost):
        renew(old)
    assert bucket.keys == []


def test_a_lease_that_is_renewed_at_the_moment_of_a_take_over_has_one_holder(bucket: MemoryBucket) -> None:
    old = taken(bucket, "a")
    bucket.at += SECONDS + SLACK + 1
    late = old.since + SECONDS + SLACK + 1
    renewed: list[Lease] = []

    def renew_first(verb: str) -> None:
        if verb == "put":
            bucket.before = lambda _: None
            renewed.append(renew(old, now=lambda: late))

    bucket.before = renew_first
    assert take(bucket, "b") is None
    assert len(renewed) == 1
    assert holder(bucket, "snapshot") == Holder("a", SECONDS + SLACK)


def test_an_answer_that_was_lost_does_not_lose_the_lease() -> None:
    bucket = MemoryBucket()
    put_if = bucket.put_if

    def repeated(key: str, data: bytes, etag: str | None) -> str:
        """As a client does that repeats a request because no answer came."""
        put_if(key, data, etag)
        return put_if(key, data, etag)

    bucket.put_if = repeated  # type: ignore[method-assign]
    lease = taken(bucket, "a")
    release(renew(lease))
    assert bucket.keys == []


def test_what_is_no_lease_is_unknown(bucket: MemoryBucket) -> None:
    bucket.put("rekindle/leases/snapshot/lease", b"{}")
    with pytest.raises(Unknown, match=r"^UNKNOWN: rekindle/leases/snapshot/lease in bucket memory is no lease that"):
        take(bucket, "a")


@pytest.mark.parametrize(
    ("name", "owner", "seconds"), [("", "a", 1.0), ("a/b", "a", 1.0), ("a", "a b", 1.0), ("a", "", 1.0), ("a", "b", 0)]
)
def test_what_cannot_be_part_of_a_key_is_refused(name: str, owner: str, seconds: float) -> None:
    with pytest.raises(ValueError, match="no lease can have"):
        acquire(MemoryBucket(), name, owner, seconds)


def test_two_owners_that_write_at_the_same_moment_never_both_hold_the_lease() -> None:
    bucket = MemoryBucket(conditional=False)
    both = threading.Barrier(2)
    first = set[int]()

    def together(verb: str) -> None:
        if verb == "put" and threading.get_ident() not in first:
            first.add(threading.get_ident())
            both.wait(10)

    bucket.before = together
    with ThreadPoolExecutor(2) as pool:
        leases = list(pool.map(lambda owner: acquire(bucket, "snapshot", owner, SECONDS), "ab"))
    assert sum(lease is not None for lease in leases) <= 1
    assert len(bucket.keys) == sum(lease is not None for lease in leases)


@given(seed=st.integers(), conditional=st.booleans(), owners=st.integers(2, 6))
def test_a_lease_has_one_holder_under_any_schedule(seed: int, conditional: bool, owners: int) -> None:
    """Each owner takes, uses and gives back the lease; requests are interleaved by a schedule that the seed decides."""
    bucket = MemoryBucket(conditional=conditional)
    holders: list[str] = []
    schedule = Schedule(seed, owners)
    bucket.before = lambda _: schedule.step()

    def work(owner: str) -> int:
        times = 0
        try:
            for _ in range(3):
                lease = acquire(bucket, "snapshot", owner, SECONDS, pause=lambda _: schedule.step())
                if lease:
                    holders.append(owner)
                    assert holders == [owner]
                    lease = renew(lease)
                    assert holders == [owner]
                    holders.remove(owner)
                    release(lease)
                    times += 1
        finally:
            schedule.leave()
        return times

    with ThreadPoolExecutor(owners) as pool:
        times = list(pool.map(work, map(str, range(owners))))
    assert bucket.keys == []
    assert not conditional or any(times)
