"""Processes that are remembered in files: a number alone is not enough, because the kernel uses it again."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel


class ProcessId(BaseModel, frozen=True):
    """A process by its number and its time of birth (clock ticks since boot), which together name it for good."""

    pid: int
    born: int

    def is_alive(self) -> bool:
        return _born(self.pid) == self.born

    def kill(self, with_signal: signal.Signals) -> None:
        """Sends a signal, to this very process or to none."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.is_alive():
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, with_signal)
        finally:
            os.close(handle)


def process_id(pid: int) -> ProcessId | None:
    """Names a process that lives now; None when there is none of that number."""
    born = _born(pid)
    return None if born is None else ProcessId(pid=pid, born=born)


def this_process() -> ProcessId:
    identity = process_id(os.getpid())
    if identity is None:
        raise OSError("/proc does not show this process: is it mounted?")
    return identity


def _born(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    state, born = fields[0], int(fields[19])
    return None if state in "ZX" else born
