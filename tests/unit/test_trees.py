"""Removal of folders of machines: read-only and closed ones go, too, for root and for an ordinary user."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import trees


def test_read_only_and_closed_folders_are_removed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    outside.chmod(0o500)
    tree = tmp_path / "tree"
    for mode in (0o500, 0o000, 0o300):
        folder = tree / f"{mode:o}" / "below"
        folder.mkdir(parents=True)
        (folder / "file").touch(mode=0o400)
        (folder / "link").symlink_to(outside)
        folder.chmod(mode)
        folder.parent.chmod(mode)
    tree.chmod(0o500)
    trees.remove(tree)
    assert not tree.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_a_folder_that_is_missing_is_none_to_remove(tmp_path: Path) -> None:
    trees.remove(tmp_path / "missing")


def test_what_cannot_be_removed_is_an_error_unless_that_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        trees.remove(tmp_path / "file")
    trees.remove(tmp_path / "file", ignore_errors=True)
    assert (tmp_path / "file").exists()
