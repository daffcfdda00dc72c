"""The manifest: everything that can be said of a tree of files, so that two trees can be compared to the last bit.

A tree is read on its machine by find, sha256sum and md5sum in one round trip, while nothing is written there. Paths are
relative to the root, whose own entry has the empty path. A name that is not UTF-8 keeps its bytes as surrogate escapes.
Sockets are left out: they are the ears of running processes, and no snapshot can keep them. Which names are hard links
to the same file, and extended attributes, are left out on purpose: not every way by which a workspace moves keeps them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.ssh import Machine, RemoteFailure
from rekindle.wording import counted, named, number, shown

Kind = Literal["file", "directory", "link", "fifo", "block device", "character device"]

# Seconds: half an hour hashes some hundred gigabytes.
TIMEOUT = 1800.0
FORMAT = "rekindle manifest"
VERSION = 2
# Version 1 did not tell whose the entries are.
_KNOWN_VERSIONS = (1, VERSION)

_KINDS: dict[bytes, Kind] = {
    b"f": "file",
    b"d": "directory",
    b"l": "link",
    b"p": "fifo",
    b"b": "block device",
    b"c": "character device",
}
_PLURALS: dict[Kind, str] = {
    "file": "files",
    "directory": "directories",
    "link": "links",
    "fifo": "fifos",
    "block device": "block devices",
    "character device": "character devices",
}
_MISSING_TOOL, _NO_ROOT, _NOT_A_DIRECTORY = 21, 22, 23

# An entry whose last change is not older than this when the reading begins may have been changed while it was read: the
# clock of a file system runs up to one tick, 10 ms, behind.
_TICK = 0.01
# How long a tree that was written to in the instant before is given to become older than that, seconds.
_SETTLING = 0.1

# The hashes come first and the listing after them, with the time of each entry's last change: when all of these lie
# before the start, whatever was hashed is what is listed. Records end with NUL, so that any name is safe, and all paths
# begin with "./", so that none is taken for an option.
_TAKE = r"""
export LC_ALL=C
set -o pipefail
for tool in date find xargs sha256sum md5sum paste cut; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
[ -z "$missing" ] || { echo "not found on the machine:$missing" >&2; exit 21; }
[ -e "$1" ] || exit 22
[ -d "$1" ] || exit 23
cd -- "$1" || exit
files() { find . -type f -print0; }
printf '%s\0' "$(date +%s.%N)"
files | xargs -0r sha256sum -z -- | paste -z -d '' - <(files | xargs -0r md5sum -z -- | cut -z -b-32) || exit
printf 'listing\0'
find . ! -type s -printf '%y %s %m %U %G %T@ %C@ %P\0%l\0' || exit
printf 'end\0'
"""
_SHA256_HEX, _MD5_HEX = 64, 32
_HASHED_NAME = slice(_SHA256_HEX + len("  ./"), -_MD5_HEX)


class Entry(NamedTuple):
    """One entry of a tree. There may be a hundred thousand of them, and a tuple is made in a tenth of the time.

    `size` is in bytes, and 0 for what is not a file; `mode` holds the permission bits (0o7777), `mtime_ns` is in
    nanoseconds since 1970. `sha256` and `md5` are hexadecimal and present for files, `link_target` for links. `uid` and
    `gid` are the numbers of owner and group; None where nobody wrote them down.
    """

    path: str
    kind: Kind
    size: int
    mode: int
    mtime_ns: int
    link_target: str | None = None
    sha256: str | None = None
    md5: str | None = None
    uid: int | None = None
    gid: int | None = None

    def to_json(self) -> dict[str, Any]:
        row: dict[str, Any] = {
            "path": self.path,
            "kind": self.kind,
            "size": self.size,
            "mode": f"{self.mode:04o}",
            "mtime_ns": self.mtime_ns,
        }
        for name in ("link_target", "sha256", "md5", "uid", "gid"):
            if (value := getattr(self, name)) is not None:
                row[name] = value
        return row

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Entry:
        """Raises KeyError, TypeError or ValueError when the row is not one that `to_json` made."""
        if row["kind"] not in get_args(Kind):
            raise ValueError(f"{row['kind']!r} is no kind of entry")
        if row["path"] and not {"", ".", ".."}.isdisjoint(row["path"].split("/")):
            raise ValueError(f"{row['path']!r} does not lie below the root")
        return cls(**row | {"mode": int(row["mode"], 8)})


class Manifest:
    """Every entry of a directory tree: files, directories and links.

    Attributes:
        root: directory on the machine.
        entries: entries by path below the root, each with `kind`, `size`, `mode`, `mtime_ns`, `link_target`, `sha256`,
            `md5`, `uid` and `gid`.
    """

    root: str
    entries: dict[str, Entry]

    def __init__(self, root: str, entries: Iterable[Entry]) -> None:
        self.root = root
        self.entries = {entry.path: entry for entry in sorted(entries, key=lambda entry: entry.path)}

    @property
    def files(self) -> int:
        """Number of regular files."""
        return self.count("file")

    @property
    def bytes(self) -> int:
        """Total size of all files in bytes."""
        return sum(entry.size for entry in self.entries.values() if entry.kind == "file")

    def count(self, kind: Kind) -> int:
        """How many entries of a kind there are. The root is not counted."""
        return sum(entry.kind == kind for path, entry in self.entries.items() if path)

    def digest(self) -> str:
        """The SHA-256 of everything the manifest says."""
        return self._digest(self._lines())

    def to_json(self) -> str:
        """One JSON document, an entry a line, closed by the digest so that `from_json` notices any change."""
        head = json.dumps({"format": FORMAT, "version": VERSION, "root": self.root})
        lines = list(self._lines())
        return f'{head[:-1]}, "entries": [\n' + ",\n".join(lines) + f'\n], "digest": "{self._digest(lines)}"}}\n'

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Reads what `to_json` wrote.

        Raises:
            Unknown: it is cut short, was changed, or is of a version that this code does not know.
        """
        try:
            return cls.from_document(json.loads(text))
        except ValueError as error:
            raise Unknown(f"The manifest cannot be read: it is cut short or damaged ({error}).") from None

    @classmethod
    def from_document(cls, document: Any) -> Manifest:
        """Reads a manifest that was parsed from JSON, alone or as part of something larger. Raises Unknown."""
        try:
            if document["format"] != FORMAT or document["version"] not in _KNOWN_VERSIONS:
                raise Unknown(
                    f"The manifest cannot be read: it is {document['format']!r} version {document['version']!r}, "
                    f"and this program knows {FORMAT!r} up to version {VERSION}."
                )
            manifest = cls(document["root"], map(Entry.from_json, document["entries"]))
            complete = len(manifest.entries) == len(document["entries"]) and manifest.digest() == document["digest"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Unknown(f"The manifest cannot be read: {type(error).__name__}: {error}.") from None
        if not complete:
            raise Unknown("The manifest was changed after it was written: its digest does not fit its entries.")
        return manifest

    def summary(self) -> str:
        """What it holds: "1 009 files (67 112 345 bytes), 3 directories, 1 link"."""
        parts = [f"{counted(self.files, 'file')} ({counted(self.bytes, 'byte')})"]
        parts += [counted(n, kind, _PLURALS[kind]) for kind in get_args(Kind)[1:] if (n := self.count(kind))]
        return ", ".join(parts)

    def _lines(self) -> Iterator[str]:
        return (json.dumps(entry.to_json()) for entry in self.entries.values())

    def _digest(self, lines: Iterable[str]) -> str:
        digest = hashlib.sha256(json.dumps(self.root).encode())
        for line in lines:
            digest.update(b"\n" + line.encode())
        return digest.hexdigest()


def take_manifest(machine: Machine, root: str) -> Manifest:
    """Reads the whole tree at `root` on a machine, and makes sure that it held still meanwhile.

    It is read a second time when something changed during the first, or in the instant before.

    Raises:
        Mismatch: the root is missing, or is no directory.
        Unknown: a tool is missing there or lists nothing, an entry cannot be read or keeps changing, or the answer
            was cut short.
        RekindleError: the machine does not answer.
    """
    for pause in (0.0, _SETTLING):
        time.sleep(pause)
        entries, restless = _read(machine, root)
        if not restless:
            manifest = Manifest(root, entries)
            machine.tree_bytes = max(machine.tree_bytes, manifest.bytes)
            return manifest
    raise Unknown(
        f"{root} changed while its manifest was taken: {named([shown(path) or root for path in restless])}. "
        "Stop what writes there, and take it again."
    )


def _read(machine: Machine, root: str) -> tuple[list[Entry], list[str]]:
    """Reads a tree once. Returns its entries, and the paths of those that may have changed during the reading."""
    records = _records(machine, root)
    still_since = float(next(records, b"0")) - _TICK
    hashes = {record[_HASHED_NAME]: record for record in iter(lambda: next(records, b"listing"), b"listing")}
    entries: list[Entry] = []
    restless: list[str] = []
    unhashed: list[str] = []
    for described in records:
        if described == b"end":
            break
        letter, size, mode, uid, gid, mtime, ctime, raw_path = described.split(b" ", 7)
        target = next(records, b"")
        path, kind = _text(raw_path), _KINDS[letter]
        if float(ctime) > still_since:
            restless.append(path)
        byte_count, link_target, sha256, md5 = 0, None, None, None
        if kind == "file":
            byte_count = int(size)
            if hashed := hashes.pop(raw_path, None):
                sha256, md5 = hashed[:_SHA256_HEX].decode(), hashed[-_MD5_HEX:].decode()
            else:
                unhashed.append(path)
        elif kind == "link":
            link_target = _text(target)
        nanoseconds = _nanoseconds(mtime)
        entries.append(
            Entry(path, kind, byte_count, int(mode, 8), nanoseconds, link_target, sha256, md5, int(uid), int(gid))
        )
    else:
        raise Unknown(f"The manifest of {root} was cut short: its end did not arrive. Take it again.")
    if not entries:
        raise Unknown(
            f"The manifest of {root} is empty: not even the root itself was listed. What does `find` do on the machine?"
        )
    if not restless and (unhashed or hashes):
        lost = named([shown(path) for path in [*unhashed, *map(_text, hashes)]])
        raise Unknown(f"The manifest of {root} contradicts itself: what was hashed is not what is listed: {lost}.")
    return entries, restless


def _records(machine: Machine, root: str) -> Iterator[bytes]:
    """The NUL-terminated records of the script. What follows the last NUL was cut short, and is dropped."""
    rest = b""
    try:
        for chunk in machine.stream(_TAKE, root, timeout=TIMEOUT):
            *whole, rest = (rest + chunk).split(b"\0")
            yield from whole
    except RemoteFailure as error:
        raise _explained(error, root) from None


def _explained(error: RemoteFailure, root: str) -> RekindleError:
    if error.exit_code == _NO_ROOT:
        return Mismatch(f"There is no {root} on the machine. Is the path right, and was it created or restored?")
    if error.exit_code == _NOT_A_DIRECTORY:
        return Mismatch(f"{root} on the machine is not a directory.")
    advice = " Install it there." if error.exit_code == _MISSING_TOOL else ""
    return Unknown(f"The manifest of {root} could not be taken: {error.stderr or error}.{advice}")


def _nanoseconds(seconds: bytes) -> int:
    """find's `-2.5000000000` is second -2 and half a second on: the fraction counts upwards before 1970 as well."""
    whole, _, fraction = seconds.partition(b".")
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0"))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


@dataclass(frozen=True)
class Change:
    """An attribute of an entry that is not as expected."""

    path: str
    attribute: str
    expected: str
    seen: str

    def __str__(self) -> str:
        return f"{self.attribute} {self.expected} expected, {self.seen} seen"


@dataclass(frozen=True)
class Comparison:
    """What came of comparing a tree with its manifest.

    `changed` holds, by path, the attributes that differ; `compared` counts the entries that are on both sides, by kind,
    and `checked_bytes` adds up the files among them. `owners` counts the entries by (uid, gid), where both sides record
    them.
    """

    expected: Manifest
    missing: Sequence[str]
    changed: Mapping[str, Sequence[Change]]
    extra: Sequence[str]
    compared: Mapping[Kind, int]
    checked_bytes: int
    owners: Mapping[tuple[int | None, int | None], int]

    @property
    def equal(self) -> bool:
        return not (self.missing or self.changed or self.extra)

    @property
    def checked_files(self) -> int:
        return self.compared["file"]

    @property
    def not_witnessed(self) -> tuple[str, ...]:
        """Attributes that this comparison cannot vouch for, each with the reason.

        A copy that gives every entry to one user keeps the owners of a tree that has only one. Where the machine's user
        may not give files away, there is no other tree.
        """
        if not self.owners:
            return ("owners: the manifest does not record them",)
        if len(self.owners) == 1:
            ((uid, gid),) = self.owners
            reason = _indistinct("owners", f"{uid}:{gid}")
            return (f"{reason}; only root can create files of other users" if uid else reason,)
        (uid, *other_uids), (gid, *other_gids) = ({owner[at] for owner in self.owners} for at in (0, 1))
        users = () if other_uids else (_indistinct("users", f"user {uid}"),)
        groups = () if other_gids else (_indistinct("groups", f"group {gid}"),)
        return users + groups

    def differences(self) -> list[str]:
        """One line for each entry that differs."""
        return [
            *(f"changed {_place(path)} ({'; '.join(map(str, changes))})" for path, changes in self.changed.items()),
            *(f"missing {_place(path)}" for path in self.missing),
            *(f"extra {_place(path)}" for path in self.extra),
        ]

    def raise_unless_equal(self, what: str = "Restored workspace") -> None:
        """Passes when at least one file was compared and nothing differs.

        Raises:
            Unknown: no file was compared, so nothing is known.
            Mismatch: names the first differences and counts all of them.
        """
        if not self.expected.files:
            raise Unknown(f"{what}: nothing was compared, because the manifest of {self.expected.root} holds no file.")
        if self.equal:
            return
        counts = {"changed": len(self.changed), "missing": len(self.missing), "extra": len(self.extra)}
        elsewhere = self._elsewhere()
        different = ", ".join(f"{number(n)} {name}" for name, n in counts.items() if n)
        raise Mismatch(
            f"{what} differs from the manifest: {different} of {self.expected.summary()}: {named(self.differences())}."
            + (f" Everything that is expected lies below {shown(elsewhere)} instead." if elsewhere else ""),
            expected=self.expected.summary(),
            actual=f"{different}: {named(self.differences(), 3)}",
        )

    def _elsewhere(self) -> str | None:
        """The folder that has an extra entry for each that is expected: the restore has taken the wrong one."""
        expected = [f"/{path}" for path in self.expected.entries if path]
        folders = [path.removesuffix(expected[0]) for path in self.extra if path.endswith(expected[0])]
        return next((folder for folder in folders if {folder + path for path in expected} <= {*self.extra}), None)

    def table(self) -> list[list[str | int]]:
        """Rows for a report: a heading, then what was expected, compared and different, by kind of entry."""
        kinds = {path: entry.kind for path, entry in self.expected.entries.items() if path}
        expected = Counter(kinds.values())
        missing = Counter(kinds[path] for path in self.missing if path)
        changed = Counter(kinds[path] for path in self.changed if path)
        counts: list[list[str | int]] = [
            [plural, expected[kind], self.compared[kind], missing[kind], changed[kind]]
            for kind, plural in _PLURALS.items()
            if expected[kind]
        ]
        return [
            ["kind", "expected", "compared", "missing", "changed"],
            *counts,
            ["bytes", self.expected.bytes, self.checked_bytes, "", ""],
            ["extra entries", 0, len(self.extra), "", ""],
        ]


def compare(expected: Manifest, actual: Manifest) -> Comparison:
    """Compares both ways, path by path.

    The root may lie elsewhere. Of the root itself only kind and mode count: its time changes with whatever else is put
    there, and whose it is was settled before. A link's mode means nothing, and the size of what is not a file is the
    file system's own affair.
    """
    both = [(entry, actual.entries[path]) for path, entry in expected.entries.items() if path in actual.entries]
    return Comparison(
        expected,
        missing=[path for path in expected.entries if path not in actual.entries],
        changed={entry.path: changes for entry, seen in both if (changes := list(_changes(entry, seen)))},
        extra=[path for path in actual.entries if path not in expected.entries],
        compared=Counter(entry.kind for entry, _ in both if entry.path),
        checked_bytes=sum(entry.size for entry, _ in both if entry.kind == "file"),
        owners=Counter((entry.uid, entry.gid) for entry, seen in both if _tell_owners(entry, seen)),
    )


def _changes(expected: Entry, seen: Entry) -> Iterator[Change]:
    path = expected.path
    if expected.kind != seen.kind:
        yield Change(path, "kind", expected.kind, seen.kind)
        return
    if expected.sha256 != seen.sha256:
        yield Change(path, "sha256", f"{expected.sha256:.12}…", f"{seen.sha256:.12}…")
    elif expected.md5 != seen.md5:
        yield Change(path, "md5", f"{expected.md5}", f"{seen.md5}")
    if expected.kind == "file" and expected.size != seen.size:
        yield Change(path, "size", str(expected.size), str(seen.size))
    if expected.link_target != seen.link_target:
        yield Change(path, "target", shown(expected.link_target or ""), shown(seen.link_target or ""))
    if expected.kind != "link" and expected.mode != seen.mode:
        yield Change(path, "mode", f"{expected.mode:04o}", f"{seen.mode:04o}")
    if _tell_owners(expected, seen) and (expected.uid, expected.gid) != (seen.uid, seen.gid):
        yield Change(path, "owner", f"{expected.uid}:{expected.gid}", f"{seen.uid}:{seen.gid}")
    if path and expected.mtime_ns != seen.mtime_ns:
        yield Change(path, "mtime", _moment(expected.mtime_ns), _moment(seen.mtime_ns))


def _tell_owners(expected: Entry, seen: Entry) -> bool:
    """Whether both say whose an entry is, other than the root."""
    return bool(expected.path) and None not in (expected.uid, expected.gid, seen.uid, seen.gid)


def _indistinct(what: str, owner: str) -> str:
    return f"{what}: every entry belongs to {owner}, so a copy that loses {what} looks the same"


def _place(path: str) -> str:
    return shown(path) or "the root itself"


def _moment(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{fraction:09}"
