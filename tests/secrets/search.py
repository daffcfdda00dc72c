"""The search: where do canaries sing? It tells names and places, never a value."""

from __future__ import annotations

import base64
import bisect
import contextlib
import gzip
import os
import re
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from tests.secrets.canaries import DERIVED, needles

FILES_AT_ONCE = 500
_PACKED = {".html", ".zip", ".gz", ".png", ".xml", ".json"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}={0,2}")
_MATCH = re.compile(rb"([^\0]*)\0(\d+):(.*)")


@dataclass(frozen=True, order=True)
class Finding:
    """A canary that was heard: which, in what kind of place, and where there."""

    secret: str
    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.secret}: {self.kind}, {self.where}"


@dataclass
class Searched:
    """How much was looked through in one kind of place. Things are files, or processes."""

    things: int = 0
    bytes: int = 0


@dataclass
class Search:
    """Looks for canaries, and counts what it has looked through."""

    canaries: Mapping[str, bytes]
    searched: dict[str, Searched] = field(default_factory=dict)
    findings: dict[Finding, list[int]] = field(default_factory=dict)  # at which bytes
    closed: dict[str, set[Path]] = field(default_factory=dict)  # what this user may not read, by kind of place

    def __post_init__(self) -> None:
        self._needles = needles(self.canaries)

    @property
    def forms(self) -> int:
        return len(self._needles)

    def files(self, kind: str, paths: Iterable[Path], root: Path, *, derived: bool = True) -> None:
        """Searches files as they are; and what is packed in log.html, in archives and in pictures.

        Args:
            kind: the kind of place, to be counted by.
            paths: what to search. What is no file (any more) is passed over; what this user may not read is `closed`.
            root: from where on places are named.
            derived: whether a token that is no canary is a finding too, and what is packed is looked through: not
                where others keep their files.
        """
        there = list(self._readable(kind, paths))
        unpacked: dict[str, bytes] = {}
        for path in there:
            with contextlib.suppress(FileNotFoundError):
                self._count(kind, path.stat().st_size)
                if derived and path.suffix in _PACKED:
                    unpacked |= {f"{path.relative_to(root)}, {what}": text for what, text in _unpacked(path)}
        for begin in range(0, len(there), FILES_AT_ONCE):
            some = [str(path) for path in there[begin : begin + FILES_AT_ONCE]]
            for found, at, secret in self._grep(some, derived=derived):
                self._note(secret, kind, str(Path(found).relative_to(root)), at)
        self._in_texts(kind, unpacked)

    def _readable(self, kind: str, paths: Iterable[Path]) -> Iterator[Path]:
        for path in paths:
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError:
                self.closed.setdefault(kind, set()).add(path)
                continue
            if (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and not may_open(path, mode):
                self.closed.setdefault(kind, set()).add(path)
            elif stat.S_ISREG(mode):
                yield path

    def texts(self, kind: str, texts: Mapping[str, bytes]) -> None:
        """Searches texts, by their names."""
        for text in texts.values():
            self._count(kind, len(text))
        self._in_texts(kind, texts)

    def nothing_in(self, kinds: Iterable[str]) -> list[str]:
        """The kinds of places where there was nothing to be searched: nothing is proven of them."""
        return [kind for kind in kinds if not self.searched.get(kind, Searched()).bytes]

    def _count(self, kind: str, size: int) -> None:
        counted = self.searched.setdefault(kind, Searched())
        counted.things += 1
        counted.bytes += size

    def _note(self, secret: str, kind: str, where: str, at: int) -> None:
        self.findings.setdefault(Finding(secret, kind, where), []).append(at)

    def _in_texts(self, kind: str, texts: Mapping[str, bytes]) -> None:
        names = list(texts)
        begins = [0]
        for text in texts.values():
            begins.append(begins[-1] + len(text) + 1)
        for _, at, secret in self._grep(["-"], b"\n".join(texts.values())):
            index = bisect.bisect_right(begins, at) - 1
            self._note(secret, kind, names[index], at - begins[index])

    def _grep(self, paths: list[str], text: bytes = b"", *, derived: bool = True) -> Iterator[tuple[str, int, str]]:
        """Has grep look: it does so for all needles at once, at the speed of the disk. Its patterns are in memory."""
        options = ["-F", "-E"] if derived else ["-F"]
        for option in options:
            patterns = list(self._needles if option == "-F" else DERIVED.values())
            descriptor = os.memfd_create("patterns")
            try:
                os.write(descriptor, b"\n".join(patterns))
                os.lseek(descriptor, 0, os.SEEK_SET)
                done = subprocess.run(
                    ["grep", option, "-aobHZ", "-f", f"/dev/fd/{descriptor}", "--", *paths],
                    input=text, capture_output=True, check=False,
                    pass_fds=[descriptor], env={"LC_ALL": "C", "PATH": os.defpath},
                )  # fmt: skip
            finally:
                os.close(descriptor)
            if done.returncode > 1 and not all(b"No such file" in line for line in done.stderr.splitlines()):
                raise AssertionError(f"grep could not look: {done.stderr.decode(errors='replace')}")
            for line in done.stdout.splitlines():
                if match := _MATCH.fullmatch(line):
                    yield os.fsdecode(match[1]), int(match[2]), self._name(option, match[3])

    def _name(self, option: str, found: bytes) -> str:
        if option == "-F":
            return self._needles[found]
        return next(name for name, pattern in DERIVED.items() if re.match(pattern, found))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, and those folders that this user may not open."""
    for root, folders, names in os.walk(folder):
        yield from (Path(root, name) for name in names)
        for path in (Path(root, name) for name in folders):
            with contextlib.suppress(OSError):
                mode = path.lstat().st_mode
                if stat.S_ISDIR(mode) and not may_open(path, mode):
                    yield path


def may_open(path: Path, mode: int) -> bool:
    """Return whether this user may read a file, or list a folder and use what is in it. True if it is gone."""
    needed = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
    return os.access(path, needed) or not os.access(path, os.F_OK)


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """What is packed in a file: Robot keeps long texts compressed in log.html, and so do archives and pictures."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield name, archive.read(name)
        return
    content = path.read_bytes()
    if path.suffix == ".gz":
        yield "unpacked", gzip.GzipFile(fileobj=BytesIO(content)).read()
    elif path.suffix == ".png":
        yield from ((f"text {number}", text) for number, text in enumerate(_texts_of_picture(content)))
    else:
        for match in _BASE64.finditer(content):
            with contextlib.suppress(ValueError, zlib.error):
                packed = base64.b64decode(match[0], validate=True)
                if packed[:1] == b"x":
                    yield f"packed at byte {match.start()}", zlib.decompress(packed)
                elif packed[:4] == b"\x89PNG":
                    texts = _texts_of_picture(packed)
                    yield from ((f"picture at byte {match.start()}, text {n}", text) for n, text in enumerate(texts))


def _texts_of_picture(content: bytes) -> Iterator[bytes]:
    """Everything in a PNG file that is not its pixels, unpacked where it is packed."""
    at = 8
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4]), content[at + 4 : at + 8]
        chunk = content[at + 8 : at + 8 + length]
        if kind != b"IDAT":
            yield chunk
            for begin in (found.start() for found in re.finditer(b"x", chunk)):
                with contextlib.suppress(zlib.error):
                    yield zlib.decompress(chunk[begin:])
        at += length + 12
