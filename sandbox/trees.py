"""Removal of folders that machines wrote, whatever modes their entries have."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def remove(folder: Path, *, ignore_errors: bool = False) -> None:
    """Remove a folder with all that is in it. Nothing happens if there is none.

    Unlike root, an ordinary user can remove nothing from folders that are read-only or closed: they are opened first.

    Args:
        folder: the folder, not a link to one.
        ignore_errors: leave what cannot be removed even so.

    Raises:
        OSError: something cannot be removed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        return
    try:
        _open(folder)
        shutil.rmtree(folder)
    except OSError:
        if not ignore_errors:
            raise


def _open(folder: Path) -> None:
    folder.chmod(stat.S_IRWXU)
    for parent, subfolders, _ in os.walk(folder):
        for subfolder in (Path(parent, name) for name in subfolders):
            if not subfolder.is_symlink():
                subfolder.chmod(stat.S_IRWXU)
