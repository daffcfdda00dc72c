"""What a deleted snapshot leaves behind in the bucket: nothing that it alone needed, and all that others need."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from rekindle.errors import Mismatch
from rekindle.objects import NotTold, ObjectStore
from rekindle.restic_repository import ResticRepository, Stored, consequence
from rekindle.waiting import Clock
from rekindle.wording import counted, named, number

T = TypeVar("T")

# Other runs delete snapshots as well, and what a prune is moving or removing looks lost or useless for a moment. So a
# check that fails is repeated, and for longer while restic holds a lock in the repository.
ATTEMPTS = 3
LOCKED_WITHIN = 60.0  # seconds
PAUSE = 0.5  # seconds between two attempts while the repository is locked


@dataclass(frozen=True)
class Freed:
    """The packs that are gone with a snapshot, and their bytes; `kept` are those that other snapshots need.

    `not_witnessed` says of what it is not known whether it is still paid for.
    """

    packs: int
    bytes: int
    kept: int
    not_witnessed: tuple[str, ...] = ()


def freed(
    store: ObjectStore, prefix: str, password: str, snapshot_id: str, stored: Stored, clock: Clock | None = None
) -> Freed:
    """Makes sure that a deleted snapshot is gone from the bucket, with every pack that it alone needed.

    What other snapshots need is looked up only when a pack is still there. What the bucket no longer lists may still
    be in it: old versions, and parts of uploads that never ended.

    Args:
        store: the bucket.
        prefix: where in it the restic repository lies.
        password: the repository's.
        snapshot_id: whole or short.
        stored: what it needed.
        clock: time and pause; the real ones by default.

    Raises:
        Mismatch: names the objects that are still there although nobody needs them, and their bytes.
        Unknown: the store gives no answer.
    """
    if left := store.list(f"{prefix}/snapshots/{snapshot_id}"):
        raise Mismatch(
            f"Snapshot {snapshot_id} was deleted, but {store.where(left[0].key)} is still there: nothing that it needs "
            "can be freed."
        )
    still = _settled(store, prefix, lambda: _refuse_useless(store, prefix, password, snapshot_id, stored), clock)
    gone = {key: size for key, size in stored.packs.items() if key not in still}
    left_aside = _left_aside(store, f"{prefix}/data/", snapshot_id, set(gone))
    return Freed(len(gone), sum(gone.values()), len(still), left_aside)


def _refuse_useless(store: ObjectStore, prefix: str, password: str, snapshot_id: str, stored: Stored) -> set[str]:
    """Return the packs of a deleted snapshot that other snapshots need. Raises Mismatch when there are more."""
    still = stored.packs.keys() & _packs(store, prefix)
    useless = sorted(still - _needed(ResticRepository(store, prefix, password))) if still else []
    present = _packs(store, prefix) if useless else {}
    if useless := [key for key in useless if key in present]:
        objects = [f"{key} ({number(present[key])} bytes)" for key in useless]
        raise Mismatch(
            f"Snapshot {snapshot_id} was deleted, but {counted(len(useless), 'pack')} of the "
            f"{number(len(stored.packs))} that it needed, and that no other snapshot needs, still lie in bucket "
            f"{store.bucket} and are paid for, {number(sum(present[key] for key in useless))} bytes in all: "
            f"{named(objects)}. Was the repository pruned?"
        )
    return still


def _left_aside(store: ObjectStore, folder: str, snapshot_id: str, gone: set[str]) -> tuple[str, ...]:
    """Looks for what a store keeps of packs that it lists no more, and that is paid for like them.

    Returns what is not known, in words. Raises Mismatch when it stays.
    """
    try:
        unfinished = sorted(gone.intersection(store.unfinished_uploads(folder)))
        old = [one for one in store.old_versions(folder) if one.key in gone]
    except NotTold as error:
        return (f"what the bucket keeps of deleted snapshots: {str(error).removeprefix(error.prefix)}",)
    if unfinished:
        raise Mismatch(
            f"Snapshot {snapshot_id} was deleted, but unfinished uploads of {counted(len(unfinished), 'pack')} that it "
            f"needed still lie in bucket {store.bucket} and are paid for: {named(unfinished)}."
        )
    if not old:
        return ()
    kept = (
        f"bucket {store.bucket} keeps {counted(len(old), 'old version')} of the packs that snapshot {snapshot_id} "
        f"needed, {counted(sum(one.size for one in old), 'byte')} in all"
    )
    try:
        removed = store.removes_old_versions()
    except NotTold:
        return (f"{kept}; whether a rule removes them, the store does not tell",)
    if removed:
        return (f"{kept}, until its rule removes them",)
    raise Mismatch(
        f"Snapshot {snapshot_id} was deleted, but {kept}, and they are paid for: "
        f"{named([f'{one.key} ({number(one.size)} bytes)' for one in old])}. No rule of the bucket removes them: set "
        "its lifecycle so that only the last version is kept."
    )


def others_have_all(
    store: ObjectStore,
    prefix: str,
    password: str,
    deleted: str,
    others: Collection[str],
    clock: Clock | None = None,
) -> None:
    """Makes sure that all that other snapshots need is still in the bucket when one has been deleted.

    The index is read anew: the deletion may have moved what they need into other packs.

    Args:
        store: the bucket.
        prefix: where in it the restic repository lies.
        password: the repository's.
        deleted: the snapshot that was deleted.
        others: those that were whole before, by their ids, whole or short.
        clock: time and pause; the real ones by default.

    Raises:
        Mismatch: names a snapshot that went as well, or the packs that one needs and that are no more.
        Unknown: the store gives no answer.
    """
    if others:
        _settled(store, prefix, lambda: _refuse_less(ResticRepository(store, prefix, password), deleted, others), clock)


def _settled(store: ObjectStore, prefix: str, check: Callable[[], T], clock: Clock | None) -> T:
    """Make a check of the repository, again while another run changes it. Raises the Mismatch that stays."""
    clock = clock or Clock()
    begun, attempts = clock.now(), 0
    while True:
        attempts += 1
        locked = _is_locked(store, prefix)
        try:
            return check()
        except Mismatch:
            locked = locked or _is_locked(store, prefix)
            if clock.now() - begun >= LOCKED_WITHIN or (attempts >= ATTEMPTS and not locked):
                raise
        if locked:
            clock.pause(PAUSE)


def _is_locked(store: ObjectStore, prefix: str) -> bool:
    return bool(store.list(f"{prefix}/locks/"))


def _refuse_less(repository: ResticRepository, deleted: str, others: Collection[str]) -> None:
    repository.read_index()
    present = repository.packs_in_store()
    for other in others:
        try:
            blobs = repository.tree(repository.snapshot(other)).blobs
            with consequence(f"Snapshot {other} cannot be restored: the index does not know its data."):
                needed = repository.stored(blobs).packs
        except Mismatch as error:  # it is gone itself, or what names its files, or the index no longer knows them
            raise Mismatch(
                f"{error} With snapshot {deleted} went what snapshot {other} needs.",
                expected=error.expected,
                actual=error.actual,
            ) from None
        if gone := sorted(needed.keys() - present.keys()):
            raise Mismatch(
                f"Snapshot {other} can no longer be restored. With snapshot {deleted} went "
                f"{counted(len(gone), 'pack')} of the {number(len(needed))} that snapshot {other} needs, "
                f"{number(sum(needed[key] for key in gone))} bytes in all: {named(gone)}.",
                expected=counted(len(needed), "pack"),
                actual=counted(len(needed) - len(gone), "pack"),
            )


def _packs(store: ObjectStore, prefix: str) -> dict[str, int]:
    return {one.key: one.size for one in store.list(f"{prefix}/data/")}


def _needed(repository: ResticRepository) -> set[str]:
    snapshots = repository.snapshots()
    repository.read_index()  # after them, so that it knows what each of them needs
    return {pack for snapshot in snapshots for pack in repository.stored(repository.tree(snapshot).blobs).packs}
