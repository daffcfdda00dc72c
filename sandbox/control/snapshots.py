"""Snapshots: taking, listing, restoring and deleting them. Each one taken is a record before anything happens."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from sandbox.control.errors import ApiError
from sandbox.control.machines import Machines
from sandbox.control.progress import ProgressOf
from sandbox.control.restic import Backup, RepositorySnapshot, Restic, as_text
from sandbox.control.ssh import Machine
from sandbox.events import Events
from sandbox.records import Records
from sandbox.tasks import Tasks

SHORT = 8  # digits of a snapshot id, as the API shows it
CUT = "Dumont Cloud was stopped while this snapshot was being taken"


class SnapshotRecord(BaseModel):
    """A snapshot that was ordered here: what the repository does not know of it."""

    key: str = Field(default_factory=lambda: f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}")
    instance_id: int
    name: str
    source_path: str
    tags: list[str] = []
    status: Literal["creating", "success", "failed"] = "creating"
    error: str | None = None
    ordered_at: float = Field(default_factory=time.time)
    backup: Backup | None = None


class KeptForever(BaseModel):
    """A snapshot (by its whole id) that no clean-up may take."""

    snapshot_id: str


class Restored(BaseModel):
    snapshot_id: str
    target_path: str
    files_restored: int


class Snapshots:
    def __init__(
        self, records: Records, restic: Restic, machines: Machines, progress_of: ProgressOf, events: Events
    ) -> None:
        self._records = records
        self._restic = restic
        self._machines = machines
        self._progress_of = progress_of
        self._events = events
        self._tasks = Tasks("a snapshot", expected=ApiError)

    def settle(self) -> None:
        """Ends truthfully what the last run of this process left unfinished.

        To be called before new ones are ordered; the rest goes on in the background.
        """
        unfinished = [record for record in self._records.all(SnapshotRecord) if record.status == "creating"]
        if unfinished:
            self._tasks.begin(self._settle(unfinished))

    async def _settle(self, unfinished: list[SnapshotRecord]) -> None:
        try:
            await self._restic.remove_dead_locks()
            listed = await self._restic.snapshots()
        except ApiError:
            listed = []
        for record in unfinished:
            # restic may have come to its end although nobody was left to hear of it. Then the repository knows more.
            if any(
                snapshot.tagged("name") == record.name
                and snapshot.tagged("instance") == str(record.instance_id)
                and snapshot.time.timestamp() >= record.ordered_at
                for snapshot in listed
            ):
                self._records.delete(SnapshotRecord, record.key)
            else:
                self._fail(record, CUT)
                self._restic.prune_later()

    async def close(self) -> None:
        await self._tasks.close()

    def order(self, instance_id: int, source_path: str, name: str | None, tags: list[str]) -> SnapshotRecord:
        """Notes that a snapshot shall be taken; `take` takes it."""
        record = SnapshotRecord(
            instance_id=instance_id,
            source_path=source_path,
            name=name or f"{instance_id}_{int(time.time())}",
            tags=tags,
        )
        self._records.put(record.key, record)
        return record

    async def take(self, record: SnapshotRecord, machine: Machine) -> Backup:
        """Takes an ordered snapshot. The record ends as success or as failed, whatever happens."""
        tags = [f"instance:{record.instance_id}", f"name:{record.name}", *record.tags]
        try:
            async with self._machines.restic_of[record.instance_id]:
                with self._progress_of.begin(record.instance_id, "snapshot") as progress:
                    backup = await self._restic.backup(machine, record.source_path, list(dict.fromkeys(tags)), progress)
        except ApiError as error:
            self._fail(record, error.message)
            await self._events.publish("snapshot.failed", instance_id=record.instance_id, error=error.message)
            raise
        except BaseException:
            self._fail(record, "The snapshot was cancelled")
            raise
        record.status, record.backup = "success", backup
        self._records.put(record.key, record)
        await self._events.publish("snapshot.finished", instance_id=record.instance_id, snapshot_id=backup.snapshot_id)
        return backup

    def take_in_background(self, record: SnapshotRecord, machine: Machine) -> None:
        self._tasks.begin(self.take(record, machine))

    async def audit(self, snapshot_id: str) -> None:
        """Sees with this server's own eyes that the snapshot is listed and that the repository is sound."""
        listed, _ = await asyncio.gather(self._restic.snapshots(), self._restic.check())
        if not any(snapshot.id.startswith(snapshot_id) for snapshot in listed):
            raise ApiError(500, f"Snapshot {snapshot_id} is not in the repository, which lists {len(listed)} others")

    async def listing(self, instance_id: int | None) -> list[dict[str, object]]:
        """All snapshots of the repository, and those that are being taken or have failed; newest first."""
        records = list(self._records.all(SnapshotRecord))
        kept = {one.snapshot_id for one in self._records.all(KeptForever)}
        known = {record.backup.snapshot_id: record for record in records if record.backup}
        rows = [
            (snapshot.time.timestamp(), _row(snapshot, known.get(snapshot.id[:SHORT]), kept=snapshot.id in kept))
            for snapshot in await self._restic.snapshots()
        ]
        rows += [(record.ordered_at, _row_without_snapshot(record)) for record in records if record.status != "success"]
        rows.sort(key=lambda row: row[0], reverse=True)
        return [row for _, row in rows if instance_id in (None, row["instance_id"])]

    async def find(self, reference: str) -> RepositorySnapshot:
        """A snapshot by its id, the beginning of its id, or its name (the newest of that name)."""
        for record in self._records.all(SnapshotRecord):
            # What was taken here is known without a look; restic says so if it has gone.
            if record.backup and reference == record.backup.snapshot_id:
                return RepositorySnapshot(
                    id=reference, short_id=reference, paths=[record.source_path],
                    time=datetime.fromtimestamp(record.backup.begun, UTC),
                )  # fmt: skip
        return await self._listed(reference)

    async def _listed(self, reference: str) -> RepositorySnapshot:
        found = [
            snapshot
            for snapshot in await self._restic.snapshots()
            if (len(reference) >= SHORT and snapshot.id.startswith(reference)) or snapshot.tagged("name") == reference
        ]
        if not found:
            raise ApiError(404, f"Snapshot {reference} not found")
        return max(found, key=lambda snapshot: snapshot.time)

    async def newest(self, instance_id: int, folder: str) -> RepositorySnapshot | None:
        """The newest snapshot of a folder of a machine."""
        found = [
            snapshot
            for snapshot in await self._restic.snapshots()
            if snapshot.tagged("instance") == str(instance_id) and snapshot.paths == [folder]
        ]
        return max(found, key=lambda snapshot: snapshot.time, default=None)

    async def restore(
        self, snapshot: RepositorySnapshot, machine: Machine, target: str | None, *, verify: bool
    ) -> Restored:
        """Puts a snapshot onto a machine: at `target`, or where it was taken."""
        if len(snapshot.paths) != 1:
            raise ApiError(
                400,
                f"Snapshot {snapshot.short_id} holds {len(snapshot.paths)} folders; one with a single folder is needed",
            )
        folder = snapshot.paths[0]
        target = target or folder
        async with self._machines.restic_of[machine.instance_id]:
            with self._progress_of.begin(machine.instance_id, "restore") as progress:
                backup = self._backup_of(snapshot)
                progress.bytes_total = backup.total_bytes_processed if backup else None
                progress.files_total = backup.total_files_processed if backup else None
                files = await self._restic.restore(machine, snapshot.id, folder, target, progress, verify=verify)
        await self._events.publish(
            "restore.finished", instance_id=machine.instance_id, snapshot_id=snapshot.short_id, target_path=target
        )
        return Restored(snapshot_id=snapshot.short_id, target_path=target, files_restored=files)

    def _backup_of(self, snapshot: RepositorySnapshot) -> Backup | None:
        """What was noted when a snapshot was taken; None when it was not taken here."""
        backups = (record.backup for record in self._records.all(SnapshotRecord) if record.backup)
        return next((backup for backup in backups if snapshot.id.startswith(backup.snapshot_id)), None)

    async def delete(self, reference: str) -> None:
        """Deletes a snapshot from the repository, or the record of one that failed."""
        for record in self._records.all(SnapshotRecord):
            if record.name == reference and record.status == "creating":
                raise ApiError(409, f"Snapshot {reference} is being taken: wait until that has ended")
            if record.name == reference and record.status == "failed":
                self._records.delete(SnapshotRecord, record.key)
                return
        snapshot = await self._listed(reference)
        await self._restic.forget(snapshot.id)
        self._records.delete(KeptForever, snapshot.id)
        for record in self._records.all(SnapshotRecord):
            if record.backup and snapshot.id.startswith(record.backup.snapshot_id):
                self._records.delete(SnapshotRecord, record.key)

    async def keep_forever(self, reference: str, *, keep: bool) -> None:
        snapshot = await self._listed(reference)
        if keep:
            self._records.put(snapshot.id, KeptForever(snapshot_id=snapshot.id))
        else:
            self._records.delete(KeptForever, snapshot.id)

    def _fail(self, record: SnapshotRecord, error: str) -> None:
        record.status, record.error = "failed", error
        self._records.put(record.key, record)


def _row(snapshot: RepositorySnapshot, record: SnapshotRecord | None, *, kept: bool) -> dict[str, object]:
    backup = record.backup if record else None
    instance = snapshot.tagged("instance") or ""
    return {
        "id": snapshot.id,
        "short_id": snapshot.id[:SHORT],
        "name": snapshot.tagged("name"),
        "status": "success",
        "error": None,
        "instance_id": int(instance) if instance.isdecimal() else None,
        "time": as_text(snapshot.time),
        "hostname": snapshot.hostname,
        "tags": snapshot.tags,
        "paths": snapshot.paths,
        "size_original": backup.total_bytes_processed if backup else None,
        "size_compressed": backup.stored if backup else None,
        "keep_forever": kept,
    }


def _row_without_snapshot(record: SnapshotRecord) -> dict[str, object]:
    return {
        "id": None,
        "short_id": None,
        "name": record.name,
        "status": record.status,
        "error": record.error,
        "instance_id": record.instance_id,
        "time": as_text(datetime.fromtimestamp(record.ordered_at, UTC)),
        "hostname": f"instance-{record.instance_id}",
        "tags": record.tags,
        "paths": [record.source_path],
        "size_original": None,
        "size_compressed": None,
        "keep_forever": False,
    }
