"""The snapshots that one process of a run causes: recorded before they are taken, deleted or kept, and paid for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from rekindle.cost import Cost, Life
from rekindle.errors import RekindleError
from rekindle.kept_hibernations import KEPT_DAYS
from rekindle.ledger import process_identity
from rekindle.snapshot_bucket import SnapshotBucket, label_of, machine_of
from rekindle.snapshot_records import SnapshotRecord, SnapshotRecords, SnapshotState, same_snapshot
from rekindle.storage_cost import StorageCost, hourly_usd

# Seconds by which a snapshot may seem older than the run that took it, because HTTP dates have whole seconds.
ROUNDED = 5.0
DAY = 86400.0


@dataclass
class _Stored:
    since: float  # monotonic
    bytes: int
    until: float | None = None


class RunSnapshots:
    """The snapshots of this process of a run.

    Attributes:
        reported: short ids of those that could not be deleted, and of which an error of this run says so already.
    """

    def __init__(
        self,
        records: SnapshotRecords,
        bucket: Callable[[], SnapshotBucket],
        run_id: str,
        machines: Callable[[], Mapping[int, float]],
    ) -> None:
        """Read nothing yet.

        Args:
            records: in the ledger.
            bucket: opens the bucket; raises what is missing for that.
            run_id: the run.
            machines: the machines that this process has rented, each with the minutes that it may live.
        """
        self._records = records
        self._bucket = bucket
        self._run_id = run_id
        self._machines = machines
        self._owner = process_identity(os.getpid())
        self._begun = time.monotonic()
        self.reported: set[str] = set()
        self._stored: dict[str, _Stored] = {}
        self._claimed: set[tuple[int, str]] = set()

    def intend(self, instance_id: int) -> SnapshotRecord:
        """Record that a snapshot of a machine is about to be ordered, which is to carry the record's tag."""
        return self._records.intend(self._run_id, instance_id, self._machines().get(instance_id, 0.0))

    def expect(self, instance_id: int) -> SnapshotRecord:
        """Record that the product may take a snapshot of a machine by itself, here and by a claim in the bucket."""
        if open_ := self._expected(instance_id):
            return open_
        record = self.intend(instance_id)
        with suppress(RekindleError):  # a bucket that takes no claim takes no snapshot either
            self._bucket().claim(instance_id, record.tag)
        self._claimed.add((instance_id, record.tag))
        return record

    def never_made(self, record: SnapshotRecord, reason: str) -> None:
        """Record that no snapshot came of an intent."""
        self._records.never_made(record.intent, reason)

    def made(self, record: SnapshotRecord, snapshot_id: str, size: int = 0) -> None:
        """Record the snapshot that came of an intent; `size` are its bytes in the bucket, as far as they are known."""
        self._records.made(record.intent, snapshot_id)
        self._stored[snapshot_id] = _Stored(time.monotonic(), size)

    def taken_by_product(self, instance_id: int, snapshot_id: str) -> None:
        """Record a snapshot that the product took of a machine by itself."""
        if not any(record.is_of(snapshot_id) for record in self._own()):
            self.made(self._expected(instance_id) or self.intend(instance_id), snapshot_id)

    def measured(self, snapshot_id: str, size: int) -> None:
        """Note how many bytes of a snapshot of this run were seen in the bucket."""
        for id_, stored in self._stored.items():
            if same_snapshot(id_, snapshot_id):
                stored.bytes = size

    def promise(self, snapshot_id: str) -> None:
        """Let a snapshot stay for another day, once this run has ended in order."""
        for record in self._own():
            if record.is_of(snapshot_id):
                self._records.promised(record.intent)

    def deleted(self, snapshot_id: str) -> None:
        """Record that a snapshot, also one of another run, is proven gone."""
        for record in [*self._own(), *self._records.on_target()]:
            if record.is_of(snapshot_id):
                self._records.deleted(record.intent, "absent from the product's list and from the bucket")
        for id_, stored in self._stored.items():
            if same_snapshot(id_, snapshot_id):
                stored.until = stored.until or time.monotonic()

    def left(self) -> list[str]:
        """Return the ids of the snapshots in the bucket that this process caused, and neither deleted nor promised.

        Those that the product took without being asked count as well.
        """
        machines, own = self._machines(), self._own()
        if not machines and not own:
            return []
        bucket = self._bucket()
        listed = bucket.snapshots()
        staying = [one.snapshot_id or "" for one in own if one.state in {SnapshotState.PROMISED, SnapshotState.KEPT}]
        ages = {id_: age for id_, age in listed.items() if not any(same_snapshot(id_, one) for one in staying)}
        known = {id_ for id_ in ages if any(record.is_of(id_) for record in own)}
        kept = bucket.manifests()
        lived = time.monotonic() - self._begun + ROUNDED
        unknown = [
            id_
            for id_, age in ages.items()
            if id_ not in known and age <= lived and not any(same_snapshot(id_, one.snapshot_id) for one in kept)
        ]
        tags = {record.tag for record in own}
        for id_, document in bucket.documents(unknown).items():
            label = label_of(document.tags) if document else None
            machine = machine_of(document.tags, document.hostname) if document else None
            if (label and str(label) in tags) or (not label and machine in machines):
                known.add(id_)
        return [id_ for id_ in listed if id_ in known]

    def close(self) -> None:
        """End in order: what was promised stays, intents that came to nothing are closed, claims are removed.

        To be called when nothing is `left`.
        """
        for record in self._own():
            if record.state is SnapshotState.INTENDED:
                self._records.never_made(record.intent, "no such snapshot in the bucket at the end of the run")
        self._records.kept(self._run_id)
        for instance_id, tag in list(self._claimed):
            self._bucket().unclaim(instance_id, tag)
            self._claimed.discard((instance_id, tag))

    def storage(self) -> list[StorageCost]:
        """Return what the snapshots of this process are expected to cost."""
        own, now = self._own(), time.monotonic()
        costs = []
        for id_, stored in self._stored.items():
            lived = (stored.until or now) - stored.since
            stays = any(one.is_of(id_) and one.state in {SnapshotState.PROMISED, SnapshotState.KEPT} for one in own)
            life = Life(lived, lived + KEPT_DAYS * DAY if stays else lived)
            costs.append(StorageCost(id_, stored.bytes, Cost(hourly_usd(stored.bytes), life), kept=stays))
        return costs

    def _own(self) -> list[SnapshotRecord]:
        return self._records.of_run(self._run_id, self._owner)

    def _expected(self, instance_id: int) -> SnapshotRecord | None:
        """Return the open intent of a snapshot that the product may take of a machine by itself."""
        claimed = {tag for machine, tag in self._claimed if machine == instance_id}
        return next((one for one in self._own() if one.tag in claimed and one.state is SnapshotState.INTENDED), None)
