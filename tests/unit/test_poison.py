"""Poison: wrong in every file, invisible to size and time, and no obstacle to an honest restore."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown
from rekindle.manifest import Entry, Manifest, compare, take_manifest
from rekindle.poison import poison
from rekindle.workspace_files import WorkspacePlan, create_test_files
from tests.accounts import ROOT_ONLY, remove_tree
from tests.unit.local_machine import LocalMachine
from tests.unit.local_restic import LocalRestic

MACHINE = LocalMachine()
FILES_WITH_BYTES = 5 + 5 + 20 + 1


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the whole mixture, and with modes and sizes that are hard to poison."""
    root = tmp_path / "workspace"
    root.mkdir()
    create_test_files(MACHINE, str(root), "n1", WorkspacePlan("test", small_files=20, large_bytes=3_000_000))
    (root / "zeros").write_bytes(bytes(100_000))
    (root / "one byte").write_bytes(b"\0")
    (root / "suid").write_bytes(b"0123456789abcdef")
    (root / "suid").chmod(0o4711)
    (root / "dir").mkdir()
    (root / "dir" / "old").write_text("old")
    os.utime(root / "dir" / "old", ns=(0, -1_500_000_000))
    (root / "dir").chmod(0o500)
    return root


FILES = FILES_WITH_BYTES + 4


def test_every_file_is_wrong_and_looks_right(workspace: Path, tmp_path: Path) -> None:
    manifest = take_manifest(MACHINE, str(workspace))
    workspace.rename(tmp_path / "away")
    workspace.mkdir()
    assert poison(MACHINE, manifest) == FILES
    seen = take_manifest(MACHINE, str(workspace))
    poisoned = [entry for entry in seen.entries.values() if entry.kind == "file"]
    assert len(poisoned) == FILES
    for entry in poisoned:
        right = manifest.entries[entry.path]
        assert entry.sha256 != right.sha256
        assert entry.mode != right.mode
        assert entry.mode & 0o600 == 0o600
        assert (entry.size, entry.mtime_ns) == (right.size, right.mtime_ns)
    comparison = compare(manifest, seen)
    assert not comparison.extra
    assert comparison.missing == ["test-more/empty directory", "test-more/empty.txt", "test-more/link"]
    with pytest.raises(Mismatch, match=rf"{FILES + 4} changed, 3 missing of"):
        comparison.raise_unless_equal()


@ROOT_ONLY
def test_every_owner_is_wrong(workspace: Path) -> None:
    manifest = take_manifest(MACHINE, str(workspace))
    poison(MACHINE, manifest)
    seen = take_manifest(MACHINE, str(workspace))
    for path, entry in manifest.entries.items():
        if entry.kind == "file" and entry.size:
            assert seen.entries[path].uid != entry.uid
            assert seen.entries[path].gid != entry.gid


def test_it_takes_no_room(workspace: Path) -> None:
    manifest = take_manifest(MACHINE, str(workspace))
    poison(MACHINE, manifest)
    large = (workspace / "test-more" / "large.bin").stat()
    assert (large.st_size, large.st_blocks * 512 < 100_000) == (3_000_000, True)


@pytest.mark.parametrize("user", [None, pytest.param("nobody", marks=ROOT_ONLY)])
def test_an_honest_restore_repairs_everything(workspace: Path, tmp_path: Path, user: str | None) -> None:
    """By real restic, at the original paths, as the user of this test and as another: an ordinary user's restore may
    chmod and overwrite its own files only."""
    restic = LocalRestic(tmp_path)
    if user == "nobody":
        subprocess.run(["chown", "-R", "nobody:nogroup", workspace], check=True)
    manifest = take_manifest(MACHINE, str(workspace))
    snapshot_id = restic.backup(str(workspace))
    walls = []
    if user == "nobody":
        subprocess.run(["chown", "-R", "nobody", tmp_path], check=True)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_mode & 0o005 != 0o005:  # pytest keeps others out of its folders
                folder.chmod(0o755)
        walls = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
    remove_tree(workspace)
    subprocess.run([*walls, "mkdir", workspace], check=True)
    machine = LocalMachine(walls=walls)
    poison(machine, manifest)
    with pytest.raises(Mismatch):
        compare(manifest, take_manifest(machine, str(workspace))).raise_unless_equal()
    restic.restore(snapshot_id, Path("/"), walls)
    comparison = compare(manifest, take_manifest(machine, str(workspace)))
    comparison.raise_unless_equal()
    assert comparison.checked_files == FILES + 1


def test_nothing_to_poison_is_unknown() -> None:
    nothing = Manifest("/workspace", [Entry("empty", "file", 0, 0o644, 0), Entry("", "directory", 0, 0o755, 0)])
    with pytest.raises(Unknown, match="names no file with bytes in it: there is nothing to poison"):
        poison(MACHINE, nothing)


def test_a_missing_root_is_said_to_be_missing(workspace: Path) -> None:
    manifest = take_manifest(MACHINE, str(workspace))
    remove_tree(workspace)
    with pytest.raises(Misconfigured, match=r"There is no directory .*/workspace on the machine"):
        poison(MACHINE, manifest)


@pytest.mark.parametrize("path", ["../outside", "dir/../../outside"])
def test_it_never_leaves_the_root(tmp_path: Path, path: str) -> None:
    """tar itself sees to that."""
    root = tmp_path / "workspace"
    root.mkdir()
    entry = Entry(path, "file", 3, 0o644, 0, sha256="a" * 64)
    with pytest.raises(RekindleError):
        poison(MACHINE, Manifest(str(root), [entry]))
    assert list(tmp_path.rglob("*")) == [root]
