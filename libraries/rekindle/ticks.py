"""Small files written one after the other for as long as a machine lives: what of them survives tells how much is lost.

Each file is complete when its number is heard here. So from the numbers that were heard, and those that are there after
a failover, follows by how many seconds the surviving workspace is older than the lost machine (the RPO), by our clock.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.manifest import Manifest
from rekindle.ssh import Machine
from rekindle.waiting import Waited, wait_until
from rekindle.wording import counted, named

EVERY = 0.1  # seconds between two files
LONGEST = 3600.0
FIRST = 5  # so many are written before anything else happens
# A writer that was not heard for so many times as long as it had ever been silent does not write any more.
SILENT_TIMES = 3
# So many seconds are no silence, before its machine is lost.
SILENT = 2.0

# One that was cut off in the middle of its only write counts as lost. It ends when nobody listens any more.
_WRITE = r"""
mkdir -p -- "$1" && cd -- "$1" || exit
number=0
while :; do
    number=$((number + 1)) name=$(printf '%06d.txt' "$number")
    printf '%s %s\n' "$2" "$name" >"$name" && echo "$number" || exit
    sleep "$3"
done
"""
_READ = 'cd -- "$1" 2>/dev/null || exit 0; for file in *.txt; do [ -f "$file" ] && cat -- "$file"; done; :'


@dataclass(frozen=True)
class Loss:
    """What a failover has lost of the ticks.

    Attributes:
        seconds: seconds of lost work, at most: from the last file that survived to the loss of the machine (the RPO).
        survived: number of files that survived.
        lost: names of the lost files; all are newer than every file that survived.
    """

    seconds: float
    survived: int
    lost: tuple[str, ...]

    def __str__(self) -> str:
        if not self.lost:
            return f"nothing lost: all {counted(self.survived, 'file')} survived"
        return f"{counted(len(self.lost), 'file')} lost of {self.survived + len(self.lost)}: {named(self.lost)}"


@dataclass
class Ticks:
    """Writes files on a machine from a thread of its own, until it is stopped or the machine dies.

    Attributes:
        heard: number and moment (monotonic) of each file that is complete.
        proven: the newest one that was seen on the standby while the machine lived; 0: none.
        ended: why nothing is heard any more, when it is known.
    """

    machine: Machine
    root: str
    nonce: str
    heard: list[tuple[int, float]] = field(default_factory=list)
    proven: int = 0
    ended: str | None = None
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def folder(self) -> str:
        """Where they lie, below the root."""
        return f"ticks-{self.nonce[:8]}"

    def start(self) -> None:
        """Begins to write."""
        self._thread = threading.Thread(target=self._listen, name="ticks", daemon=True)
        self._thread.start()

    def wait_until_heard(self, timeout: float = 30.0) -> None:
        """Waits until some of them were written.

        Raises:
            Timeout: the machine does not write.
        """
        wait_until(
            f"{FIRST} files in {self.root}/{self.folder}", lambda: len(self.heard), lambda count: count >= FIRST,
            timeout=timeout,
        )  # fmt: skip

    def wait_until_on(self, standby: Machine, timeout: float) -> Waited[bool]:
        """Waits until the first of them is on a standby.

        Raises:
            Timeout: it does not arrive.
        """
        return wait_until(
            f"{self.root}/{self.folder}/000001.txt to be on the standby",
            lambda: self.look_on(standby) > 0,
            bool,
            timeout=timeout,
        )

    def look_on(self, standby: Machine) -> int:
        """Looks which of them are on a standby: those may not be lost any more. Returns the newest one's number."""
        for line in self._lines_on(standby):
            nonce, _, name = line.partition(" ")
            number = name.removesuffix(".txt")
            if nonce == self.nonce and number.isdecimal():
                self.proven = max(self.proven, int(number))
        return self.proven

    def stop(self) -> None:
        """Ends the writing, when the machine's end has not done so."""
        self._stopped.set()
        if self._thread:
            self._thread.join(timeout=5)

    def _listen(self) -> None:
        rest = b""
        try:
            for chunk in self.machine.stream(
                _WRITE, f"{self.root}/{self.folder}", self.nonce, str(EVERY), timeout=LONGEST
            ):
                now = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                self.heard += [(int(line), now) for line in lines if line]
                if self._stopped.is_set():
                    return
        except RekindleError as error:
            self.ended = str(error)  # when the machine is gone: what was heard until then counts

    @property
    def last_heard(self) -> float:
        """When the last one was heard of (monotonic)."""
        return max(at for _, at in self.heard)

    def patience(self, least: float) -> float:
        """So many seconds may pass without one while the machine works: more when it was as busy before."""
        moments = [at for _, at in self.heard]
        longest = max((later - earlier for earlier, later in pairwise(moments)), default=0.0)
        return max(least, SILENT_TIMES * longest)

    def check_written_until(self, lost_at: float) -> None:
        """They were written until a machine was lost: else what was lost at its end cannot be told.

        Raises:
            Unknown: the writing had ended before.
        """
        silent = lost_at - self.last_heard if self.heard else 0.0
        if silent > self.patience(SILENT):
            raise Unknown(
                f"The writing into {self.folder} ended {silent:.1f} s before the machine was lost, so that what was "
                f"lost at its end cannot be told.{f' {self.ended}' if self.ended else ''}"
            )

    def loss(self, survivor: Machine, lost_at: float) -> Loss:
        """Compares what was written with what is on the machine that took over.

        Args:
            survivor: that machine.
            lost_at: the moment at which the old machine was surely still alive for the last time (monotonic).

        Raises:
            Unknown: nothing was ever heard, so that nothing can be told.
            Mismatch: a tick survived that was never written, or one was lost that is older than one that survived.
        """
        heard = dict(self.heard)
        if not heard:
            raise Unknown("No file was written before the machine was lost, so that the RPO cannot be told.")
        whole = {f"{self.nonce} {number:06}.txt": number for number in range(1, max(heard) + 2)}
        lines = self._lines_on(survivor)
        strangers = [line for line in lines if line not in whole]
        if strangers:
            raise Mismatch(f"In {self.folder} there is what nobody has written: {named(strangers)}.")
        there = {whole[line] for line in lines}
        newest = max(there, default=0)
        gaps = [f"{number:06}.txt" for number in range(1, newest) if number not in there]
        if gaps:
            raise Mismatch(
                f"In {self.folder} files are missing that are older than {newest:06}.txt, which came: {named(gaps)}."
            )
        lost = tuple(f"{self.folder}/{number:06}.txt" for number in sorted(heard) if number > newest)
        last_alive = max(lost_at, *heard.values())
        since = heard.get(newest) or min(heard.values())
        return Loss(last_alive - since if lost else 0.0, len(there), lost)

    def _lines_on(self, machine: Machine) -> list[str]:
        return [line for line in machine.run(_READ, f"{self.root}/{self.folder}").text.splitlines() if line]


def without(manifest: Manifest, folder: str) -> Manifest:
    """A manifest without a folder below its root."""
    kept = [entry for path, entry in manifest.entries.items() if path != folder and not path.startswith(f"{folder}/")]
    return Manifest(manifest.root, kept)
