"""A hibernation: what is needed to wake a machine, on another day and from another computer. It lies in the bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from rekindle.errors import Unknown
from rekindle.kept_manifests import ListedManifest, find_manifests, forget_manifest, keep_manifest, read_manifest
from rekindle.manifest import Manifest
from rekindle.objects import ObjectStore

Maker = Literal["steps", "product"]


@dataclass(frozen=True)
class Hibernation:
    """A machine that sleeps as a snapshot.

    Attributes:
        snapshot_id: as the product named it.
        instance_id: the machine's id while it lived.
        label: the machine's label; the product gives it to the machine that it wakes.
        maker: who took the snapshot: `steps` of the API one by one, or the `product` by itself.
        manifest: everything in the workspace before it fell asleep.
    """

    snapshot_id: str
    instance_id: int
    label: str
    maker: Maker
    manifest: Manifest


def keep(store: ObjectStore, hibernation: Hibernation) -> None:
    """Writes it into the bucket, beside the snapshot."""
    context = {"instance_id": hibernation.instance_id, "label": hibernation.label, "maker": hibernation.maker}
    keep_manifest(store, hibernation.snapshot_id, hibernation.manifest, context)


def newest(
    store: ObjectStore, maker: Maker, usable: Callable[[Hibernation], bool] = lambda _: True
) -> Hibernation | None:
    """The newest one of that maker in the bucket that is usable; None when there is none.

    Raises:
        Unknown: one was cut short or changed, or was not written by this project.
    """
    for kept in find_manifests(store):
        found = _read(store, kept)
        if found.maker == maker and usable(found):
            return found
    return None


def forget(store: ObjectStore, hibernation: Hibernation) -> None:
    """Removes it from the bucket; the snapshot itself is the product's to delete."""
    for kept in find_manifests(store):
        if kept.snapshot_id == hibernation.snapshot_id:
            forget_manifest(store, kept.key)


def _read(store: ObjectStore, kept: ListedManifest) -> Hibernation:
    read = read_manifest(store, kept.key)
    context = read.context
    try:
        return Hibernation(
            kept.snapshot_id, int(context["instance_id"]), str(context["label"]), context["maker"], read.manifest
        )
    except (KeyError, TypeError, ValueError):
        raise Unknown(
            f"{store.where(kept.key)} does not say which machine it is of: {sorted(context)}. Remove it if it is not "
            "yours."
        ) from None
