"""Manifests that are kept in the bucket, beside the snapshots they describe, for those who wake them on another day."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import dataclass
from typing import Any

from rekindle.errors import Unknown
from rekindle.manifest import Manifest
from rekindle.objects import ObjectStore

FOLDER = "rekindle/manifests/"
SET_ASIDE = "rekindle/set-aside/"
REASON = ".reason.txt"  # beside a manifest that was set aside
FORMAT = "rekindle kept manifest"
VERSION = 1
_NAME = re.compile(r"(\d+)-([0-9a-f]+)\.json")


class Unreadable(Unknown):
    """A kept manifest is damaged, so that nothing can be compared with it."""


@dataclass(frozen=True)
class ListedManifest:
    """A kept manifest by its key alone: when it was kept (seconds since 1970), and of which snapshot."""

    key: str
    kept_at: int
    snapshot_id: str


@dataclass(frozen=True)
class KeptManifest:
    """A snapshot, what the workspace held when it was taken, and what else was noted then.

    `key` is the object that keeps this in the bucket.
    """

    key: str
    snapshot_id: str
    manifest: Manifest
    context: dict[str, Any]


def keep_manifest(store: ObjectStore, snapshot_id: str, manifest: Manifest, context: dict[str, Any]) -> KeptManifest:
    """Writes a manifest into the bucket.

    Args:
        store: the bucket.
        snapshot_id: the snapshot that the manifest describes.
        manifest: what was in the workspace.
        context: what else a later run should know: instance, label, run, how it was hibernated. Plain JSON, no secrets.
    """
    key = f"{FOLDER}{int(time.time())}-{snapshot_id}.json"
    head = json.dumps({"format": FORMAT, "version": VERSION, "snapshot_id": snapshot_id, "context": context})
    seal = _seal(snapshot_id, context, manifest)
    store.put(key, f'{head[:-1]}, "sha256": "{seal}", "manifest": {manifest.to_json()}}}\n'.encode())
    return KeptManifest(key, snapshot_id, manifest, context)


def find_manifests(store: ObjectStore, folder: str = FOLDER) -> list[ListedManifest]:
    """Return all manifests of a folder in the bucket, the newest first. None of them is read."""
    matches = [(one.key, _NAME.fullmatch(one.key.removeprefix(folder))) for one in store.list(folder)]
    kept = [ListedManifest(key, int(match[1]), match[2]) for key, match in matches if match]
    return sorted(kept, key=lambda one: (one.kept_at, one.key), reverse=True)


def read_manifest(store: ObjectStore, key: str) -> KeptManifest:
    """Reads what `keep_manifest` wrote.

    Raises:
        ObjectMissing: it is gone.
        Unreadable: it is cut short, or not as it was written.
    """
    place = store.where(key)
    try:
        document = json.loads(store.read(key))
        if (document["format"], document["version"]) != (FORMAT, VERSION):
            raise Unreadable(f"{place} cannot be read: it is {document['format']!r} version {document['version']!r}.")
        snapshot_id, context, sealed = document["snapshot_id"], document["context"], document["sha256"]
        manifest = Manifest.from_document(document["manifest"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Unreadable(f"{place} cannot be read: it is cut short or damaged.") from None
    if sealed != _seal(snapshot_id, context, manifest):
        raise Unreadable(f"{place} was changed after it was written: its SHA-256 does not fit its content.")
    return KeptManifest(key, snapshot_id, manifest, context)


def set_manifest_aside(store: ObjectStore, kept: ListedManifest, reason: str) -> str:
    """Move a manifest to where no later run finds it, with the reason beside it.

    Args:
        store: the bucket.
        kept: the manifest, which may be damaged; its bytes stay as they are.
        reason: in words.

    Returns:
        The key where it lies now.

    Raises:
        ObjectMissing: it is gone.
    """
    key = SET_ASIDE + kept.key.removeprefix(FOLDER)
    content = store.read(kept.key)
    store.put(key + REASON, f"{reason}\n".encode())
    store.put(key, content)
    store.delete(kept.key)
    return key


def forget_manifest(store: ObjectStore, key: str) -> None:
    """Remove a manifest from the bucket, and the reason beside it. One that is gone already is fine."""
    store.delete(key)
    if key.startswith(SET_ASIDE):
        store.delete(key + REASON)


def _seal(snapshot_id: str, context: dict[str, Any], manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps([snapshot_id, context, manifest.digest()], sort_keys=True).encode()).hexdigest()
