"""Hashes of files whose pieces arrive in any order."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Self

from rekindle.errors import Unknown
from rekindle.wording import shown

_SHA256_OF_NOTHING = hashlib.sha256().hexdigest()


class FileHashes:
    """The SHA-256 of files whose blobs come in any order, from any thread.

    The blob of a file that has only one is named by the very hash that is wanted. For the others, a blob that comes too
    early waits in a temporary file, so that memory stays flat.
    """

    def __init__(self, contents: Mapping[str, tuple[str, ...]]) -> None:
        self._contents = contents
        self._lock = threading.Lock()
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._waiting: dict[str, tuple[int, int]] = {}
        joined = {path: content for path, content in contents.items() if len(content) > 1}
        self._digests = {path: hashlib.sha256() for path in joined}
        self._missing = {path: list(reversed(content)) for path, content in joined.items()}
        self._uses = Counter(blob for content in joined.values() for blob in content)
        self._wanted_by: dict[str, list[str]] = defaultdict(list)
        for path, content in joined.items():
            self._wanted_by[content[0]].append(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, blob: str, plain: bytes) -> None:
        """Takes the content of a blob, once."""
        with self._lock:
            takers = self._wanted_by.pop(blob, [])
            if self._uses[blob] > len(takers):
                self._waiting[blob] = self._spool.seek(0, os.SEEK_END), len(plain)
                self._spool.write(plain)
            for path in takers:
                self._feed(path, plain)

    def of(self, path: str) -> str:
        """The hash of a file, hexadecimal. Raises Unknown when not all of its blobs came."""
        content = self._contents[path]
        if not content:
            return _SHA256_OF_NOTHING
        if len(content) == 1:
            return content[0]
        if self._missing[path]:
            raise Unknown(f"{shown(path)} could not be hashed: blob {self._missing[path][-1]} was not read.")
        return self._digests[path].hexdigest()

    def _feed(self, path: str, plain: bytes) -> None:
        """Continues a file with the blob that it waits for, then with those that are here already."""
        missing = self._missing[path]
        while True:
            self._digests[path].update(plain)
            self._uses[missing.pop()] -= 1
            if not missing:
                return
            if missing[-1] not in self._waiting:
                self._wanted_by[missing[-1]].append(path)
                return
            offset, length = self._waiting[missing[-1]]
            self._spool.seek(offset)
            plain = self._spool.read(length)
