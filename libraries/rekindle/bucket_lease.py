"""Leases that lie in the bucket, so that runs on different computers do not use the same thing at the same time.

A lease belongs to its owner until it is released or expires. The owner renews it; the lease of a run that was killed
expires by itself. Ages are differences between two times of the store (`Last-Modified` and `Date`), so that a wrong
clock on any of the computers changes nothing.

Where the store honours conditional writes, one object per name decides: it is created with `If-None-Match: *` and
replaced with `If-Match`. Other stores (Backblaze B2 answers 501) get one object per owner, as restic's locks do: an
owner writes its own object, lists all of them, and withdraws when it is not the only one. Two owners that try at the
same moment may both withdraw; they never both hold the lease.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from rekindle.errors import Mismatch, Unknown
from rekindle.objects import ConditionFailed, DatedObject, ObjectMissing

FOLDER = "rekindle/leases/"
SLACK = 2.0  # seconds; HTTP dates have whole seconds, and so have the ages that follow from them
ATTEMPTS = 4  # to create and list, when another owner tries at the same moment
PAUSE = 0.2  # seconds between two attempts, at least; a random share of it is added
_SHARED = "lease"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def since_boot() -> float:
    """Return the seconds since this computer was started, including those that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class LeaseStore(Protocol):
    """The part of an object store that leases need."""

    def honours_conditions(self) -> bool: ...
    def dated(self, prefix: str) -> list[DatedObject]: ...
    def read(self, key: str) -> bytes: ...
    def put(self, key: str, data: bytes) -> None: ...
    def put_if(self, key: str, data: bytes, etag: str | None) -> str: ...
    def delete(self, key: str) -> None: ...
    def where(self, key: str) -> str: ...


class LeaseLost(Mismatch):
    """A lease expired before it was renewed, and another owner may have taken it over."""


@dataclass(frozen=True)
class Holder:
    """The owner of a lease, and the seconds that are left of it."""

    owner: str
    left: float


@dataclass(frozen=True)
class Lease:
    """A lease that was acquired.

    Attributes:
        store: the bucket it lies in.
        name: what it is for.
        owner: the holder.
        seconds: how long it lasts after each renewal.
        key: its object in the bucket.
        etag: the object's version; None where the store honours no conditions.
        token: random; tells this lease from any other of the same owner.
        since: seconds since boot at which its last renewal was sent.
    """

    store: LeaseStore = field(repr=False)
    name: str
    owner: str
    seconds: float
    key: str
    etag: str | None
    token: str = field(repr=False)
    since: float

    def body(self) -> bytes:
        """Return new content for its object. No two are equal, so that each renewal has an ETag of its own."""
        content = {"owner": self.owner, "seconds": self.seconds, "token": self.token, "nonce": secrets.token_hex(8)}
        return json.dumps(content).encode()


@dataclass(frozen=True)
class _Found:
    key: str
    etag: str
    owner: str
    token: str
    left: float


def acquire(
    store: LeaseStore,
    name: str,
    owner: str,
    seconds: float,
    *,
    now: Callable[[], float] = since_boot,
    pause: Callable[[float], None] = time.sleep,
) -> Lease | None:
    """Take the lease of a name, or take it over when it has expired.

    Args:
        store: the bucket.
        name: what the lease is for; letters, digits, dots, hyphens and underscores.
        owner: names one holder for ever, such as a run and its process. It must not be shared: an owner that asks
            again gets its own lease anew.
        seconds: how long the lease lasts unless it is renewed.
        now: monotonic clock that includes the time a computer sleeps, seconds.
        pause: waits for some seconds between attempts.

    Returns:
        The lease; None when another owner holds it.

    Raises:
        ValueError: the name or the owner cannot be part of a key, or the lease would not last.
        Unknown, KeysRefused: the store cannot be reached or refuses.
    """
    if not (_NAME.fullmatch(name) and _NAME.fullmatch(owner)) or seconds <= 0:
        raise ValueError(f"no lease can have the name {name!r}, the owner {owner!r} and {seconds} seconds")
    token = secrets.token_hex(8)
    if store.honours_conditions():
        return _acquire_shared(Lease(store, name, owner, seconds, _key(name, _SHARED), None, token, now()))
    lease = Lease(store, name, owner, seconds, _key(name, owner), None, token, now())
    for attempt in range(ATTEMPTS):
        if attempt:
            pause(PAUSE * (1 + secrets.randbelow(1000) / 1000))
        if _others(lease):
            return None
        lease = replace(lease, since=now())
        store.put(lease.key, lease.body())
        if not _others(lease):
            _remove_expired(lease)
            return lease
        store.delete(lease.key)
    return None


