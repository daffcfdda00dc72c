"""A workspace changes as work changes it: nothing that was true of it before is true of it after."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.changing import REWRITTEN, SMALL, change_files
from rekindle.errors import Misconfigured
from rekindle.manifest import Manifest, compare, take_manifest
from rekindle.workspace_files import WorkspacePlan, create_test_files
from tests.unit.local_machine import LocalMachine


@pytest.fixture
def machine() -> LocalMachine:
    return LocalMachine()


def filled(machine: LocalMachine, root: Path, large_bytes: int = 2 * SMALL) -> Manifest:
    create_test_files(machine, str(root), "first", WorkspacePlan(small_files=3, large_bytes=large_bytes))
    return take_manifest(machine, str(root))


def owner(manifest: Manifest, path: str) -> tuple[int | None, int | None]:
    return manifest.entries[path].uid, manifest.entries[path].gid


@pytest.mark.parametrize("nonce", [f"nonce{number}" for number in range(8)])
def test_every_kind_of_change_is_made_and_nothing_else(machine: LocalMachine, tmp_path: Path, nonce: str) -> None:
    before = filled(machine, tmp_path)
    changes = change_files(machine, str(tmp_path), nonce)
    after = take_manifest(machine, str(tmp_path))

    removed, (old_name, new_name) = changes.removed, changes.renamed
    assert after.files == before.files
    assert set(before.entries) - set(after.entries) == {removed, old_name}
    assert set(after.entries) - set(before.entries) == {changes.added, new_name}
    assert changes.added.startswith(".")
    assert after.entries[new_name].sha256 == before.entries[old_name].sha256

    assert len(changes.rewritten) == REWRITTEN
    for path in changes.rewritten:
        assert after.entries[path].size == before.entries[path].size
    assert changes.patched
    for path in (*changes.rewritten, changes.grown, changes.patched):
        assert after.entries[path].sha256 != before.entries[path].sha256
    assert after.entries[changes.grown].size > before.entries[changes.grown].size

    # One that only its bytes give away.
    first = changes.rewritten[0]
    assert after.entries[first].mtime_ns == before.entries[first].mtime_ns
    assert after.entries[first].mode == before.entries[first].mode
    assert all(owner(after, path) == owner(before, path) for path in (*changes.rewritten, changes.grown))

    touched = {*changes.rewritten, changes.grown, changes.patched, changes.added, removed, old_name, new_name}
    others = {path for path, entry in before.entries.items() if entry.kind != "directory"} - touched
    assert others
    assert {path: after.entries[path] for path in others} == {path: before.entries[path] for path in others}


def test_the_large_file_changes_in_its_middle_alone(machine: LocalMachine, tmp_path: Path) -> None:
    filled(machine, tmp_path)
    large = tmp_path / "auto-hibernation-test-more" / "large.bin"
    before = large.read_bytes()
    assert change_files(machine, str(tmp_path), "abc").patched == str(large.relative_to(tmp_path))
    after = large.read_bytes()
    changed = b"nonce abc"
    middle = len(before) // 2
    assert after == before[:middle] + changed + before[middle + len(changed) :]


def test_without_a_large_file_none_is_patched(machine: LocalMachine, tmp_path: Path) -> None:
    filled(machine, tmp_path, large_bytes=100)
    assert change_files(machine, str(tmp_path), "abc").patched is None


def test_two_nonces_leave_two_workspaces(machine: LocalMachine, tmp_path: Path) -> None:
    manifests = [filled(machine, tmp_path)]
    for nonce in ("one", "two", "three"):
        change_files(machine, str(tmp_path), nonce)
        manifests.append(take_manifest(machine, str(tmp_path)))
    for number, older in enumerate(manifests):
        for newer in manifests[number + 1 :]:
            assert compare(older, newer).differences()


def test_a_workspace_with_too_few_files_is_told(machine: LocalMachine, tmp_path: Path) -> None:
    for number in range(7):
        (tmp_path / f"{number}").write_text("x")
    with pytest.raises(Misconfigured, match=rf"^{tmp_path} has 7 files of 1 to 1000000 bytes, but 8 are needed to ch"):
        change_files(machine, str(tmp_path), "abc")


def test_a_missing_root_is_told(machine: LocalMachine, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="There is no directory"):
        change_files(machine, str(tmp_path / "none"), "abc")
