"""The snapshots of a run in the ledger, each recorded before it can come into being.

    intended ──► made ──► deleted
        │          └────► promised ──► kept     a hibernation: promised while its run lasts, kept at its orderly end
        └────► never_made

A hibernation whose run died before its orderly end was never handed over to another day: it is deleted like any other
snapshot of that run.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from enum import StrEnum

from rekindle.labels import Label
from rekindle.ledger import Ledger, process_identity

# A snapshot may lie there for as long as the machine it is of may live, and as long again for the machine it is
# restored on.
LIVES = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshots (
    intent INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    target TEXT NOT NULL,
    tag TEXT NOT NULL,
    instance_id INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'made', 'promised', 'kept', 'deleted', 'never_made')),
    snapshot_id TEXT,
    intended_at REAL NOT NULL,
    closed_at REAL,
    proof TEXT
) STRICT
"""
_COLUMNS = "intent, run_id, owner, target, tag, instance_id, state, snapshot_id"
_OPEN = "('intended', 'made', 'promised')"


class SnapshotState(StrEnum):
    """How far a snapshot has come."""

    INTENDED = "intended"
    MADE = "made"
    PROMISED = "promised"
    KEPT = "kept"
    DELETED = "deleted"
    NEVER_MADE = "never_made"


@dataclass(frozen=True)
class SnapshotRecord:
    """One row. `tag` is a label: it names run, row and minutes; a snapshot that the product takes by itself lacks it.

    `owner` is the process of the run, `target` the cloud, `instance_id` the machine; `snapshot_id` may be short.
    """

    intent: int
    run_id: str
    owner: str
    target: str
    tag: str
    instance_id: int
    state: SnapshotState
    snapshot_id: str | None

    @property
    def is_open(self) -> bool:
        """Whether its run must still delete it or hand it over."""
        return self.state in {SnapshotState.INTENDED, SnapshotState.MADE, SnapshotState.PROMISED}

    def is_of(self, snapshot_id: str) -> bool:
        """Whether it is the record of a snapshot; both ids may be short."""
        return same_snapshot(self.snapshot_id or "", snapshot_id)


class SnapshotRecords:
    """The snapshots of every run on this computer, in the ledger's database."""

    def __init__(self, ledger: Ledger) -> None:
        """Make the table where it is missing.

        Raises:
            LedgerUnusable: it cannot be written.
        """
        self._ledger = ledger
        with ledger.transaction() as database:
            database.execute(_SCHEMA)

    def intend(self, run_id: str, instance_id: int, machine_minutes: float) -> SnapshotRecord:
        """Record that a snapshot of a machine is about to be taken.

        Args:
            run_id: the run that causes it.
            instance_id: the machine.
            machine_minutes: how long that machine may live.

        Returns:
            The row, with the tag that the snapshot is to carry.

        Raises:
            LedgerUnusable: it could not be written. No snapshot may be taken then.
        """
        minutes = math.ceil(machine_minutes * LIVES)
        with self._ledger.transaction() as database:
            intent = database.execute(
                "INSERT INTO snapshots (run_id, owner, target, tag, instance_id, state, intended_at)"
                " VALUES (?, ?, ?, '', ?, 'intended', ?)",
                (run_id, process_identity(os.getpid()), self._ledger.target, instance_id, time.time()),
            ).lastrowid
            assert intent is not None  # noqa: S101  # sqlite3 sets it after every INSERT
            tag = str(Label(run_id, intent, minutes))
            database.execute("UPDATE snapshots SET tag = ? WHERE intent = ?", (tag, intent))
        return self._select("WHERE intent = ?", (intent,))[0]

    def made(self, intent: int, snapshot_id: str) -> None:
        """Record the snapshot that came of an intent."""
        self._change("SET state = 'made', snapshot_id = ? WHERE intent = ? AND state = 'intended'", snapshot_id, intent)

    def never_made(self, intent: int, reason: str) -> None:
        """Record that no snapshot came of an intent, and how that is known."""
        self._change(
            "SET state = 'never_made', proof = ?, closed_at = ? WHERE intent = ? AND state = 'intended'",
            reason, time.time(), intent,
        )  # fmt: skip

    def promised(self, intent: int) -> None:
        """Record that a snapshot is to stay for another day when its run has ended in order."""
        self._change("SET state = 'promised' WHERE intent = ? AND state = 'made'", intent)

    def kept(self, run_id: str) -> None:
        """Record the orderly end of a run of this process: what it promised stays."""
        self._change(
            "SET state = 'kept', closed_at = ? WHERE run_id = ? AND owner = ? AND state = 'promised'",
            time.time(), run_id, process_identity(os.getpid()),
        )  # fmt: skip

    def deleted(self, intent: int, proof: str) -> None:
        """Record that a snapshot is proven gone, and by what."""
        self._change(
            "SET state = 'deleted', proof = ?, closed_at = ? WHERE intent = ? AND state <> 'deleted'",
            proof, time.time(), intent,
        )  # fmt: skip

    def of_run(self, run_id: str, owner: str) -> list[SnapshotRecord]:
        """Return every snapshot that a process of a run caused, oldest first."""
        return self._select("WHERE run_id = ? AND owner = ?", (run_id, owner))

    def on_target(self) -> list[SnapshotRecord]:
        """Return every snapshot of the target that may still be there, oldest first."""
        return self._select(
            f"WHERE target = ? AND (state IN {_OPEN} OR state = 'kept')",  # constants
            (self._ledger.target,),
        )

    def _change(self, update: str, *values: object) -> None:
        with self._ledger.transaction() as database:
            database.execute(f"UPDATE snapshots {update}", values)  # constants

    def _select(self, where: str, values: tuple[object, ...]) -> list[SnapshotRecord]:
        with self._ledger.transaction() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM snapshots {where} ORDER BY intent", values)  # noqa: S608  # constants
            return [SnapshotRecord(**{**row, "state": SnapshotState(row["state"])}) for row in rows]


def same_snapshot(one: str, other: str) -> bool:
    """Whether two ids, each whole or short, name the same snapshot."""
    return bool(one and other) and (one.startswith(other) or other.startswith(one))
