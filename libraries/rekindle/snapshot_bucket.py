"""The bucket as an account of snapshots: which lie there, whose they are, and since when, by the store's own clock.

Three things tell the owner of a snapshot: its tag, which is a label (see `labels`); the manifest of a hibernation that
was kept; and a claim, an object that a run writes before the product may take a snapshot of one of its machines by
itself:

    rekindle/snapshots/<machine>/<label>
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from rekindle.bucket_lease import FOLDER as LEASES
from rekindle.errors import Mismatch
from rekindle.kept_hibernations import lease_name
from rekindle.kept_manifests import FOLDER as MANIFESTS
from rekindle.kept_manifests import SET_ASIDE, forget_manifest
from rekindle.labels import Label
from rekindle.objects import DatedObject, ObjectStore
from rekindle.restic_repository import ResticRepository, SnapshotDocument, Stored
from rekindle.snapshot_records import same_snapshot
from rekindle.space import Freed, freed

CLAIMS = "rekindle/snapshots/"
_CLAIM = re.compile(re.escape(CLAIMS) + r"(?P<machine>\d+)/(?P<label>.+)")
_MANIFEST = re.compile(rf"(?:{re.escape(MANIFESTS)}|{re.escape(SET_ASIDE)})\d+-(?P<snapshot>[0-9a-f]+)\.json")
_LEASE = re.compile(rf"{re.escape(LEASES)}(?P<name>{lease_name('(?P<snapshot>[0-9a-f]+)')})/.+")
_PROBES = "rekindle/probe-"
_MACHINE = re.compile(r"(?:instance[:-](?P<tagged>\d+)|name:(?P<named>\d+)_.*)")


@dataclass(frozen=True)
class Claim:
    """A run's claim on the snapshots of one of its machines. `age` is in seconds."""

    key: str
    instance_id: int
    label: Label
    age: float


@dataclass(frozen=True)
class KeptFor:
    """A manifest in the bucket by its key: of which snapshot, and since how many seconds."""

    key: str
    snapshot_id: str
    age: float


@dataclass(frozen=True)
class LeaseOf:
    """An object of the lease of a hibernation, see `bucket_lease`."""

    key: str
    name: str
    snapshot_id: str


class SnapshotBucket:
    """The snapshots of one restic repository. Every method raises what `ObjectStore` raises."""

    def __init__(self, store: ObjectStore, prefix: str, password: str) -> None:
        """Read nothing yet.

        Args:
            store: the bucket.
            prefix: where in it the restic repository lies.
            password: the repository's.
        """
        self.store = store
        self._prefix = prefix
        self._password = password

    def snapshots(self) -> dict[str, float]:
        """Return the age in seconds of every snapshot, by its whole id."""
        return {_name(one): one.age for one in self.store.dated(f"{self._prefix}/snapshots/")}

    def documents(self, ids: Collection[str]) -> dict[str, SnapshotDocument | None]:
        """Read snapshots. None stands for a document that is damaged, or gone meanwhile."""
        repository = ResticRepository(self.store, self._prefix, self._password) if ids else None
        found: dict[str, SnapshotDocument | None] = {}
        for id_ in ids:
            assert repository is not None  # noqa: S101  # there is at least one id
            try:
                found[id_] = repository.snapshot(id_)
            except Mismatch:
                found[id_] = None
        return found

    def manifests(self) -> list[KeptFor]:
        """Return every kept manifest, also those that were set aside, by its key."""
        listed = [*self.store.dated(MANIFESTS), *self.store.dated(SET_ASIDE)]
        found = ((one, _MANIFEST.fullmatch(one.key)) for one in listed)
        return [KeptFor(one.key, match["snapshot"], one.age) for one, match in found if match]

    def claims(self) -> list[Claim]:
        """Return every claim that is written as Rekindle writes them."""
        found = ((one, _CLAIM.fullmatch(one.key)) for one in self.store.dated(CLAIMS))
        return [
            Claim(one.key, int(match["machine"]), label, one.age)
            for one, match in found
            if match and (label := Label.read(match["label"]))
        ]

    def claim(self, instance_id: int, tag: str) -> None:
        """Write the claim of a run on the snapshots that the product takes of a machine by itself."""
        self.store.put(_claim_key(instance_id, tag), b"")

    def unclaim(self, instance_id: int, tag: str) -> None:
        """Remove a claim. One that does not exist is fine."""
        self.store.delete(_claim_key(instance_id, tag))

    def leases(self) -> list[LeaseOf]:
        """Return the objects of the leases of hibernations."""
        found = ((one, _LEASE.fullmatch(one.key)) for one in self.store.dated(LEASES))
        return [LeaseOf(one.key, match["name"], match["snapshot"]) for one, match in found if match]

    def probes(self) -> list[DatedObject]:
        """Return the objects with which runs try what the store can do."""
        return self.store.dated(_PROBES)

    def forget(self, snapshot_ids: Collection[str]) -> None:
        """Remove the manifests and leases of snapshots that are gone."""
        for manifest in self.manifests():
            if any(same_snapshot(manifest.snapshot_id, id_) for id_ in snapshot_ids):
                forget_manifest(self.store, manifest.key)
        for lease in self.leases():
            if any(same_snapshot(lease.snapshot_id, id_) for id_ in snapshot_ids):
                self.store.delete(lease.key)

    def needs(self, snapshot_id: str) -> Stored | None:
        """Return what a snapshot needs of the bucket; None when it is damaged, so that this cannot be read."""
        try:
            repository = ResticRepository(self.store, self._prefix, self._password)
            repository.read_index()
            return repository.stored(repository.tree(repository.snapshot(snapshot_id)).blobs)
        except Mismatch:
            return None

    def freed(self, snapshot_id: str, stored: Stored) -> Freed:
        """Make sure that nothing of a deleted snapshot is left. Raises as `space.freed`."""
        return freed(self.store, self._prefix, self._password, snapshot_id, stored)


def machine_of(tags: Iterable[str], hostname: str = "") -> int | None:
    """Return the machine that a snapshot is of, as the product's tags or the host name tell; None when none does."""
    for text in (*sorted(tags), hostname):
        if found := _MACHINE.fullmatch(text):
            return int(found["tagged"] or found["named"])
    return None


def label_of(tags: Iterable[str]) -> Label | None:
    """Return the label among the tags of a snapshot."""
    return next((label for tag in tags if (label := Label.read(tag))), None)


def manifest_of(snapshot_id: str, manifests: Iterable[KeptFor]) -> KeptFor | None:
    """Return the manifest of a snapshot, the youngest when there are several."""
    found = [one for one in manifests if same_snapshot(one.snapshot_id, snapshot_id)]
    return min(found, key=lambda one: one.age, default=None)


def whole(snapshot_id: str, listed: Mapping[str, float]) -> str | None:
    """Return the whole id of a snapshot in the bucket; None when it is not there."""
    return next((id_ for id_ in listed if same_snapshot(id_, snapshot_id)), None)


def _claim_key(instance_id: int, tag: str) -> str:
    return f"{CLAIMS}{instance_id}/{tag}"


def _name(one: DatedObject) -> str:
    return one.key.rpartition("/")[2]
