"""Poison: a workspace that looks restored before anything was restored.

A restore that does nothing, or that skips files of the same size and time, then leaves wrong bytes behind.
"""

from __future__ import annotations

import hashlib
import secrets

from rekindle.errors import Unknown
from rekindle.manifest import Entry, Manifest
from rekindle.ssh import Machine
from rekindle.unpacking import Archive, Owner

_HEAD = 16
# Flips bits of the group and of others, so that the mode is always wrong, and leaves the owner able to write: a restore
# may run as an ordinary user, and must be able to repair what it finds.
_WRONG = 0o055
_OWNER_OF_FILE, _OWNER_OF_DIRECTORY = 0o600, 0o700


def poison(machine: Machine, manifest: Manifest) -> int:
    """Writes wrong bytes of the right size and time, with wrong modes and owners, at the places of a manifest's files.

    What has no bytes (empty files, links, empty directories) is not made: the restore must bring it. Nothing is made
    that the manifest does not name.

    Returns:
        The number of files that are poisoned.

    Raises:
        Unknown: there is no file to poison, so that a restore that does nothing would not be noticed.
        Misconfigured: the root is missing on the machine, or its disk is full.
        RekindleError: it could not be written for another reason, or the machine does not answer.
    """
    files = [entry for entry in manifest.entries.values() if entry.kind == "file" and entry.size]
    if not files:
        raise Unknown(f"The manifest of {manifest.root} names no file with bytes in it: there is nothing to poison.")
    with Archive() as archive:
        for folder in _folders(files):
            if known := manifest.entries.get(folder):
                mode = known.mode & 0o777 ^ _WRONG | _OWNER_OF_DIRECTORY
                archive.add_directory(folder, mode, known.mtime_ns, _another(known))
        for entry in files:
            mode = entry.mode & 0o777 ^ _WRONG | _OWNER_OF_FILE
            head = _wrong_bytes(entry)
            if len(head) < entry.size:
                archive.add_file_with_hole(entry.path, head, entry.size, mode, entry.mtime_ns, _another(entry))
            else:
                archive.add_file(entry.path, head, mode, entry.mtime_ns, _another(entry))
        archive.unpack(machine, manifest.root)
    return len(files)


def _another(entry: Entry) -> Owner:
    """An owner and a group that are both not those of the entry."""
    return Owner((entry.uid or 0) ^ 1, (entry.gid or 0) ^ 1)


def _folders(files: list[Entry]) -> list[str]:
    """Every directory on the way to a file, parents before their children."""
    folders = {entry.path[:at] for entry in files for at, letter in enumerate(entry.path) if letter == "/"}
    return sorted(folders)


def _wrong_bytes(entry: Entry) -> bytes:
    """Random bytes that the file may begin with, and certainly does not consist of."""
    while True:
        head = secrets.token_bytes(min(entry.size, _HEAD))
        if hashlib.sha256(head).hexdigest() != entry.sha256:
            return head
