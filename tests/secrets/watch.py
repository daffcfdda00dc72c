"""What is to be seen only while a run goes on: what everybody can see of its processes, and files that do not last."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.secrets.search import files_below

PROCESSES_EVERY = 0.02  # seconds
FILES_EVERY = 0.5

# Both sides, by what their command lines say; the first that fits.
KINDS = {
    "robot": rb"(^|/)python[\d.]*\0-m\0robot\0",
    "guard": rb"\0-m\0rekindle\.guard",
    "node": rb"(^|/)node\0",
    "browser": rb"chrom(e|ium)",
    "marketplace": rb"\0sandbox\.programs\.market",
    "control": rb"\0sandbox\.programs\.product",
    "store": rb"(^|/)weed",
    "cloud's command line and supervisor": rb"\0-m\0sandbox\0",
    "machine": rb"(^|/)bwrap\0",
    "restic": rb"(^|/)restic\0",
    "rsync": rb"(^|/)rsync",
    "ssh": rb"(^|/)ssh(\0|:)",
    "sshd": rb"sshd",
    "on machines and others": rb"",
}
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Seen:
    """One process: what it is, and everything that its command line and its environment ever were."""

    kind: str
    command_lines: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)

    def __str__(self) -> str:
        return self.kind


class Again:
    """Does something again and again in a thread while a block runs, and once more at its end."""

    def __init__(self, act: Callable[[], None], every: float) -> None:
        self._act = act
        self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failed: list[Exception] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        try:
            while not self._over.wait(self._every):
                self._act()
            self._act()
        except Exception as error:  # noqa: BLE001 - raised by who watches
            self._failed.append(error)


class Processes:
    """Everything that ever descended from this process, as `/proc` shows it to everybody of this user.

    What they leave behind is adopted by this process meanwhile, so that the detached are seen as well.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], Seen] = {}
        self._may_know: set[bytes] = set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Looks at them while the block runs."""
        _adopt(True)
        try:
            with Again(self.look, PROCESSES_EVERY):
                yield
        finally:
            _adopt(False)

    def may_know(self, command_line: bytes) -> None:
        """The program that is given credentials in its environment. Its children shall not inherit them."""
        self._may_know.add(command_line)

    def look(self) -> None:
        parents: dict[int, int] = {}
        born: dict[int, int] = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                stat = (process / "stat").read_bytes().rpartition(b")")[2].split()
                parents[int(process.name)], born[int(process.name)] = int(stat[1]), int(stat[19])
        for pid in parents:
            if self._is_ours(pid, parents):
                with contextlib.suppress(OSError):
                    self._look_at(pid, born[pid])

    def _is_ours(self, pid: int, parents: dict[int, int]) -> bool:
        ancestor = parents[pid]
        while ancestor not in (0, os.getpid()):
            ancestor = parents.get(ancestor, 0)
        return ancestor != 0

    def _look_at(self, pid: int, born: int) -> None:
        process = Path(f"/proc/{pid}")
        before = (process / "cmdline").read_bytes()
        # The kernel hides the environment of processes that were privileged once, such as sshd, from ordinary users.
        try:
            environment = (process / "environ").read_bytes()
        except PermissionError:
            environment = None
        # Between the two another program may have begun in the same process.
        if not before or (process / "cmdline").read_bytes() != before:
            return
        # A child that has not begun its own program yet is still a picture of its parent.
        if before in self._may_know:
            environment = b""
        seen = self.seen.setdefault((pid, born), Seen(kind_of(before)))
        seen.kind = kind_of(before)
        seen.command_lines.add(before)
        if environment is not None:
            seen.environments.add(environment)

    def command_lines(self) -> dict[str, bytes]:
        return self._texts(lambda seen: seen.command_lines)

    def environments(self) -> dict[str, bytes]:
        return self._texts(lambda seen: seen.environments)

    def hidden(self) -> Counter[str]:
        """Processes by kind whose environment this user was never allowed to read."""
        return Counter(seen.kind for seen in self.seen.values() if not seen.environments)

    def kinds(self) -> Counter[str]:
        return Counter(seen.kind for seen in self.seen.values())

    def _texts(self, of: Callable[[Seen], Iterable[bytes]]) -> dict[str, bytes]:
        return {
            f"{seen.kind}, process {pid}, {number}": text.replace(b"\0", b"\n")
            for (pid, _), seen in self.seen.items()
            for number, text in enumerate(of(seen))
        }


def kind_of(command_line: bytes) -> str:
    return next(kind for kind, pattern in KINDS.items() if re.search(pattern, command_line))


def _adopt(orphans: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "This process cannot adopt what its children leave behind")


class Fleeting:
    """Files that come and go below some folders. Each is handed over whenever it is new or has changed."""

    def __init__(self, hand_over: Callable[[list[Path]], None], *below: Callable[[], Iterable[Path]]) -> None:
        self._hand_over = hand_over
        self._below = below
        self._known: dict[Path, tuple[int, int, int]] = {}

    def watched(self) -> Again:
        return Again(self.look, FILES_EVERY)

    def look(self) -> None:
        changed = []
        for folders in self._below:
            for folder in folders():
                for path in files_below(folder):
                    try:
                        status = path.lstat()
                        state = (status.st_ino, status.st_size, status.st_mtime_ns)
                    except PermissionError:  # its folder is closed: handed over once, to be counted
                        state = (0, 0, 0)
                    except OSError:  # it has gone
                        continue
                    if self._known.get(path) != state:
                        self._known[path] = state
                        changed.append(path)
        if changed:
            self._hand_over(changed)
