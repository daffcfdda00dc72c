"""Snapshots as the product makes, lists, restores and deletes them. What it says of them is a claim."""

from __future__ import annotations

from datetime import timedelta

from robot.api.deco import keyword, library

from console import progress, tell
from rekindle import report, target
from rekindle.dumont import SnapshotResult
from rekindle.errors import Mismatch, RekindleError
from rekindle.progress import either, growth_of_bucket, told_by_product, written_on_machine
from rekindle.rented import RentedMachine
from rekindle.wording import counted


@library(scope="GLOBAL", doc_format="MARKDOWN")
class SnapshotLibrary:
    """Snapshots as the product makes, lists, restores and deletes them.

    What the product says of a snapshot is a claim. *ObjectStoreLibrary* reads the bucket, and *WorkspaceLibrary* the
    restored files: these are the proofs.

    What takes more than a few seconds shows how far it has come: as the product tells it, or, where it does not, by
    what reaches the bucket or the machine's disk.
    """

    def __init__(self) -> None:
        self._left: list[str] = []

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
            made = opened.dumont.snapshot(machine.id, path, [f"run:{opened.run_id}"], timeout=timeout.total_seconds())
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
        found = [row for row in rows if _is(row, snapshot_id)]
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
        """Has the product delete a snapshot, and makes sure that it is listed no more.

        Args:
            snapshot_id: whole or short.
        """
        dumont = target.current().dumont
        dumont.delete_snapshot(snapshot_id)
        if any(_is(row, snapshot_id) for row in dumont.snapshots()):
            raise Mismatch(f"Dumont Cloud said that snapshot {snapshot_id} was deleted, but still lists it.")
        self._left = [left for left in self._left if not snapshot_id.startswith(left)]

    @keyword
    def delete_left_snapshots(self) -> None:
        """Deletes what [Create Snapshot] made and nobody has deleted, such as that of a test that failed.

        For the teardowns of tests whose snapshots are large and of no further use.

        Raises:
            AssertionError: at least one could not be deleted; names all of them.
        """
        failures: list[str] = []
        for snapshot_id in list(self._left):
            try:
                self.delete_snapshot(snapshot_id)
                tell(f"Clean-up: snapshot {snapshot_id} is deleted")
            except RekindleError as failure:
                failures.append(str(failure))
        self._left.clear()
        if failures:
            raise Mismatch("\n".join(failures))


def _is(row: dict[str, object], snapshot_id: str) -> bool:
    return snapshot_id in {row.get("id"), row.get("short_id"), row.get("snapshot_id")}


def _report_claims(made: SnapshotResult) -> None:
    files, added = counted(made.total_files_processed, "file"), counted(made.data_added, "byte")
    tell(f"Snapshot: {made.snapshot_id} ({files}, {added} added)")
    report.current().resources["snapshot_id"] = made.snapshot_id
    report.current().claims |= {
        "files_processed": made.total_files_processed,
        "bytes_processed": made.total_bytes_processed,
        "bytes_added": made.data_added,
    }
