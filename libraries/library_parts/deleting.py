"""The deletion of a snapshot, and the proof that nothing of it is left to be paid for."""

from __future__ import annotations

from typing import Any

from library_parts.console import tell
from rekindle import target
from rekindle.errors import Mismatch
from rekindle.space import freed
from rekindle.wording import counted, number


def delete_snapshot(snapshot_id: str) -> None:
    """Has the product delete a snapshot, whose id may be whole or short.

    Raises:
        Mismatch: it is still listed, or still in the bucket; or, where an audit of this run knows which packs it
            needed, some of them are still there although nobody needs them.
    """
    opened = target.current()
    opened.dumont.delete_snapshot(snapshot_id)
    if any(is_row_of(row, snapshot_id) for row in opened.dumont.snapshots()):
        raise Mismatch(f"Dumont Cloud said that snapshot {snapshot_id} was deleted, but still lists it.")
    if any(stored.startswith(snapshot_id) for stored in snapshots_in_bucket()):
        raise Mismatch(f"Dumont Cloud said that snapshot {snapshot_id} was deleted, but it is still in the bucket.")
    if needed := opened.audited.get(snapshot_id):
        space = freed(opened.store, opened.repository_prefix, opened.repository_password, snapshot_id, needed)
        kept = f", {counted(space.kept, 'pack')} kept for other snapshots" if space.kept else ""
        tell(f"Deleted: snapshot {snapshot_id}, {counted(space.packs, 'pack')} with {number(space.bytes)} bytes{kept}")


def is_row_of(row: dict[str, Any], snapshot_id: str) -> bool:
    """Whether a row of the product's list is that of the snapshot."""
    return snapshot_id in {row.get("id"), row.get("short_id"), row.get("snapshot_id")}


def snapshots_in_bucket() -> set[str]:
    """The ids of the snapshots in the bucket."""
    opened = target.current()
    return {one.key.rpartition("/")[2] for one in opened.store.list(f"{opened.repository_prefix}/snapshots/")}
