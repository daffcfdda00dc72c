"""A hibernation: what is needed to wake a machine, on another day and from another computer. It lies in the bucket.

Several runs may look for one at the same time. A run takes the lease of a hibernation before it uses it, and holds it
until the hibernation is forgotten or the run ends.

A hibernation that turns out to be of no use is set aside: its manifest is moved to `rekindle/set-aside/`, with the
reason beside it. So the defect is reported once, the evidence stays, and later runs make a new hibernation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rekindle.kept_manifests import (
    SET_ASIDE,
    ListedManifest,
    Unreadable,
    find_manifests,
    forget_manifest,
    keep_manifest,
    read_manifest,
    set_manifest_aside,
)
from rekindle.manifest import Manifest
from rekindle.objects import ObjectMissing, ObjectStore

# So many days after it was kept, a hibernation that no run has woken is deleted by the next sweep.
KEPT_DAYS = 7

Maker = Literal["steps", "product"]


class Leases(Protocol):
    """The leases that this run holds."""

    def take(self, name: str, /) -> bool: ...
    def give_back(self, name: str, /) -> None: ...


@dataclass(frozen=True)
class Hibernation:
    """A hibernated machine: its snapshot, and the manifest that a restore must match.

    Attributes:
        snapshot_id: id of the snapshot, as the product names it.
        instance_id: id of the machine before it was destroyed.
        label: label of the machine; the product gives it to the machine that it wakes.
        maker: `steps` if the snapshot was taken through the API, `product` if the product took it on its own.
        manifest: manifest of the workspace before the hibernation.
    """

    snapshot_id: str
    instance_id: int
    label: str
    maker: Maker
    manifest: Manifest

    def __str__(self) -> str:
        return f"hibernation of machine {self.instance_id} (snapshot {self.snapshot_id})"


@dataclass(frozen=True)
class SetAside:
    """A hibernation that was found to be of no use, and why. `key` is where its manifest lies now."""

    snapshot_id: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"hibernation with snapshot {self.snapshot_id} to {self.key}: {self.reason}"


def keep(store: ObjectStore, leases: Leases, hibernation: Hibernation) -> None:
    """Write it into the bucket, beside the snapshot. Its lease is taken first, so that no other run is faster."""
    leases.take(lease_name(hibernation.snapshot_id))
    context = {"instance_id": hibernation.instance_id, "label": hibernation.label, "maker": hibernation.maker}
    keep_manifest(store, hibernation.snapshot_id, hibernation.manifest, context)


def newest(
    store: ObjectStore,
    leases: Leases,
    maker: Maker,
    unusable: Callable[[Hibernation], str | None] = lambda _: None,
    *,
    in_use: Callable[[str], None] = lambda _: None,
    aside: Callable[[SetAside], None] = lambda _: None,
) -> Hibernation | None:
    """Find the newest hibernation of a maker that no other run uses, and take its lease.

    Args:
        store: the bucket.
        leases: those of this run.
        maker: who made it.
        unusable: returns why a hibernation cannot be used any more, if so; it is set aside then.
        in_use: called with the snapshot of each hibernation that another run uses.
        aside: called with each hibernation that is set aside.

    Returns:
        The hibernation; None when there is none.

    Raises:
        Unreadable: a manifest was cut short or changed, or was not written by this project. It is set aside, so that
            it is reported once.
    """
    for kept in find_manifests(store):
        found, damage = _read(store, kept)
        if not damage and (found is None or found.maker != maker):
            continue
        name = lease_name(kept.snapshot_id)
        if not leases.take(name):
            in_use(kept.snapshot_id)
            continue
        if not store.list(kept.key):  # the run that used it forgot it while it was read here
            leases.give_back(name)
            continue
        reason = str(damage).removeprefix(damage.prefix) if damage else unusable(found) if found else None
        if reason is None:
            return found
        moved = SetAside(kept.snapshot_id, set_manifest_aside(store, kept, reason), reason)
        aside(moved)
        leases.give_back(name)
        if damage:
            raise Unreadable(f"{reason} It is set aside now, as {moved.key}: the next run makes another one.")
    return None


def set_aside(store: ObjectStore, snapshot_id: str, reason: str) -> SetAside | None:
    """Set the hibernation of a snapshot aside. Returns None when its manifest is not in the bucket (any more)."""
    for kept in find_manifests(store):
        if kept.snapshot_id == snapshot_id:
            return SetAside(snapshot_id, set_manifest_aside(store, kept, reason), reason)
    return None


def forget(
    store: ObjectStore, leases: Leases, hibernation: Hibernation, delete_snapshot: Callable[[str], None]
) -> None:
    """Delete the snapshot, then remove what is kept of it from the bucket, and give the lease back.

    The manifest is set aside before, so that a run which is cut off in between leaves no hibernation without a
    snapshot for the next one.
    """
    set_aside(store, hibernation.snapshot_id, "It was woken and compared, and is being deleted.")
    delete_snapshot(hibernation.snapshot_id)
    for aside in find_manifests(store, SET_ASIDE):
        if aside.snapshot_id == hibernation.snapshot_id:
            forget_manifest(store, aside.key)
    leases.give_back(lease_name(hibernation.snapshot_id))


def woken_before(hibernation: Hibernation, known: Mapping[str, Any]) -> str | None:
    """Return why the product does not wake a machine again, as a sentence; None when it does.

    Args:
        hibernation: made by the product.
        known: what the product reports of the machine (`status`, `snapshot_id`, `new_instance_id`); may be empty.
    """
    if known.get("snapshot_id") != hibernation.snapshot_id:
        return None
    cut_off = "for a run that did not come to its end, and wakes it only once."
    match known.get("status"):
        case "woken":
            woken = f"woke machine {hibernation.instance_id} before, as machine {known.get('new_instance_id')}"
        case "waking":  # the lease of a killed run has expired, and its wake still runs
            woken = f"is waking machine {hibernation.instance_id} already"
        case _:
            return None
    return f"Dumont Cloud {woken}, {cut_off}"


def lease_name(snapshot_id: str) -> str:
    """Return the name of the lease of the hibernation of a snapshot."""
    return f"hibernation-{snapshot_id}"


def _read(store: ObjectStore, kept: ListedManifest) -> tuple[Hibernation | None, Unreadable | None]:
    """Return the hibernation, or what is wrong with it; neither when it is gone."""
    try:
        read = read_manifest(store, kept.key)
    except ObjectMissing:
        return None, None
    except Unreadable as error:
        return None, error
    context = read.context
    try:
        instance_id, label, maker = int(context["instance_id"]), str(context["label"]), context["maker"]
    except (KeyError, TypeError, ValueError):
        return None, Unreadable(
            f"{store.where(kept.key)} does not say which machine it is of: {sorted(context)}. Remove it if it is not "
            "yours."
        )
    return Hibernation(kept.snapshot_id, instance_id, label, maker, read.manifest), None
