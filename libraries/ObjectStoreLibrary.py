"""Reads the bucket with a client of our own: what a product says of its snapshots is proven here, or not."""

from __future__ import annotations

import secrets

from robot.api import logger
from robot.api.deco import keyword, library

from console import tell
from rekindle import report, target
from rekindle.audit import AuditResult, audit_snapshot
from rekindle.errors import Misconfigured, Mismatch
from rekindle.manifest import Manifest
from rekindle.objects import ObjectStore
from rekindle.timeline import table
from rekindle.wording import number


@library(scope="GLOBAL", doc_format="MARKDOWN")
class ObjectStoreLibrary:
    """Reads the bucket with a client of our own.

    What a product says of its snapshots is proven here, or not: every object that a snapshot needs is read and hashed,
    and the tree in it is compared with the manifest that was taken on the machine.
    """

    @keyword
    def bucket_should_open_with_its_keys(self) -> None:
        """Lists the bucket, and writes, reads and removes an object of our own in it.

        Raises:
            AssertionError: the keys are refused, the bucket is missing, or what is read is not what was written.
        """
        store = target.current().store
        key = f"rekindle/probe-{secrets.token_hex(8)}"
        written = secrets.token_bytes(64)
        store.put(key, written)
        try:
            if (read := store.read(key)) != written:
                raise Mismatch(
                    f"Object {key} of {len(written)} bytes was written, but {len(read)} other bytes were read."
                )
        finally:
            store.delete(key)
        tell("Bucket: written, read and removed 1 object")

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
        except Misconfigured as refusal:
            tell(f"Bucket: a wrong key is refused ({str(refusal).partition(': check')[0]})")
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
    def snapshot_should_be_whole_in_bucket(self, snapshot_id: str, manifest: Manifest) -> None:
        """Proves that a snapshot can be restored to what the manifest says, before anything is destroyed.

        Every object that it needs is read and hashes to its name; its tree has every path, kind, size, mode, time and
        link target of the manifest; restic, run here, finds it too (unless that witness is declined).

        Args:
            snapshot_id: whole or short.
            manifest: what the workspace held.

        Raises:
            AssertionError: names the object or the file that is missing or wrong.
        """
        opened = target.current()
        _tell_audit(
            audit_snapshot(
                opened.store,
                opened.repository_prefix,
                opened.repository_password,
                snapshot_id,
                manifest,
                restic_witness="restic" not in opened.declined,
            )
        )


def _tell_audit(audit: AuditResult) -> None:
    heading, *rows = audit.comparison.table()
    logger.info(table([str(cell) for cell in heading], rows), html=True)
    tell(f"Audited: {number(audit.objects)} objects with {number(audit.bytes)} bytes in the bucket hash to their names")
    tell(f"Audited: the tree in the bucket equals the machine's, {number(audit.files)} files")
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
