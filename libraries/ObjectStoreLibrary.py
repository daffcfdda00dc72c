"""Reads the bucket with a client of our own: what a product says of its snapshots is proven here, or not."""

from __future__ import annotations

import secrets

from robot.api import logger
from robot.api.deco import keyword, library

from library_parts.console import tell
from library_parts.returned import converters
from rekindle import access, report, target
from rekindle.audit import AuditResult, audit_snapshot
from rekindle.errors import Mismatch
from rekindle.manifest import Manifest
from rekindle.objects import KeysRefused, ObjectStore
from rekindle.restic_repository import Stored
from rekindle.space import freed
from rekindle.tables import table
from rekindle.transfer import Transfer, Transfers, compression_ratio, uploaded
from rekindle.wording import counted, number

OWN_CLIENT = "our own client of the bucket"


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Manifest, Stored))
class ObjectStoreLibrary:
    """Reads the bucket with a client of our own.

    What a product says of its snapshots is proven here, or not: every object that a snapshot needs is read and hashed,
    and the tree in it is compared with the manifest that was taken on the machine.
    """

    @keyword
    def bucket_should_open_with_its_keys(self) -> None:
        """Write, list, read and remove an object of our own in the bucket.

        Raises:
            AssertionError: the keys are refused, the bucket is missing, or what is read is not what was written.
        """
        store = target.current().store
        key = f"rekindle/probe-{secrets.token_hex(8)}"
        written = secrets.token_bytes(64)
        store.put(key, written)
        try:
            access.check_listed(store, key)
            if (read := store.read(key)) != written:
                raise Mismatch(
                    f"Object {key} of {len(written)} bytes was written, but {len(read)} other bytes were read."
                )
        finally:
            store.delete(key)
        tell("Bucket: written, listed, read and removed 1 object")

    @keyword
    def bucket_should_refuse_wrong_keys(self) -> None:
        """Makes sure that a wrong key does not open the bucket.

        Raises:
            AssertionError: it does; anybody could read the snapshots.
        """
        settings = target.current().settings
        stranger = ObjectStore(settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, secrets.token_hex(16))
        try:
            seen = list(stranger.list(""))
        except KeysRefused as refusal:
            words = str(refusal).removeprefix(refusal.prefix).partition(": check")[0]
            tell(f"Bucket: a wrong key is refused ({words})")
        else:
            raise Mismatch(
                f"The bucket {settings.b2_bucket} opens with a wrong key and shows {len(seen)} objects: anybody can "
                "read the snapshots. Look at its policy."
            )

    @keyword
    def list_bucket(self, prefix: str = "") -> list[str]:
        """Returns the keys of all objects in the bucket, in order.

        Args:
            prefix: how they begin.
        """
        return [found.key for found in target.current().store.list(prefix)]

    @keyword
    def read_object(self, key: str) -> bytes:
        """Returns the content of an object.

        Args:
            key: which one.

        Raises:
            AssertionError: it is missing.
        """
        return target.current().store.read(key)

    @keyword
    def write_object(self, key: str, content: bytes) -> None:
        """Writes an object, over what may be there.

        Args:
            key: which one.
            content: its bytes.
        """
        target.current().store.put(key, content)

    @keyword
    def delete_object(self, key: str) -> None:
        """Removes an object from the bucket; one that is not there is fine.

        Args:
            key: which one.
        """
        target.current().store.delete(key)

    @keyword
    def snapshot_should_be_whole_in_bucket(self, snapshot_id: str, manifest: Manifest) -> Stored:
        """Proves that a snapshot can be restored to what the manifest says, before anything is destroyed.

        Every object that it needs is read and hashes to its name; its tree has every path, kind, size, mode, time and
        link target of the manifest; restic, run here, finds it too (unless that witness is declined).

        Args:
            snapshot_id: whole or short.
            manifest: what the workspace held.

        Returns:
            What the snapshot needs of the bucket: `packs` with their sizes, and the `bytes` that are its own in them.

        Raises:
            AssertionError: names the object or the file that is missing or wrong.
        """
        opened = target.current()
        audit = audit_snapshot(
            opened.store,
            opened.repository_prefix,
            opened.repository_password,
            snapshot_id,
            manifest,
            restic_witness="restic" not in opened.declined,
        )
        opened.audited[snapshot_id] = audit.stored
        opened.snapshots.measured(snapshot_id, audit.stored.bytes)
        _tell_audit(audit)
        return audit.stored

    @keyword
    def list_packs(self) -> frozenset[str]:
        """Returns the keys of all packs in the bucket: what is needed to tell, later, which ones are new."""
        opened = target.current()
        return frozenset(one.key for one in opened.store.list(f"{opened.repository_prefix}/data/"))

    @keyword
    def record_upload_speed(self, stored: Stored, packs_before: frozenset[str], step: str) -> None:
        """Reports how fast a snapshot reached the bucket: the bytes of its new packs, in the seconds of the step.

        Args:
            stored: what [Snapshot Should Be Whole In Bucket] found.
            packs_before: what [List Packs] found before the snapshot was taken.
            step: its name as in the report's timings, without the unit: `snapshot`.

        Raises:
            AssertionError: nothing was uploaded, so that there is no speed (`UNKNOWN:`).
        """
        _record(Transfer("upload", uploaded(stored, packs_before), report.current().seconds_of(step)))

    @keyword
    def record_download_speed(self, stored: Stored, step: str) -> None:
        """Reports how fast a snapshot came back: the bytes that lie in the bucket for it, in the seconds of the step.

        Args:
            stored: what [Snapshot Should Be Whole In Bucket] found.
            step: its name as in the report's timings, without the unit: `restore`.
        """
        _record(Transfer("download", stored.bytes, report.current().seconds_of(step)))

    @keyword
    def record_compression_ratio(self, stored: Stored, manifest: Manifest) -> None:
        """Reports how many bytes of files lie in each byte that is stored for them; above 1 means that they shrank.

        Args:
            stored: what [Snapshot Should Be Whole In Bucket] found.
            manifest: of the files.
        """
        ratio = compression_ratio(manifest.bytes, stored)
        tell(f"COMPRESSION RATIO: {ratio:.3f} ({number(manifest.bytes)} bytes stored in {number(stored.bytes)})")
        report.current().metrics["compression_ratio"] = round(ratio, 4)

    @keyword
    def space_should_be_freed(self, snapshot_id: str, stored: Stored) -> None:
        """Proves that a deleted snapshot is gone from the bucket, with every pack that no other snapshot needs.

        Args:
            snapshot_id: whole or short.
            stored: what [Snapshot Should Be Whole In Bucket] found before.

        Raises:
            AssertionError: names the objects that are still there and paid for, and their bytes; old versions too.
        """
        opened = target.current()
        space = freed(opened.store, opened.repository_prefix, opened.repository_password, snapshot_id, stored)
        kept = f", {counted(space.kept, 'pack')} kept for other snapshots" if space.kept else ""
        tell(f"Freed: {counted(space.packs, 'pack')} with {number(space.bytes)} bytes{kept}")
        report.current().not_witnessed += space.not_witnessed
        current = report.current()
        current.metrics["space_freed_bytes"] = space.bytes
        current.add_check("space of the snapshot is freed", OWN_CLIENT, packs=len(stored.packs))


def _record(transfer: Transfer) -> None:
    direction = transfer.direction.upper()
    tell(f"{direction}: {transfer.mbps:.0f} Mbps ({number(transfer.bytes)} bytes in {transfer.seconds:.1f} s)")
    Transfers.of(report.current()).rows.append(transfer)


def _tell_audit(audit: AuditResult) -> None:
    heading, *rows = audit.comparison.table()
    logger.info(table([str(cell) for cell in heading], rows), html=True)
    tell(f"Audited: {number(audit.objects)} objects with {number(audit.bytes)} bytes in the bucket hash to their names")
    tell(f"Audited: the tree in the bucket equals the machine's, {counted(audit.files, 'file')}")
    current = report.current()
    current.validation["snapshot_exists_in_b2"] = True
    current.add_check(
        "snapshot is whole in the bucket",
        ", ".join(audit.witnesses),
        objects=audit.objects,
        bytes=audit.bytes,
        files=audit.files,
    )
    current.not_witnessed += audit.not_witnessed
