"""The deletion of a snapshot, and the proof that nothing of it is left to be paid for, and nothing else is gone."""

from __future__ import annotations

from typing import Any

from library_parts.console import tell
from rekindle import report, target
from rekindle.errors import Mismatch
from rekindle.space import freed, others_have_all
from rekindle.wording import counted, number


def delete_snapshot(snapshot_id: str) -> None:
    """Has the product delete a snapshot, whose id may be whole or short.

    Raises:
        Mismatch: it is still listed, or still in the bucket; or something is gone that another snapshot needs which
            this run has audited; or, where an audit of this run knows which packs it needed, some of them are still
            there although nobody needs them.
    """
    opened = target.current()
    others = _whole_besides(snapshot_id)
    opened.dumont.delete_snapshot(snapshot_id)
    if any(is_row_of(row, snapshot_id) for row in opened.dumont.snapshots()):
        raise Mismatch(f"Dumont Cloud said that snapshot {snapshot_id} was deleted, but still lists it.")
    if any(stored.startswith(snapshot_id) for stored in snapshots_in_bucket()):
        raise Mismatch(f"Dumont Cloud said that snapshot {snapshot_id} was deleted, but it is still in the bucket.")
    where = (opened.store, opened.repository_prefix, opened.repository_password)
    others_have_all(*where, snapshot_id, others)
    if others:
        tell(f"Kept: everything of {counted(len(others), 'other snapshot')}")
    if needed := opened.audited.get(snapshot_id):
        space = freed(*where, snapshot_id, needed)
        kept = f", {counted(space.kept, 'pack')} kept for other snapshots" if space.kept else ""
        report.current().not_witnessed += space.not_witnessed
        tell(f"Deleted: snapshot {snapshot_id}, {counted(space.packs, 'pack')} with {number(space.bytes)} bytes{kept}")


def _whole_besides(snapshot_id: str) -> list[str]:
    """The other snapshots that this run has found whole, and that have not been deleted since."""
    audited = [one for one in target.current().audited if not one.startswith(snapshot_id)]
    listed = snapshots_in_bucket() if audited else ()
    same = {one for one in listed if one.startswith(snapshot_id)}
    return [one for one in audited if any(id_.startswith(one) for id_ in listed if id_ not in same)]


def is_row_of(row: dict[str, Any], snapshot_id: str) -> bool:
    """Whether a row of the product's list is that of the snapshot."""
    return snapshot_id in {row.get("id"), row.get("short_id"), row.get("snapshot_id")}


def snapshots_in_bucket() -> set[str]:
    """The ids of the snapshots in the bucket."""
    opened = target.current()
    return {one.key.rpartition("/")[2] for one in opened.store.list(f"{opened.repository_prefix}/snapshots/")}
