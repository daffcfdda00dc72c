"""A bucket in memory, with a clock that tests set; it honours conditional writes, or answers like Backblaze B2."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5

from rekindle.errors import Unknown
from rekindle.objects import ConditionFailed, DatedObject, ObjectMissing


@dataclass
class MemoryBucket:
    """`at` is the store's clock in seconds. `before` is called before each request, for tests that interleave."""

    conditional: bool = True
    at: float = 0.0
    before: Callable[[str], None] = lambda _: None
    _objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def honours_conditions(self) -> bool:
        return self.conditional

    def dated(self, prefix: str) -> list[DatedObject]:
        with self._request("list"):
            return [
                DatedObject(key, _etag(data), self.at - changed)
                for key, (data, changed) in sorted(self._objects.items())
                if key.startswith(prefix)
            ]

    def read(self, key: str) -> bytes:
        with self._request("read"):
            if key not in self._objects:
                raise ObjectMissing(f"Object {self.where(key)} is missing.")
            return self._objects[key][0]

    def put(self, key: str, data: bytes) -> None:
        with self._request("put"):
            self._objects[key] = data, self.at

    def put_if(self, key: str, data: bytes, etag: str | None) -> str:
        with self._request("put"):
            if not self.conditional:
                raise Unknown("501 NotImplemented")
            if (_etag(self._objects[key][0]) if key in self._objects else None) != etag:
                raise ConditionFailed(f"Object {self.where(key)} was written by another client.")
            self._objects[key] = data, self.at
            return _etag(data)

    def delete(self, key: str) -> None:
        with self._request("delete"):
            self._objects.pop(key, None)

    def where(self, key: str) -> str:
        return f"{key} in bucket memory"

    @property
    def keys(self) -> list[str]:
        return sorted(self._objects)

    @contextmanager
    def _request(self, verb: str) -> Iterator[None]:
        self.before(verb)
        with self._lock:
            yield


def _etag(data: bytes) -> str:
    return md5(data, usedforsecurity=False).hexdigest()
