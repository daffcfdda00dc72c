"""Writes onto a machine: many files at once, as one compressed tar archive over SSH, and failures in plain words."""

from __future__ import annotations

import gzip
import re
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Self

from rekindle.errors import Misconfigured, RekindleError, Unknown
from rekindle.ssh import Completed, Machine, RemoteFailure
from rekindle.wording import number

_MISSING_TOOL, _NO_ROOT = 21, 22

# How a writing script begins. "$1" is the root; `need` names tools, `room` the bytes that must be free; `failed` ends
# it with what df says of the disk.
_PRELUDE = r"""
export LC_ALL=C
set -o pipefail
need() {
    for tool; do command -v "$tool" >/dev/null || missing="$missing $tool"; done
    [ -z "$missing" ] || { echo "not found on the machine:$missing" >&2; exit 21; }
}
failed() { echo "disk: $(df --output=avail,size -B1 -- "$1" | tail -n 1)" >&2; exit 23; }
room() {
    [ "$(df --output=avail -B1 -- "$1" | tail -n 1)" -ge "$2" ] || { echo "wanted: $2" >&2; failed "$1"; }
}
[ -d "$1" ] || exit 22
"""
# Only root may give files away, and not in every container: it is tried.
_UNPACK = r"""
need tar gzip id mktemp chown rm
owner=--no-same-owner
if [ "$(id -u)" = 0 ] && trial=$(mktemp --tmpdir="$1" .trial-XXXXXX 2>/dev/null); then
    if chown "$2" "$trial" 2>/dev/null; then owner=--same-owner; fi
    rm -f -- "$trial"
fi
tar --extract --gzip --file=- --directory="$1" "$owner" --numeric-owner --preserve-permissions \
    --warning=no-unknown-keyword || failed "$1"
"""
_WANTED = re.compile(r"^wanted: (\d+)$", re.MULTILINE)
_DISK = re.compile(r"^disk: +(\d+) +(\d+)$", re.MULTILINE)
_TAR_BLOCK = 512
_TIMEOUT = 1200.0  # seconds


def write(machine: Machine, script: str, root: str, *args: str, stdin: BinaryIO | None = None) -> Completed:
    """Runs a script that writes below `root`, its "$1"; it may use `need` and `failed`.

    Raises:
        Misconfigured: the root is missing, or the disk is full.
        Unknown: a tool is missing on the machine.
        RekindleError: whatever else went wrong, in the machine's own words.
    """
    try:
        return machine.run(_PRELUDE + script, root, *args, stdin=stdin, timeout=_TIMEOUT)
    except RemoteFailure as error:
        raise _explained(error, root) from None


def writing(machine: Machine, script: str, root: str, *args: str) -> Iterator[bytes]:
    """As `write` does, and yields the script's standard output as it comes."""
    try:
        yield from machine.stream(_PRELUDE + script, root, *args, timeout=_TIMEOUT)
    except RemoteFailure as error:
        raise _explained(error, root) from None


def _explained(error: RemoteFailure, root: str) -> RekindleError:
    if error.exit_code == _NO_ROOT:
        return Misconfigured(f"There is no directory {root} on the machine: nothing was written. Is the path right?")
    if error.exit_code == _MISSING_TOOL:
        return Unknown(f"Nothing was written to {root}: {error.stderr}. Install it there.")
    words, disk = _DISK.sub("", error.stderr).strip(), _DISK.search(error.stderr)
    available, size = (number(int(value)) for value in disk.groups()) if disk else ("", "")
    if wanted := _WANTED.search(words):
        return Misconfigured(
            f"{root} has {available} bytes free of {size}, too few for the {number(int(wanted[1]))} bytes that "
            "are wanted: nothing was written. Rent a machine with a larger disk, or write less."
        )
    if disk and "No space left on device" in words:
        return Misconfigured(
            f"No space left on device: {root} has {available} bytes free of {size}. Rent a machine with a larger disk, "
            "or write less."
        )
    return RekindleError(f"Writing to {root} failed: {words or error}")


