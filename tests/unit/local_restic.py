"""The real restic, on a repository in a directory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection
from pathlib import Path

PASSWORD = "correct horse"  # noqa: S105 - of a repository that lives for one test


class LocalRestic:
    """A repository in `folder/bucket/restic`, so that `folder/bucket` can stand in for a bucket."""

    def __init__(self, folder: Path, *init: str) -> None:
        self.bucket = folder / "bucket"
        self.repository = self.bucket / "restic"
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD)
        self.run("init", *init)

    def run(self, *arguments: str, cwd: Path | None = None, walls: Collection[str] = ()) -> str:
        """Runs restic, under the command `walls`, and returns what it printed; fails with its words."""
        options = ["--repo", str(self.repository), "--password-file", str(self.password_file), "--no-cache", "--quiet"]
        done = subprocess.run(
            [*walls, "restic", *options, *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def backup(self, *paths: str, cwd: Path | None = None) -> str:
        """Takes a snapshot and returns its id, as short as restic tells it."""
        return str(json.loads(self.run("backup", "--json", *paths, cwd=cwd).splitlines()[-1])["snapshot_id"])

    def restore(self, snapshot_id: str, target: Path, walls: Collection[str] = ()) -> None:
        self.run("restore", snapshot_id, "--target", str(target), walls=walls)
