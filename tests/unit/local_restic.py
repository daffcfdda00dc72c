"""The real restic, on a repository of the tests' own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Collection
from pathlib import Path

from sandbox.control.quick_key import make_quick

PASSWORD = "correct horse"  # noqa: S105 - of a repository that lives for one test


class KeyFolder:
    """The key files of a local repository."""

    def __init__(self, repository: Path) -> None:
        self.folder = repository / "keys"

    def names(self) -> list[str]:
        return [file.name for file in self.folder.iterdir()]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()


class LocalRestic:
    """A repository, by default in `folder/bucket/restic`, so that `folder/bucket` can stand in for a bucket.

    Args:
        folder: keeps the password file too.
        init: further arguments of `restic init`.
        repository: where else it lies, as restic spells it.
        environment: what restic needs to get there.
        quick: gives a local repository a key that opens at once. restic's own takes half a second of processor time.
    """

    def __init__(
        self,
        folder: Path,
        *init: str,
        repository: str | None = None,
        environment: dict[str, str] | None = None,
        quick: bool = True,
    ) -> None:
        self.bucket = folder / "bucket"
        self.repository = self.bucket / "restic"
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {})}
        self._password_file = folder / "password"
        self._password_file.write_text(PASSWORD)
        self._options = ["--repo", repository or str(self.repository), "--password-file", str(self._password_file)]
        self.run("init", *init)
        if quick and not repository:
            make_quick(KeyFolder(self.repository), PASSWORD)

    def run(self, *arguments: str, cwd: Path | None = None, walls: Collection[str] = ()) -> str:
        """Runs restic, under the command `walls`, and returns what it printed; fails with its words."""
        done = subprocess.run(
            [*walls, "restic", *self._options, "--no-cache", "--quiet", *arguments],
            cwd=cwd,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def backup(self, *paths: str, cwd: Path | None = None) -> str:
        """Takes a snapshot and returns its id, as short as restic tells it."""
        return str(json.loads(self.run("backup", "--json", *paths, cwd=cwd).splitlines()[-1])["snapshot_id"])

    def restore(self, snapshot_id: str, target: Path, walls: Collection[str] = ()) -> None:
        self.run("restore", snapshot_id, "--target", str(target), walls=walls)
