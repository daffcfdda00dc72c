"""The watchdog's part for snapshots: after the end of a run it deletes those that the run caused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from pydantic import BaseModel

from rekindle import snapshot_clearing
from rekindle.dumont import DumontClient
from rekindle.errors import Misconfigured, RekindleError
from rekindle.ledger import Ledger
from rekindle.objects import ObjectStore
from rekindle.repository_settings import repository_password, repository_prefix
from rekindle.settings import Settings
from rekindle.snapshot_bucket import SnapshotBucket
from rekindle.snapshot_clearing import ClearedSnapshots, Row
from rekindle.snapshot_records import SnapshotRecords, SnapshotState


class Bucket(BaseModel):
    """Where the snapshots of the run lie."""

    endpoint: str
    name: str
    key_id: str
    key: str
    prefix: str
    password: str

    @classmethod
    def of(cls, settings: Settings) -> Bucket | None:
        """Return the bucket of the settings; None when the repository is not in it."""
        try:
            prefix = repository_prefix(settings)
        except Misconfigured:
            return None
        key = settings.b2_application_key.get_secret_value()
        return cls(
            endpoint=settings.b2_endpoint,
            name=settings.b2_bucket,
            key_id=settings.b2_key_id,
            key=key,
            prefix=prefix,
            password=repository_password(settings),
        )

    def open(self) -> SnapshotBucket:
        """Connect to it at the first use."""
        store = ObjectStore(self.endpoint, self.name, self.key_id, self.key)
        return SnapshotBucket(store, self.prefix, self.password)


class Run(Protocol):
    """The part of the watchdog's orders that names the run."""

    run_id: str
    run_process: str
    bucket: Bucket | None


def clear_snapshots(
    run: Run, dumont: DumontClient, ledger: Ledger, say: Callable[[str], None], destroyed: set[int], *, done: bool
) -> ClearedSnapshots:
    """Delete the snapshots that a run caused; after an orderly end, those that it left open in the ledger.

    Args:
        run: whose snapshots.
        dumont: deletes them.
        ledger: knows them, and the machines of the run.
        say: writes a line of the log.
        destroyed: ids of further machines of the run.
        done: whether the run ended in order.
    """
    try:
        records = SnapshotRecords(ledger)
        own = records.of_run(run.run_id, run.run_process)
        machines = {
            rent.instance_id
            for rent in ledger.rents(run.run_id)
            if rent.owner == run.run_process and rent.instance_id is not None
        }
    except RekindleError as error:
        return ClearedSnapshots(unsettled=[f"the snapshots of run {run.run_id} are not known: {error}"])
    open_ = [record for record in own if record.is_open]
    if (done and not open_) or not (own or machines):
        return ClearedSnapshots()
    staying = [record for record in own if record.state is SnapshotState.KEPT]
    known = snapshot_clearing.of_process(open_, machines | destroyed)

    def ours(row: Row) -> bool:
        return known(row) and not snapshot_clearing.of_process(staying, ())(row)

    bucket = run.bucket.open() if run.bucket else None
    patience = snapshot_clearing.PATIENCE / (6 if done else 1)
    cleared = snapshot_clearing.clear(dumont, bucket, ours, say, patience=patience)
    say(str(cleared) or "no snapshot was left")
    if not cleared.unsettled:
        for record in open_:
            records.deleted(record.intent, "absent from the product's list after the end of the run")
            if bucket:
                with contextlib.suppress(RekindleError):  # a sweep removes it
                    bucket.unclaim(record.instance_id, record.tag)
    return cleared
