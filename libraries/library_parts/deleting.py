"""The deletion of a snapshot, and the proof that nothing of it is left to be paid for, and nothing else is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from library_parts.console import tell
from rekindle import report, target
from rekindle.errors import Mismatch, RekindleError
from rekindle.space import freed, others_have_all
from rekindle.wording import counted, number

SHORT = 8  # digits of an id, as the product shows it


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
    opened.snapshots.deleted(snapshot_id)
    if needed := opened.audited.get(snapshot_id):
        space = freed(*where, snapshot_id, needed)
        kept = f", {counted(space.kept, 'pack')} kept for other snapshots" if space.kept else ""
        report.current().not_witnessed += space.not_witnessed
        tell(f"Deleted: snapshot {snapshot_id}, {counted(space.packs, 'pack')} with {number(space.bytes)} bytes{kept}")


def delete_left(is_reported: Callable[[str], bool] = lambda _: False) -> list[str]:
    """Delete every snapshot of this run that is neither deleted nor kept for another day.

    Args:
        is_reported: whether the error of the running test says already that a snapshot cannot be deleted.

    Returns:
        Sentences on those that could not be deleted, or on why the bucket could not be read.
    """
    failures: list[str] = []
    try:
        left = target.current().snapshots.left()
    except RekindleError as failure:
        return [f"Whether this run has left snapshots is not known: {failure}"]
    for snapshot_id in (whole[:SHORT] for whole in left):
        try:
            delete_snapshot(snapshot_id)
            tell(f"Clean-up: snapshot {snapshot_id} is deleted")
        except RekindleError as failure:
            reported = target.current().snapshots.reported
            if snapshot_id in reported or is_reported(snapshot_id):
                tell(f"Clean-up: snapshot {snapshot_id} is left, as the error above says")
            else:
                failures.append(str(failure))
            reported.add(snapshot_id)
    return failures


def end_snapshots() -> list[str]:
    """Delete the snapshots of this run at its end, and hand over to another day what was kept for it.

    Returns:
        As `delete_left`.
    """
    if failures := delete_left():
        return failures
    try:
        target.current().snapshots.close()
    except RekindleError as failure:
        return [str(failure)]
    return []


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
