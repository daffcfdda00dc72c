"""The audit of a snapshot: is everything in the bucket that a restore will need, and is it the right thing?

The bucket is read with our own S3 client and our own reader of the format; restic, run here, is a second witness. The
manifest that the snapshot was audited with is kept in the bucket too, so that a restore on another day, and from
another computer, can be compared with it.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from rekindle.errors import Mismatch
from rekindle.file_hashes import FileHashes
from rekindle.manifest import Comparison, Entry, Manifest, compare
from rekindle.objects import ObjectMissing, ObjectStore
from rekindle.restic_format import Blob, Node
from rekindle.restic_repository import (
    READERS,
    ResticRepository,
    SnapshotDocument,
    Stored,
    Tree,
    check_object,
    check_size,
)
from rekindle.restic_witness import ResticWitness
from rekindle.wording import counted, named, number, shown

# A prune that moves blobs to new packs in mid-audit is no fault. The audit begins anew then, but not for ever: each run
# that shares the bucket prunes it when it deletes a snapshot.
ATTEMPTS = 8
# Files and objects that an error names before it counts the rest.
NAMED_FILES = NAMED_OBJECTS = 3
OWN_READER, RESTIC = "our own reader of the bucket", "restic, run here"


@dataclass(frozen=True)
class AuditResult:
    """What an audit that found nothing wrong has looked at.

    `objects` and `bytes` count what was read from the bucket and hashed; `stored` is what of it the snapshot needs.
    `comparison` is the snapshot's tree against the manifest. `seconds` is monotonic.
    """

    snapshot: SnapshotDocument
    objects: int
    bytes: int
    stored: Stored
    comparison: Comparison
    seconds: float
    witnesses: tuple[str, ...]
    not_witnessed: tuple[str, ...]

    @property
    def files(self) -> int:
        return self.comparison.checked_files


class Damage:
    """What is damaged of a snapshot, and which of its files cannot be restored for that."""

    def __init__(self, snapshot: SnapshotDocument, tree: Tree, root: str) -> None:
        self._snapshot = snapshot
        top = root.strip("/") + "/"
        self._files = {node.path.removeprefix(top): node.content for node in tree.nodes if node.kind == "file"}
        self._blobs: set[str] = set()
        self._errors: list[Mismatch] = []

    def add(self, blobs: Iterable[str], error: Mismatch) -> None:
        """Note that these blobs cannot be read, and why."""
        self._blobs.update(blobs)
        self._errors.append(error)

    def raise_if_any(self) -> None:
        """Raise one error for all damage: first the affected files, then the first damaged objects.

        Raises:
            ObjectMissing: an object is missing.
            Mismatch: none is missing, but at least one is damaged.
        """
        if not self._errors:
            return
        files = [shown(path) for path, blobs in self._files.items() if not self._blobs.isdisjoint(blobs)]
        are = "is" if len(files) == 1 else "are"
        what = (
            f"{number(len(files))} of {counted(len(self._files), 'file')} {are} affected ({named(files, NAMED_FILES)})"
        )
        errors = sorted(self._errors, key=lambda error: not isinstance(error, ObjectMissing))
        details = [str(error) for error in errors[:NAMED_OBJECTS]]
        if more := len(errors) - len(details):
            details.append(f"{counted(more, 'more object is', 'more objects are')} missing or damaged.")
        first = errors[0]
        raise type(first)(
            f"Snapshot {self._snapshot.short_id} cannot be restored: {what if files else 'what it needs is damaged'}. "
            f"{' '.join(details)}",
            expected=first.expected,
            actual=first.actual,
        )


def audit_snapshot(
    store: ObjectStore,
    prefix: str,
    password: str,
    snapshot_id: str,
    expected: Manifest,
    *,
    restic_witness: bool = True,
) -> AuditResult:
    """Makes sure that a snapshot can be restored to what the manifest says, before anything is destroyed.

    The snapshot, the index and every pack that it needs must be there, of the right size, with the content that their
    names hash. Its tree must have every path, kind, size, mode, owner, time and link target of the manifest, and its
    files the same bytes.

    Args:
        store: the bucket.
        prefix: where in it the restic repository lies.
        password: the repository's.
        snapshot_id: the snapshot, or the first digits of its id.
        expected: what the workspace held.
        restic_witness: whether restic, run here, must find the snapshot too.

    Raises:
        Mismatch: something is missing or wrong; the message names the object or the file.
        Unknown: the store or restic gives no answer, or there was nothing to look at.
        Misconfigured: wrong keys, wrong password, no bucket, no repository, no restic here.
    """
    begun = time.monotonic()
    with ExitStack() as beside:
        witness = beside.enter_context(ResticWitness(store, prefix, password, snapshot_id)) if restic_witness else None
        repository = ResticRepository(store, prefix, password)
        snapshot = repository.snapshot(snapshot_id)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                stored, comparison = _audit(repository, snapshot, expected)
                break
            except ObjectMissing:
                if attempt == ATTEMPTS or repository.index_is_current():
                    raise
        if witness and witness.tree() != snapshot.tree:
            raise Mismatch(
                f"Snapshot {snapshot.short_id} would be restored by restic to something else: restic, run here, sees "
                "another tree in it than is in the bucket."
            )
    return AuditResult(
        snapshot=snapshot,
        objects=repository.objects_read,
        bytes=repository.bytes_read,
        stored=stored,
        comparison=comparison,
        seconds=time.monotonic() - begun,
        witnesses=(OWN_READER, RESTIC) if restic_witness else (OWN_READER,),
        not_witnessed=(*(() if restic_witness else (RESTIC,)), *comparison.not_witnessed),
    )


def _audit(repository: ResticRepository, snapshot: SnapshotDocument, expected: Manifest) -> tuple[Stored, Comparison]:
    """The audit without restic. Returns what the snapshot needs of the bucket, and the comparison of the trees."""
    repository.read_index()
    tree = repository.tree(snapshot)
    damage = Damage(snapshot, tree, expected.root)
    by_pack: dict[str, list[Blob]] = defaultdict(list)
    for blob_id in tree.blobs:
        try:
            blob = repository.blob(blob_id)
        except Mismatch as error:
            damage.add([blob_id], error)
        else:
            by_pack[blob.pack].append(blob)
    damage.raise_if_any()
    in_store = repository.packs_in_store()
    for pack in map(repository.pack, by_pack):
        try:
            if pack.key not in in_store:
                raise ObjectMissing(
                    f"Object {repository.store.where(pack.key)} is missing.",
                    expected=counted(pack.size, "byte"),
                    actual="no such object",
                )
            check_size(repository.store, pack, in_store[pack.key])
        except Mismatch as error:
            damage.add((blob.id for blob in by_pack[pack.key.rpartition("/")[2]]), error)
    damage.raise_if_any()
    with FileHashes({node.path: node.content for node in tree.nodes if node.kind == "file"}) as hashes:
        with ThreadPoolExecutor(READERS) as pool:
            read = pool.map(lambda name: _read_pack(repository, name, by_pack[name], hashes), by_pack)
            for blobs, harm in zip(by_pack.values(), read, strict=True):
                if harm:
                    damage.add((blob.id for blob in blobs), harm)
        damage.raise_if_any()
        seen = _as_manifest(snapshot, tree.nodes, hashes, expected)
    comparison = compare(expected, seen)
    worse = expected.files and not comparison.equal
    comparison.raise_unless_equal(
        f"Snapshot {snapshot.short_id}{' would restore another workspace: it' if worse else ''}"
    )
    return repository.stored(tree.blobs), comparison


def _read_pack(repository: ResticRepository, name: str, blobs: list[Blob], hashes: FileHashes) -> Mismatch | None:
    """Read a pack to its end, holding one blob at a time: its own hash, and the content of every needed blob.

    Returns:
        The damage that it has; None when it has none.
    """
    try:
        _check_pack(repository, name, blobs, hashes)
    except Mismatch as error:
        return error
    return None


def _check_pack(repository: ResticRepository, name: str, blobs: list[Blob], hashes: FileHashes) -> None:
    pack, opener = repository.pack(name), repository.opener()
    digest, size, held = hashlib.sha256(), 0, bytearray()
    damage: Mismatch | None = None
    waiting = sorted(blobs, key=lambda blob: blob.offset, reverse=True)
    for chunk in repository.store.stream(pack.key):
        digest.update(chunk)
        size += len(chunk)
        held += chunk
        while waiting and (end := waiting[-1].offset + waiting[-1].length) <= size:
            blob = waiting.pop()
            stored = bytes(held[blob.offset - size + len(held) : end - size + len(held)])
            del held[: end - size + len(held)]
            try:
                hashes.add(blob.id, repository.content(blob, stored, opener))
            except Mismatch as error:
                damage = damage or error
        if not waiting:
            held.clear()
    # A damaged object is said to be one, rather than the blob in it that happens to be hit.
    check_object(repository.store, pack, size, digest.hexdigest())
    if damage:
        raise damage
    repository.count(size)


def _as_manifest(snapshot: SnapshotDocument, nodes: Iterable[Node], hashes: FileHashes, expected: Manifest) -> Manifest:
    """What a restore would bring, as a manifest.

    A snapshot of `/workspace` holds the path from the top; one of `.` in it holds its entries only, and says nothing of
    the root itself.
    """
    base = expected.root.strip("/") + "/"
    inside = [node for node in nodes if f"{node.path}/".startswith(base)]
    if inside:
        entries = [(f"{node.path}/"[len(base) : -1], node) for node in inside]
    elif snapshot.paths == (expected.root,):
        entries = [(node.path, node) for node in nodes]
    else:
        raise Mismatch(
            f"Snapshot {snapshot.short_id} would restore another workspace: it does not hold {expected.root}, but "
            f"{', '.join(snapshot.paths)}.",
            expected=expected.root,
            actual=", ".join(snapshot.paths),
        )
    manifest = Manifest(expected.root, (_as_entry(path, node, hashes, expected) for path, node in entries))
    if root := expected.entries.get(""):
        manifest.entries.setdefault("", root)
    return manifest


def _as_entry(path: str, node: Node, hashes: FileHashes, expected: Manifest) -> Entry:
    sha256 = md5 = None
    if node.kind == "file":
        sha256 = hashes.of(node.path)
        counterpart = expected.entries.get(path)
        # The same SHA-256 means the same bytes, and so the same MD5.
        md5 = counterpart.md5 if counterpart and counterpart.sha256 == sha256 else None
    return Entry(
        path, node.kind, node.size, node.mode, node.mtime_ns, node.link_target, sha256, md5, node.uid, node.gid
    )
