"""Changes a workspace as work does, so that no snapshot of before can pass for one of now."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from rekindle.errors import Misconfigured
from rekindle.ssh import Machine
from rekindle.unpacking import Archive, Owner, write
from rekindle.wording import counted

REWRITTEN = 5
# Larger files are not rewritten, but changed in their middle.
SMALL = 1_000_000

_LIST = r"""
need find
find "$1" -type f -size +0c -printf '%s\0%m\0%U\0%G\0%T@\0%P\0'
"""
_MOVE = r"""
need rm mv touch
cd -- "$1" && rm -- "./$2" && mv --no-clobber -- "./$3" "./$4" && [ ! -e "./$3" ] || failed "$1"
"""
_PATCH = r"""
need dd
cd -- "$1" && printf %s "$4" | dd of="./$2" oflag=seek_bytes seek="$3" conv=notrunc status=none || failed "$1"
"""


@dataclass(frozen=True)
class _Found:
    path: str
    size: int
    mode: int
    owner: Owner
    mtime_ns: int


@dataclass(frozen=True)
class Changes:
    """What was done, by paths below the root.

    Attributes:
        rewritten: other bytes of the same size; the first of them has the same time of change too.
        grown: other bytes, and more of them.
        added, removed: one file each; the added one is hidden.
        renamed: from, to.
        patched: a file that is too large to be rewritten, with other bytes in its middle; None when there is none.
    """

    rewritten: tuple[str, ...]
    grown: str
    added: str
    removed: str
    renamed: tuple[str, str]
    patched: str | None

    def __str__(self) -> str:
        parts = [
            f"{counted(len(self.rewritten), 'file')} rewritten in the same size",
            *(["1 large one in its middle"] if self.patched else []),
            "1 grown, 1 added, 1 removed, 1 renamed",
        ]
        return ", ".join(parts)


def change_files(machine: Machine, root: str, nonce: str) -> Changes:
    """Rewrites, lengthens, adds, removes and renames files below `root`; which ones, and how, follows from the nonce.

    The number of files stays the same. Names that begin with the nonce, or a dot and the nonce, must
    be free in the root.

    Raises:
        Misconfigured: the root is missing or has too few files, or the disk is full.
        Unknown: a tool is missing on the machine.
        RekindleError: it could not be written for another reason, or the machine does not answer.
    """
    files = sorted(_files(machine, root), key=lambda file: file.path)
    small = [file for file in files if file.size <= SMALL]
    if len(small) < REWRITTEN + 3:
        raise Misconfigured(
            f"{root} has {counted(len(small), 'file')} of 1 to {SMALL} bytes, but {REWRITTEN + 3} are needed to change "
            "some of them and to remove and rename others. Create more files first."
        )
    # Not for secrets: the same nonce has to choose the same files.
    grown, removed, renamed, *rewritten = random.Random(nonce).sample(small, REWRITTEN + 3)  # noqa: S311
    largest = max(files, key=lambda file: (file.size, file.path))
    patched = largest if largest.size > SMALL else None
    changes = Changes(
        rewritten=tuple(file.path for file in rewritten),
        grown=grown.path,
        added=f".{nonce} added.txt",
        removed=removed.path,
        renamed=(renamed.path, f"{nonce} renamed.txt"),
        patched=patched.path if patched else None,
    )
    with Archive() as archive:
        for number, file in enumerate(rewritten):
            # A file is known by its bytes, not by its size and time: those of the first stay as they were.
            later = 0 if number == 0 else 1_000_000_007 * number
            other = _bytes(nonce, file.path, file.size)
            archive.add_file(file.path, other, file.mode, file.mtime_ns + later, file.owner)
        longer = _bytes(nonce, grown.path, grown.size + 1 + len(nonce))
        archive.add_file(grown.path, longer, grown.mode, grown.mtime_ns + 1, grown.owner)
        archive.add_file(changes.added, f"added, nonce {nonce}\n".encode(), 0o640, renamed.mtime_ns)
        archive.unpack(machine, root)
    write(machine, _MOVE, root, changes.removed, *changes.renamed)
    if patched:
        write(machine, _PATCH, root, patched.path, str(patched.size // 2), f"nonce {nonce}")
    return changes


def _files(machine: Machine, root: str) -> Iterator[_Found]:
    """Every file below the root that is not empty."""
    fields = write(machine, _LIST, root).stdout.split(b"\0")[:-1]
    for size, mode, uid, gid, moment, path in zip(*[iter(fields)] * 6, strict=True):
        seconds, _, fraction = moment.decode().partition(".")
        mtime_ns = int(seconds) * 10**9 + int(fraction[:9].ljust(9, "0") or 0)
        owner = Owner(int(uid), int(gid))
        yield _Found(path.decode("utf-8", "surrogateescape"), int(size), int(mode, 8), owner, mtime_ns)


def _bytes(nonce: str, path: str, size: int) -> bytes:
    """Bytes that follow from the nonce and the path; a single one is another than any text holds."""
    seed = f"{nonce} {path}".encode("utf-8", "surrogateescape")
    return b"\xff" + hashlib.shake_256(seed).digest(size - 1)
