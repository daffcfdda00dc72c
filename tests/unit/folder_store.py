"""A stand-in for a bucket: a directory. The local repositories of restic have the layout of those in buckets."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path

from rekindle.objects import ObjectMissing, ObjectStore, StoredObject


class FolderStore(ObjectStore):
    """Keys are paths below `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__("http://127.0.0.1:9", "folder", "none", "none")
        self.folder = folder

    def list(self, prefix: str) -> list[StoredObject]:
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        keys = ((path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in paths)
        return sorted(
            (StoredObject(key, size) for key, size in keys if key.startswith(prefix)), key=lambda one: one.key
        )

    def old_versions(self, prefix: str) -> builtins.list[StoredObject]:
        return []

    def unfinished_uploads(self, prefix: str) -> builtins.list[str]:
        return []

    def stream(self, key: str) -> Iterator[bytes]:
        try:
            data = (self.folder / key).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(f"Object {self.where(key)} is missing.") from None
        # Pieces that fit nothing.
        yield from (data[at : at + 65521] for at in range(0, len(data), 65521))

    def put(self, key: str, data: bytes) -> None:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)
