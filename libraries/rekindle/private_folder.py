"""Private temporary folders, which do not outlive their process for long.

A folder belongs to the process that made it, which holds a lock on it. The process removes it; after a crash the
watchdog does, and if that was killed too, the next run. Its path is short, because sockets lie in it.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

# A socket's path has at most 107 bytes. ssh adds up to 40 to a folder's path, Chromium 46, the folder's name has 32.
LONGEST_PLACE = 28  # bytes
SHORT_PLACE = Path("/tmp")  # noqa: S108 - for private folders only
ENDED_WITHIN = 5.0  # seconds for killed programs to end
_NAME = re.compile(r"rekindle-(?P<kind>run|cloud)-(?P<pid>\d+)-\w+")


class PrivateFolder:
    """A folder of this process that only its user can read."""

    def __init__(self, kind: str) -> None:
        """Make the folder.

        Args:
            kind: `run` or `cloud`, part of its name.
        """
        self.path = Path(tempfile.mkdtemp(prefix=f"rekindle-{kind}-{os.getpid()}-", dir=place()))
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        self._unlock = weakref.finalize(self, os.close, self._lock)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()


def place() -> Path:
    """Return where private folders are made: the directory for temporary files, or /tmp if its path is too long."""
    usual = Path(tempfile.gettempdir())
    return usual if len(os.fsencode(usual)) <= LONGEST_PLACE else SHORT_PLACE


def place_for_sockets() -> Path:
    """Return where a folder with sockets is made: within the run's private folder, if that is in use."""
    usual = Path(tempfile.gettempdir())
    return usual if _NAME.fullmatch(usual.name) or usual == place() else SHORT_PLACE


def remove_abandoned(remove_cloud: Callable[[Path], None]) -> list[Path]:
    """Remove this user's folders whose process has ended.

    Args:
        remove_cloud: removes the folder of an embedded cloud, which may still run.

    Returns:
        The folders that were removed.
    """
    removed = []
    for folder, kind in _abandoned():
        if kind == "cloud":
            remove_cloud(folder)
        remove_with_processes(folder)
        removed.append(folder)
    return removed


def remove_with_processes(folder: Path) -> None:
    """End the programs whose directory for temporary files is this folder, such as a browser, and remove the folder."""
    own = [process for process in psutil.process_iter() if _temporary_directory(process) == str(folder)]
    for process in own:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(own, timeout=ENDED_WITHIN)
    shutil.rmtree(folder, ignore_errors=True)


def _temporary_directory(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("TMPDIR")
    except (psutil.Error, OSError):
        return None


def _abandoned() -> Iterator[tuple[Path, str]]:
    for where in {place(), SHORT_PLACE}:
        for folder in where.glob("rekindle-*"):
            name = _NAME.fullmatch(folder.name)
            with suppress(OSError):
                if name and folder.lstat().st_uid == os.geteuid() and not _is_owned(folder, int(name["pid"])):
                    yield folder, name["kind"]


def _is_owned(folder: Path, pid: int) -> bool:
    """Return whether the process that made a folder lives. Its number alone means nothing in another container."""
    if Path(f"/proc/{pid}").exists():
        return True
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
