"""Snapshots as the product makes, lists, restores and deletes them. What it says of them is a claim."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from robot import result, running
from robot.api.deco import keyword, library
from robot.libraries.BuiltIn import BuiltIn

from library_parts.console import progress, tell
from library_parts.deleting import delete_left, delete_snapshot, is_row_of
from library_parts.returned import converters
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


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(RentedMachine), listener="SELF")
class SnapshotLibrary:
    """Snapshots as the product makes, lists, restores and deletes them.

    What the product says of a snapshot is a claim. *ObjectStoreLibrary* reads the bucket, and *WorkspaceLibrary* the
    restored files: these are the proofs.

    What takes more than a few seconds shows how far it has come: as the product tells it, or, where it does not, by
    what reaches the bucket or the machine's disk.
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self._lost: list[int] = []  # machines of which a snapshot may have been made, whose answer was lost
        self._undeletable: set[str] = set()

    def start_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Each test answers for its own errors."""
        self._lost.clear()
        self._undeletable.clear()

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """What the error of a test says of a snapshot, later clean-ups need not repeat."""
        if opened := target.opened():
            opened.snapshots.reported |= {one for one in self._undeletable if one in result.message}

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
        record = opened.snapshots.intend(machine.id)
        with progress("Snapshot", look):
            self._lost.append(machine.id)
            try:
                made = opened.dumont.snapshot(machine.id, path, [record.tag], timeout=timeout.total_seconds())
            except Refused as refused:
                self._lost.remove(machine.id)
                opened.snapshots.never_made(record, str(refused))
                raise
        self._lost.remove(machine.id)
        opened.snapshots.made(record, made.snapshot_id, made.data_added)
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

    @keyword
    def delete_left_snapshots(self) -> None:
        """Delete the snapshots of this run that are still in the bucket, such as those of a test that failed.

        Hibernations that [Keep Hibernation] keeps for another day stay. Snapshots that the product took by itself go
        as well, and those whose making was cut off by a timeout or by Ctrl-C: the product may have made them all the
        same. [Destroy All Machines And Prove It] does this too, at the end of a suite.

        Raises:
            AssertionError: at least one could not be deleted; names all of them, except those of which the test's own
                error tells that already.
        """
        if self._lost:
            _wait_until_taken(self._lost)
            self._lost.clear()
        error = str(BuiltIn().get_variable_value("$TEST_MESSAGE", ""))
        if failures := delete_left(lambda snapshot_id: snapshot_id in self._undeletable and snapshot_id in error):
            raise Mismatch("\n".join(failures))


def _wait_until_taken(machines: Sequence[int]) -> None:
    """Wait until the product takes no snapshot of these machines any more."""

    def being_taken(rows: list[dict[str, Any]]) -> bool:
        return any(row.get("status") == "creating" and row.get("instance_id") in machines for row in rows)

    wait_until(
        "snapshots whose answer was lost to be made or given up",
        target.current().dumont.snapshots, lambda rows: not being_taken(rows),
        timeout=ENDS_WITHIN, describe=lambda rows: f"{len(rows)} snapshots, at least one being taken",
    )  # fmt: skip


def _report_claims(made: SnapshotResult) -> None:
    files, added = counted(made.total_files_processed, "file"), counted(made.data_added, "byte")
    tell(f"Snapshot: {made.snapshot_id} ({files}, {added} added)")
    report.current().resources["snapshot_id"] = made.snapshot_id
    report.current().claims |= {
        "files_processed": made.total_files_processed,
        "bytes_processed": made.total_bytes_processed,
        "bytes_added": made.data_added,
    }
