"""A reader of restic repositories that is not restic: what restic wrote is judged by somebody else.

Every object is named by the SHA-256 of its content. A pack holds blobs, the index files say which blob lies where, a
snapshot names a tree blob, and trees name further trees and the data blobs of files.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rekindle.errors import Misconfigured, Mismatch
from rekindle.objects import ObjectStore, StoredObject
from rekindle.restic_format import Blob, ForgedError, Keys, Node, Opener, blobs_of_pack, nodes_of_tree, unlock
from rekindle.wording import counted, number

READERS = 4
TREE_PACKS_KEPT = 4
_SHORT_ID = 8


class NoRepository(Misconfigured):
    """There is no repository at this place."""


@dataclass(frozen=True)
class SnapshotDocument:
    """What a repository says of a snapshot. `time` is restic's own text; `tree` is a blob's id."""

    id: str
    time: str
    hostname: str
    paths: tuple[str, ...]
    tags: tuple[str, ...]
    tree: str

    @property
    def short_id(self) -> str:
        return self.id[:_SHORT_ID]


@dataclass(frozen=True)
class Tree:
    """All that a snapshot holds. Paths are relative to the top of its tree; `blobs` names all that it needs, once."""

    nodes: list[Node]
    blobs: list[str]


@dataclass(frozen=True)
class Stored:
    """Objects in the bucket that a snapshot needs.

    Attributes:
        packs: sizes of the packs in bytes, by key. Other snapshots may need some of them too.
        bytes: size of the snapshot's data in these packs, encrypted and mostly compressed, in bytes.
    """

    packs: Mapping[str, int]
    bytes: int


class ResticRepository:
    """A repository below a prefix of a bucket. Opening it tries the password; nothing is ever written.

    Args:
        store: reads the bucket.
        prefix: the keys of its objects begin with this and a slash.
        password: opens one of its keys.

    Every method raises:
        Misconfigured: there is no repository, the password opens none of its keys, or the store refuses ours.
        Mismatch: an object is not what it must be. The message begins with the snapshots that cannot be restored for
            that, and names the object.
        Unknown: the store cannot be reached.
    """

    def __init__(self, store: ObjectStore, prefix: str, password: str) -> None:
        self.store = store
        self.prefix = prefix.strip("/")
        self._counting = threading.Lock()
        self.objects_read = 0
        self.bytes_read = 0
        self._keys = self._open(password)
        self._blobs: dict[str, Blob] = {}
        self._pack_sizes: dict[str, int] = {}
        self._index: list[StoredObject] = []
        # Trees lie together in packs of their own, so a few whole packs are read rather than many small pieces.
        self._tree_pack = lru_cache(TREE_PACKS_KEPT)(self._read_pack)

    def snapshot(self, snapshot_id: str) -> SnapshotDocument:
        """Reads a snapshot by its id, or by the beginning of it. Mismatch as well when there is none, or several."""
        snapshots = self._list("snapshots")
        found = [one for one in snapshots if snapshot_id and _name(one).startswith(snapshot_id)]
        if len(found) != 1:
            seen = f"{len(found)} begin with that" if found else f"it holds {counted(len(snapshots), 'snapshot')}"
            raise Mismatch(
                f"Snapshot {snapshot_id} cannot be restored: it is not in the repository {self._place()}: {seen}.",
                expected=f"1 snapshot {snapshot_id}",
                actual=seen,
            )
        return self._snapshot(found[0])

    def snapshots(self) -> list[SnapshotDocument]:
        """Reads all snapshots."""
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self._snapshot, self._list("snapshots")))

    def _snapshot(self, listed: StoredObject) -> SnapshotDocument:
        short_id = _name(listed)[:_SHORT_ID]
        with consequence(f"Snapshot {short_id} cannot be restored: the object that describes it is damaged."):
            document = self._read_json(listed)
        return SnapshotDocument(
            id=_name(listed),
            time=document["time"],
            hostname=document.get("hostname", ""),
            paths=tuple(document["paths"]),
            tags=tuple(document.get("tags") or ()),
            tree=document["tree"],
        )

    def read_index(self) -> None:
        """Reads all index files anew. What looks for blobs needs this first."""
        listed = self._list("index")
        with ThreadPoolExecutor(READERS) as pool:
            documents = list(pool.map(self._index_file, listed))
        self._blobs, self._pack_sizes, self._index = {}, {}, listed
        self._tree_pack.cache_clear()
        for document in documents:
            for row in document["packs"]:
                blobs, self._pack_sizes[row["id"]] = blobs_of_pack(row)
                for blob in blobs:
                    self._blobs.setdefault(blob.id, blob)

    def _index_file(self, listed: StoredObject) -> Any:
        with consequence(
            f"Snapshots cannot be restored whose data are listed in index file {_name(listed)[:_SHORT_ID]}: it is "
            "damaged. `restic repair index` makes it anew."
        ):
            return self._read_json(listed)

    def index_is_current(self) -> bool:
        """Whether the index files are still those that were read: a backup adds some, a prune replaces them."""
        return self._index == self._list("index")

    def tree(self, snapshot: SnapshotDocument) -> Tree:
        """Reads everything that the snapshot holds, except the data itself."""
        with consequence(f"Snapshot {snapshot.short_id} cannot be restored: its list of files cannot be read."):
            return self._tree(snapshot)

    def _tree(self, snapshot: SnapshotDocument) -> Tree:
        nodes: list[Node] = []
        blobs = {snapshot.tree: None}
        opener = self.opener()
        to_read = [("", snapshot.tree)]
        while to_read:
            folder, tree_id = to_read.pop()
            blob = self.blob(tree_id)
            pack = self._tree_pack(blob.pack)
            stored = pack[blob.offset : blob.offset + blob.length]
            for node in nodes_of_tree(self.content(blob, stored, opener), folder):
                nodes.append(node)
                blobs.update(dict.fromkeys(node.content))
                if node.subtree:
                    blobs[node.subtree] = None
                    to_read.append((f"{node.path}/", node.subtree))
        return Tree(nodes, list(blobs))

    def blob(self, blob_id: str) -> Blob:
        """Where a blob lies. Mismatch as well when no index file knows it."""
        try:
            return self._blobs[blob_id]
        except KeyError:
            raise Mismatch(f"Blob {blob_id} is in no index file of the repository {self._place()}.") from None

    def stored(self, blob_ids: Iterable[str]) -> Stored:
        """The packs that these blobs lie in. Mismatch as well when no index file knows one of them."""
        blobs = [self.blob(blob_id) for blob_id in blob_ids]
        packs = map(self.pack, dict.fromkeys(blob.pack for blob in blobs))
        return Stored({pack.key: pack.size for pack in packs}, sum(blob.length for blob in blobs))

    def opener(self) -> Opener:
        """What `content` of many blobs is read with, by one thread."""
        return Opener(self._keys)

    def content(self, blob: Blob, stored: bytes, opener: Opener) -> bytes:
        """A blob's content from its bytes in the pack."""
        try:
            return opener.blob(blob, stored)
        except ForgedError:
            place = self.store.where(self.pack(blob.pack).key)
            raise Mismatch(
                f"Blob {blob.id} in object {place} is damaged: its bytes are not what it is named by."
            ) from None

    def pack(self, pack: str) -> StoredObject:
        """The object that a pack must be: its size follows from what the index says is in it."""
        return StoredObject(self._key(f"data/{pack[:2]}/{pack}"), self._pack_sizes[pack])

    def packs_in_store(self) -> dict[str, int]:
        """The sizes in bytes of the packs that the store lists, by key."""
        return {one.key: one.size for one in self._list("data")}

    def count(self, size: int) -> None:
        """Notes that one more object was read, by whichever thread."""
        with self._counting:
            self.objects_read += 1
            self.bytes_read += size

    def _read_pack(self, pack: str) -> bytes:
        return self._read(self.pack(pack))

    def _read(self, expected: StoredObject) -> bytes:
        data = self.store.read(expected.key)
        check_object(self.store, expected, len(data), hashlib.sha256(data).hexdigest())
        self.count(len(data))
        return data

    def _read_json(self, listed: StoredObject) -> Any:
        data = self._read(listed)
        try:
            return self.opener().document(data)
        except ForgedError:
            place = self.store.where(listed.key)
            raise Mismatch(f"Object {place} was not written with this repository's key.") from None

    def _open(self, password: str) -> Keys:
        key_files = self._list("keys")
        if not key_files:
            raise NoRepository(
                f"There is no restic repository {self._place()}: check RESTIC_REPOSITORY. The first snapshot makes it."
            )
        for listed in key_files:
            with consequence(f"Snapshots cannot be opened by key {_name(listed)[:_SHORT_ID]}: it is damaged."):
                key_file = self._read(listed)
            try:
                return unlock(key_file, password)
            except ForgedError:
                continue
        raise Misconfigured(
            f"The password opens no key of the repository {self._place()} ({counted(len(key_files), 'key')} tried): "
            "check RESTIC_PASSWORD."
        )

    def _list(self, folder: str) -> list[StoredObject]:
        return self.store.list(self._key(folder) + "/")

    def _key(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _place(self) -> str:
        return self.store.where(self.prefix or "/")


def check_object(store: ObjectStore, expected: StoredObject, size: int, sha256: str) -> None:
    """Compares what was read of an object with its size and its name. Raises Mismatch."""
    check_size(store, expected, size)
    if sha256 != _name(expected):
        raise Mismatch(
            f"Object {store.where(expected.key)} hashes to {sha256}, not to its name.",
            expected=f"SHA-256 {_name(expected)}",
            actual=f"SHA-256 {sha256}",
        )


def check_size(store: ObjectStore, expected: StoredObject, size: int) -> None:
    """Raises Mismatch when the object has another size."""
    if size != expected.size:
        difference = f"{counted(abs(size - expected.size), 'byte')} {'short' if size < expected.size else 'too long'}"
        sizes = f"{number(size)} bytes seen, {number(expected.size)} expected"
        raise Mismatch(
            f"Object {store.where(expected.key)} is {difference}: {sizes}.",
            expected=counted(expected.size, "byte"),
            actual=counted(size, "byte"),
        )


@contextmanager
def consequence(sentences: str) -> Iterator[None]:
    """Put what it means for the user before each Mismatch of the block."""
    try:
        yield
    except Mismatch as error:
        raise error.with_consequence(sentences) from None


def _name(one: StoredObject) -> str:
    return one.key.rpartition("/")[2]