def renew(lease: Lease, *, now: Callable[[], float] = since_boot) -> Lease:
    """Extend a lease by its seconds, counted from now.

    Returns:
        The renewed lease, which replaces the old one.

    Raises:
        LeaseLost: it had expired, and another owner holds it or has held it.
        Unknown, KeysRefused: the store cannot be reached or refuses; the lease lasts until it expires.
    """
    since = now()
    if lease.etag is not None:
        if (etag := _put_if(lease, lease.etag)) is None:
            raise _lost(lease)
        return replace(lease, etag=etag, since=since)
    if all(found.token != lease.token for found in _found(lease.store, lease.name)):
        raise _lost(lease)
    lease.store.put(lease.key, lease.body())
    # In time, nobody can have taken it over: other objects are of owners that see this one and withdraw.
    if now() - lease.since >= lease.seconds and _others(lease):
        lease.store.delete(lease.key)
        raise _lost(lease)
    return replace(lease, since=since)


def release(lease: Lease) -> None:
    """Give a lease back before it expires. A lease that another owner has taken over meanwhile is left alone.

    Raises:
        Unknown, KeysRefused: the store cannot be reached or refuses; the lease expires by itself.
    """
    for found in _found(lease.store, lease.name):
        if found.token == lease.token:
            lease.store.delete(found.key)


def holder(store: LeaseStore, name: str) -> Holder | None:
    """Return the owner that holds a lease now; None when it is free or has expired."""
    held = [found for found in _found(store, name) if found.left > 0]
    return Holder(held[0].owner, held[0].left) if held else None


def _acquire_shared(lease: Lease) -> Lease | None:
    found = _found(lease.store, lease.name)
    if any(one.left > 0 and one.owner != lease.owner for one in found):
        return None
    before = next((one.etag for one in found if one.key == lease.key), None)
    etag = _put_if(lease, before)
    return replace(lease, etag=etag) if etag else None


def _put_if(lease: Lease, etag: str | None) -> str | None:
    """Write the object if it still has the ETag. Return its new ETag; None when another owner was faster."""
    try:
        return lease.store.put_if(lease.key, lease.body(), etag)
    except ConditionFailed:
        # The answer to a first attempt may have been lost: then it is our own object that is in the way.
        return next((one.etag for one in _found(lease.store, lease.name) if one.token == lease.token), None)


def _others(lease: Lease) -> list[_Found]:
    return [one for one in _found(lease.store, lease.name) if one.left > 0 and one.owner != lease.owner]


def _remove_expired(lease: Lease) -> None:
    for found in _found(lease.store, lease.name):
        if found.left <= 0 and found.owner != lease.owner:
            lease.store.delete(found.key)


def _found(store: LeaseStore, name: str) -> list[_Found]:
    """Read every lease object of a name; those that are removed meanwhile are left out."""
    found = []
    for listed in store.dated(_key(name, "")):
        try:
            content = store.read(listed.key)
        except ObjectMissing:
            continue
        try:
            document = json.loads(content)
            owner, seconds, token = str(document["owner"]), float(document["seconds"]), str(document["token"])
        except (KeyError, TypeError, ValueError):
            raise Unknown(
                f"{store.where(listed.key)} is no lease that Rekindle wrote, so the holder of {name} is unknown. "
                "Remove the object if it is not yours."
            ) from None
        found.append(_Found(listed.key, listed.etag, owner, token, seconds + SLACK - listed.age))
    return found


def _key(name: str, slot: str) -> str:
    return f"{FOLDER}{name}/{slot}"


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"The lease of {lease.name} was lost: it was not renewed within {lease.seconds:g} s, and another run may have "
        "taken it over. Was this run suspended, or the store out of reach?"
    )
