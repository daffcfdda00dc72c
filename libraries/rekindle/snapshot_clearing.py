"""Deleting snapshots through the product until neither its list nor the bucket shows them any more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from rekindle.errors import RekindleError
from rekindle.snapshot_bucket import SnapshotBucket, whole
from rekindle.snapshot_records import SnapshotRecord
from rekindle.waiting import Clock

PATIENCE = 60.0  # seconds
PAUSE = 0.5  # seconds between two looks
LOOKS = 2  # that must show none before it is believed that none comes any more

Row = Mapping[str, Any]
"""A snapshot in the product's list."""


class Product(Protocol):
    """The part of the product that lists and deletes snapshots."""

    def snapshots(self) -> list[dict[str, Any]]: ...
    def delete_snapshot(self, snapshot_id: str, /) -> None: ...


@dataclass
class ClearedSnapshots:
    """Outcome of a clearing.

    Attributes:
        deleted: ids as the product lists them.
        unsettled: sentences on what is still there, or could not be read.
    """

    deleted: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "; ".join([*(f"deleted snapshot {id_[:8]}" for id_ in self.deleted), *self.unsettled])


def clear(
    product: Product,
    bucket: SnapshotBucket | None,
    ours: Callable[[Row], bool],
    say: Callable[[str], None],
    *,
    patience: float = PATIENCE,
    clock: Clock | None = None,
) -> ClearedSnapshots:
    """Delete snapshots, and those that are still being taken when they are done, until two lists show none.

    Args:
        product: deletes them.
        bucket: the witness; None when there is no key for it.
        ours: which rows of the product's list to delete.
        say: writes a line of the log.
        patience: seconds.
        clock: time and pause.
    """
    clock = clock or Clock()
    begun = clock.now()
    cleared = ClearedSnapshots()
    empty_looks = 0
    trouble = ""
    while True:
        try:
            rows = [row for row in product.snapshots() if ours(row)]
        except RekindleError as error:
            rows, trouble, empty_looks = [], str(error), 0
        else:
            there, taken = [id_ for row in rows if (id_ := _id(row))], [row for row in rows if _is_being_taken(row)]
            empty_looks = 0 if there or taken else empty_looks + 1
            trouble = "" if empty_looks else f"Dumont Cloud still lists {_named(there, taken)}"
            for id_ in there:
                say(f"asking Dumont Cloud to delete snapshot {id_}")
                try:
                    product.delete_snapshot(id_)
                except RekindleError as error:
                    say(f"Dumont Cloud did not delete snapshot {id_}: {error}")
                    trouble = str(error)
                if id_ not in cleared.deleted:
                    cleared.deleted.append(id_)
        if empty_looks >= LOOKS:
            break
        if clock.now() - begun >= patience:
            cleared.unsettled.append(trouble)
            break
        clock.pause(PAUSE)
    if bucket:
        _verify(bucket, cleared, say)
    return cleared


def of_process(records: Collection[SnapshotRecord], machines: Collection[int]) -> Callable[[Row], bool]:
    """Return which rows of the product's list are snapshots of one process of a run.

    Args:
        records: of that process.
        machines: ids of the machines that it rented.
    """
    tags = {record.tag for record in records}
    own = {f"instance:{id_}" for id_ in machines}

    def ours(row: Row) -> bool:
        row_tags = set(row.get("tags") or ())
        return (
            bool(tags & row_tags)
            or bool(own & row_tags)
            or row.get("instance_id") in machines
            or any(record.is_of(_id(row) or "") for record in records)
        )

    return ours


def _verify(bucket: SnapshotBucket, cleared: ClearedSnapshots, say: Callable[[str], None]) -> None:
    try:
        listed = bucket.snapshots()
        left = [id_ for id_ in cleared.deleted if whole(id_, listed)]
        bucket.forget([id_ for id_ in cleared.deleted if id_ not in left])
    except RekindleError as error:
        say(f"the bucket was not looked at: {error}")
        return
    for id_ in left:
        cleared.deleted.remove(id_)
        cleared.unsettled.append(f"snapshot {id_} is still in bucket {bucket.store.bucket}")


def _id(row: Row) -> str | None:
    id_ = row.get("id") or row.get("short_id")
    return str(id_) if id_ else None


def _is_being_taken(row: Row) -> bool:
    return not _id(row) and row.get("status") == "creating"


def _named(there: Collection[str], taken: Collection[Row]) -> str:
    words = [f"snapshot {id_}" for id_ in there]
    return ", ".join([*words, *(f"snapshot {row.get('name')} as being taken" for row in taken)])
