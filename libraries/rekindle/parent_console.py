"""Write to the console of the process that started this one, which keeps the output of its children to itself."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

STDERR = 2


def write_line(pid: int, line: str) -> bool:
    """Write one line to the standard error of a process of the same user, without ever waiting for its reader.

    Returns:
        Whether it was written. It is not if the standard error is a file that the process does not append to (each
        would overwrite the other's lines), a full pipe, a socket, or of another user.
    """
    path = f"/proc/{pid}/fd/{STDERR}"
    with suppress(OSError):
        if not _is_shared_safely(pid, path):
            return False
        # A description of its own: these flags are not those of the process. Without O_NOCTTY, the leader of a session
        # without a terminal, as pabot makes each child, would take this one for its own.
        console = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            text = f"{line}\n".encode("utf-8", "backslashreplace")
            return os.write(console, text) == len(text)
        finally:
            os.close(console)
    return False


def _is_shared_safely(pid: int, path: str) -> bool:
    mode = os.stat(path).st_mode  # noqa: PTH116 - of an open file, by its number
    if stat.S_ISFIFO(mode):
        return True
    if stat.S_ISCHR(mode):
        return os.readlink(path) != os.devnull  # noqa: PTH115 - likewise
    flags = re.search(r"flags:\s*([0-7]+)", Path(f"/proc/{pid}/fdinfo/{STDERR}").read_text())
    return stat.S_ISREG(mode) and flags is not None and bool(int(flags[1], 8) & os.O_APPEND)
