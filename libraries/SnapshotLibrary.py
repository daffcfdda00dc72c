"""Snapshots as the product makes, lists, restores and deletes them. What it says of them is a claim."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from robot import result, running
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import progress, tell
from library_parts.deleting import delete_snapshot, is_row_of, snapshots_in_bucket
from rekindle import report, target
from rekindle.dumont_views import SnapshotResult
from rekindle.errors import Mismatch, RekindleError
from rekindle.http import Refused
from rekindle.progress import either, growth_of_bucket, told_by_product, written_on_machine
from rekindle.rented import RentedMachine
from rekindle.waiting import wait_until
from rekindle.wording import counted

# A snapshot whose answer was lost is still being taken. Its end is waited for this long, seconds, to delete it.
ENDS_WITHIN = 60.0


@library(scope="GLOBAL", doc_format="MARKDOWN", listener="SELF")
class SnapshotLibrary:
    """Snapshots as the product makes, lists, restores and deletes them.

    What the product says of a snapshot is a claim. *ObjectStoreLibrary* reads the bucket, and *WorkspaceLibrary* the
    restored files: these are the proofs.

    What takes more than a few seconds shows how far it has come: as the product tells it, or, where it does not, by
    what reaches the bucket or the machine's disk.
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self._left: list[str] = []
        self._lost: list[int] = []  # machines of which a snapshot may have been made, whose answer was lost
        self._undeletable: set[str] = set()

    def start_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """A test answers for its own snapshots only: those of tests before it may be meant to stay."""
        self._left.clear()
        self._lost.clear()
        self._undeletable.clear()

    @keyword
    def create_snapshot(
        self,
        machine: RentedMachine,
        path: str,
        timeout: timedelta = timedelta(seconds=300),
        expected_bytes: int | None = None,
    ) -> str:
        """Has the product take a snapshot of a directory, and waits until it says that it is done.

        Args:
            machine: whose directory.
            path: an existing directory that is not empty.
            timeout: how long it may take.
            expected_bytes: of its files; only for showing how far it has come.

        Returns:
            The id of the snapshot.

        Raises:
            AssertionError: in the product's own words: the machine does not run, the path is missing or empty, the
                store refuses, restic is not there, …
        """
        opened = target.current()
        packs = f"{opened.repository_prefix}/data/"
        look = either(
            told_by_product(opened.dumont, machine.id, "snapshot"),
            growth_of_bucket(opened.store, packs, expected_bytes),
        )
        with progress("Snapshot", look):
            self._lost.append(machine.id)
            try:
                made = opened.dumont.snapshot(machine.id, path, [_run_tag()], timeout=timeout.total_seconds())
            except Refused:
                self._lost.remove(machine.id)
                raise
        self._lost.remove(machine.id)
        self._left.append(made.snapshot_id)
        _report_claims(made)
        return made.snapshot_id

    @keyword
    def snapshot_should_be_listed(self, snapshot_id: str) -> None:
        """Makes sure that the product lists the snapshot, and calls it a success where it tells.

        Args:
            snapshot_id: whole or short.
        """
        rows = target.current().dumont.snapshots()
        found = [row for row in rows if is_row_of(row, snapshot_id)]
        if len(found) != 1:
            raise Mismatch(
                f"Dumont Cloud said that snapshot {snapshot_id} was made, but lists it {len(found)} times among "
                f"{len(rows)} snapshots. Look at GET /api/v1/snapshots."
            )
        if (status := found[0].get("status", "success")) != "success":
            raise Mismatch(f"Dumont Cloud lists snapshot {snapshot_id} as {status!r}, not as a success.")
        report.current().add_check("snapshot is listed", "Dumont Cloud", snapshots=len(rows))

    @keyword
    def restore_snapshot(
        self,
        machine: RentedMachine,
        snapshot_id: str,
        path: str,
        timeout: timedelta = timedelta(seconds=600),
        expected_bytes: int | None = None,
    ) -> None:
        """Has the product restore a snapshot onto a machine, and waits until it says that it is done.

        Args:
            machine: where to.
            snapshot_id: whole or short.
            path: the directory that the snapshot is of; there it is restored.
            timeout: how long it may take.
            expected_bytes: of its files; only for showing how far it has come.

        Raises:
            AssertionError: in the product's own words, or because it names errors although it says success.
        """
        dumont = target.current().dumont
        look = either(
            told_by_product(dumont, machine.id, "restore"), written_on_machine(machine.machine, path, expected_bytes)
        )
        with progress("Restore", look):
            done = dumont.restore(snapshot_id, machine.id, path, timeout=timeout.total_seconds())
        report.current().resources["snapshot_id"] = snapshot_id
        report.current().claims["files_restored"] = done.files_restored
        tell(f"Restored: snapshot {snapshot_id} in {done.seconds:.1f} s")

    @keyword
    def delete_snapshot(self, snapshot_id: str) -> None:
        """Has the product delete a snapshot, and makes sure that it is listed no more and has left the bucket.

        Where [Snapshot Should Be Whole In Bucket] has seen which packs it needed, those that nobody else needs must be
        gone too.

        Args:
            snapshot_id: whole or short.

        Raises:
            AssertionError: in the product's own words, or because it says that it did what it has not done.
        """
        try:
            delete_snapshot(snapshot_id)
        except RekindleError:
            self._undeletable.add(snapshot_id)
            raise
        self._left = [left for left in self._left if not snapshot_id.startswith(left)]

    @keyword
    def delete_left_snapshots(self) -> None:
        """Deletes what [Create Snapshot] made in this test and nobody has deleted, such as that of a test that failed.

        It looks for snapshots as well whose making was cut off, by a timeout or by Ctrl-C: the product may have made
        them all the same. For teardowns of tests whose snapshots are large and of no further use.

        Raises:
            AssertionError: at least one could not be deleted; names all of them, except those of which the test's own
                error tells that already.
        """
        if not self._left and not self._lost:
            return
        rows = _rows_that_stay(self._lost) if self._lost else target.current().dumont.snapshots()
        made = dict.fromkeys([*self._left, *(_id(row) for row in rows if _is_lost(row, self._lost))])
        stored = snapshots_in_bucket()
        left = [
            one
            for one in made
            if any(is_row_of(row, one) for row in rows) or any(key.startswith(one) for key in stored)
        ]
        error = str(BuiltIn().get_variable_value("$TEST_MESSAGE", ""))
        failures: list[str] = []
        for snapshot_id in left:
            known = snapshot_id in self._undeletable and snapshot_id in error
            try:
                self.delete_snapshot(snapshot_id)
                tell(f"Clean-up: snapshot {snapshot_id} is deleted")
            except RekindleError as failure:
                if known:
                    tell(f"Clean-up: snapshot {snapshot_id} is left, as the error above says")
                else:
                    failures.append(str(failure))
        self._left.clear()
        self._lost.clear()
        if failures:
            raise Mismatch("\n".join(failures))