@dataclass(frozen=True)
class Owner:
    """Whose a file is. Numbers that no system has a name for stay the same wherever the file goes."""

    uid: int = 0
    gid: int = 0


ROOT = Owner()
OTHERS = (Owner(1234, 1234), Owner(1234, 4321))


class Archive:
    """A tar archive that is being filled, in a temporary file. Paths are relative to where it will be unpacked.

    What varies stands in extended headers (pax), which take any name and nanoseconds; the plain headers that tar wants
    besides are the same for all files of a size, so that a hundred thousand files take seconds.

    Where the machine's user may not give files away, all of them become that user's.

    Use it in a `with` statement.
    """

    def __init__(self) -> None:
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._packed = gzip.GzipFile(fileobj=self._spool, mode="wb", compresslevel=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._packed.close()
        self._spool.close()

    def add_file(self, path: str, data: bytes, mode: int, mtime_ns: int, owner: Owner = ROOT) -> None:
        """Adds a file; `mode` holds its permission bits, `mtime_ns` is in nanoseconds since 1970."""
        self._add(tarfile.REGTYPE, mode, mtime_ns, owner, {"path": path}, data)

    def add_file_with_hole(
        self, path: str, head: bytes, size: int, mode: int, mtime_ns: int, owner: Owner = ROOT
    ) -> None:
        """Adds a file of `size` bytes that begins with `head`. The zeros that follow take no room, here or there."""
        # Two extents, offset and length: the head, and nothing at the very end.
        extents = _padded(f"2\n0\n{len(head)}\n{size}\n0\n".encode())
        sparse = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": path,
            "GNU.sparse.realsize": str(size),
        }
        self._add(tarfile.REGTYPE, mode, mtime_ns, owner, sparse, extents + head)

    def add_directory(self, path: str, mode: int, mtime_ns: int, owner: Owner = ROOT) -> None:
        self._add(tarfile.DIRTYPE, mode, mtime_ns, owner, {"path": path})

    def add_link(self, path: str, target: str, mtime_ns: int, owner: Owner = ROOT) -> None:
        self._add(tarfile.SYMTYPE, 0o777, mtime_ns, owner, {"path": path, "linkpath": target})

    def unpack(self, machine: Machine, root: str) -> None:
        """Sends the archive, and unpacks it over what is there. Ends it: nothing can be added any more.

        Raises:
            As `write` does.
        """
        self._packed.write(bytes(2 * _TAR_BLOCK))
        self._packed.close()
        self._spool.seek(0)
        write(machine, _UNPACK, root, f"{OTHERS[0].uid}:{OTHERS[0].gid}", stdin=self._spool)

    def _add(
        self, kind: bytes, mode: int, mtime_ns: int, owner: Owner, extended: dict[str, str], data: bytes = b""
    ) -> None:
        sign, (seconds, fraction) = "-" * (mtime_ns < 0), divmod(abs(mtime_ns), 10**9)
        ids = {"uid": str(owner.uid), "gid": str(owner.gid)} if owner != ROOT else {}
        records = _records({"mtime": f"{sign}{seconds}.{fraction:09}", **ids, **extended})
        parts = _header(tarfile.XHDTYPE, 0, len(records)), records, _header(kind, mode, len(data)), data
        self._packed.write(b"".join(map(_padded, parts)))


@lru_cache(4096)
def _header(kind: bytes, mode: int, size: int) -> bytes:
    member = tarfile.TarInfo("member")
    member.type, member.mode, member.size = kind, mode, size
    return member.tobuf(tarfile.USTAR_FORMAT)


def _records(extended: dict[str, str]) -> bytes:
    """Lines of "<length> <key>=<value>". The length is that of the whole line, itself and the line end included."""
    records = b""
    for key, value in extended.items():
        rest = b" %b=%b\n" % (key.encode(), value.encode("utf-8", "surrogateescape"))
        length = len(rest)
        while len(record := b"%d%b" % (length, rest)) != length:
            length = len(record)
        records += record
    return records


def _padded(block: bytes) -> bytes:
    return block + bytes(-len(block) % _TAR_BLOCK)
