"""Differences between root and an ordinary user, for tests that run as both."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

IS_ROOT = os.geteuid() == 0

ROOT_ONLY = pytest.mark.skipif(not IS_ROOT, reason="only root can create files of other users")


def remove_tree(tree: Path) -> None:
    """Remove a tree, read-only directories included: an ordinary user must first make them writable."""
    for folder, subfolders, _ in os.walk(tree):
        for path in (Path(folder, name) for name in subfolders):
            if not path.is_symlink():
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(tree)