def _run_tag() -> str:
    return f"run:{target.current().run_id}"


def _is_lost(row: dict[str, Any], machines: Sequence[int]) -> bool:
    """Whether it was made by this run, of one of these machines."""
    return bool(row.get("id")) and row.get("instance_id") in machines and _run_tag() in (row.get("tags") or ())


def _rows_that_stay(machines: Sequence[int]) -> list[dict[str, Any]]:
    """The product's list, when it takes no snapshot of these machines any more."""

    def being_taken(rows: list[dict[str, Any]]) -> bool:
        return any(row.get("status") == "creating" and row.get("instance_id") in machines for row in rows)

    return wait_until(
        "snapshots whose answer was lost to be made or given up",
        target.current().dumont.snapshots, lambda rows: not being_taken(rows),
        timeout=ENDS_WITHIN, describe=lambda rows: f"{len(rows)} snapshots, at least one being taken",
    ).value  # fmt: skip


def _id(row: dict[str, Any]) -> str:
    return str(row.get("short_id") or row["id"])


def _report_claims(made: SnapshotResult) -> None:
    files, added = counted(made.total_files_processed, "file"), counted(made.data_added, "byte")
    tell(f"Snapshot: {made.snapshot_id} ({files}, {added} added)")
    report.current().resources["snapshot_id"] = made.snapshot_id
    report.current().claims |= {
        "files_processed": made.total_files_processed,
        "bytes_processed": made.total_bytes_processed,
        "bytes_added": made.data_added,
    }
