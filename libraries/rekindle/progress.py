"""How far long work has come: looked at beside the work, without holding it up, and put into one line.

Progress is a courtesy. What cannot be looked at is not shown, and never fails a test.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rekindle.dumont import DumontClient
from rekindle.errors import RekindleError
from rekindle.objects import ObjectStore
from rekindle.ssh import Machine
from rekindle.wording import number

MIB = 1 << 20
# Seconds between two looks; the pause after a slow look is this many times longer than the look, but bounded, because
# an answer of one busy second would leave the line unchanged for ten.
EVERY, RESTRAINT, LONGEST_PAUSE = 1.0, 10.0, 3.0
# The rate is that of the last seconds.
_WINDOW = 10.0

# restic gives a file all its blocks before it has its bytes: so the kernel is asked what restic has written. Where none
# runs, the files are measured. They may have their full size, or all their blocks, before they have their bytes: the
# smaller of the two is what surely arrived. A file that stands there under several names counts once.
_WRITTEN = r"""
written=0
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" && [ "$name" = restic ] || continue
    while read -r what count; do [ "$what" != wchar: ] || ((written += count)); done <"$process/io"
done 2>/dev/null
if ((written)); then echo "$written"; exit; fi
find "$1" -type f -printf '%s %b %n\n' 2>/dev/null | {
    sum=0
    while read -r size blocks names; do ((sum += (size < blocks * 512 ? size : blocks * 512) / names)); done
    echo "$sum"
}
"""


@dataclass(frozen=True)
class Done:
    """How far some work has come, in bytes. `total` is None when it is not known.

    `estimated`: seen from outside (what has reached the bucket, what lies on the disk), not told by who does the work.
    """

    bytes: int
    total: int | None = None
    estimated: bool = False


Look = Callable[[], Done | None]


class Meter:
    """Puts what was seen of one piece of work into words: bytes done, percent, rate, time left.

    Args:
        what: the work, as the line begins.
        now: monotonic seconds.
    """

    def __init__(self, what: str, now: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._now = now
        self._seen: deque[tuple[float, Done]] = deque([(now(), Done(0))])

    def line(self, done: Done) -> str:
        """`Snapshot: 412 of 1 024 MiB, 40 %, 97 MiB/s, 6 s left`."""
        now = self._now()
        last = self._seen[-1][1]
        if done.bytes < last.bytes or done.estimated != last.estimated:
            self._seen.clear()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[1][0] >= _WINDOW:
            self._seen.popleft()
        (since, first), rate = self._seen[0], 0.0
        if now > since:
            rate = (done.bytes - first.bytes) / (now - since)
        parts = [f"{self._what}: {'about ' if done.estimated else ''}{number(done.bytes // MIB)}"]
        if done.total:
            parts[0] += f" of {number(done.total // MIB)}"
            parts.append(f"{min(100 * done.bytes // done.total, 100)} %")
        parts[0] += " MiB"
        parts.append(f"{rate / MIB:.0f} MiB/s")
        if done.total and rate > 0:
            parts.append(f"{max(done.total - done.bytes, 0) / rate:.0f} s left")
        return ", ".join(parts)


@contextmanager
def watched(look: Look, show: Callable[[Done], None], every: float = EVERY) -> Iterator[None]:
    """Looks again and again, in a thread of its own, until the block ends.

    What is slow to look at is looked at less often.

    Args:
        look: one look; None when there is nothing to see yet.
        show: is given what was seen; never after the block.
        every: seconds between two looks.
    """
    ended, showing = threading.Event(), threading.Lock()

    def keep_looking() -> None:
        pause = every
        while not ended.wait(pause):
            begun = time.monotonic()
            try:
                done = look()
            except RekindleError:
                done = None
            with showing:
                if done and not ended.is_set():
                    show(done)
            pause = _pause_after(time.monotonic() - begun, every)

    # A look that hangs must hold up neither the work's end nor the process's.
    threading.Thread(target=keep_looking, name="progress", daemon=True).start()
    try:
        yield
    finally:
        with showing:
            ended.set()


def _pause_after(took: float, every: float) -> float:
    """Seconds to wait after a look: a look that is slow itself is followed by a pause of at least its own length."""
    return max(every, took, min(RESTRAINT * took, LONGEST_PAUSE))


def told_by_product(dumont: DumontClient, instance_id: int, activity: str) -> Look:
    """Return a look at what the product reports of its work (`snapshot` or `restore`) on a machine.

    Work that waits or has just begun is reported without bytes and without a total: that is no progress yet.
    """

    def look() -> Done | None:
        view = dumont.instance(instance_id)
        told = view.progress if view else None
        if told is None or told.activity != activity or not (told.bytes_done or told.bytes_total):
            return None
        return Done(told.bytes_done, told.bytes_total)

    return look


def growth_of_bucket(store: ObjectStore, prefix: str, total: int | None) -> Look:
    """How much has been added to the bucket below a prefix since the first look."""
    at_first: list[int] = []

    def look() -> Done | None:
        size = sum(one.size for one in store.list(prefix))
        at_first.append(size)
        return Done(max(size - at_first[0], 0), total, estimated=True)

    return look


def written_on_machine(machine: Machine, root: str, total: int | None) -> Look:
    """How many bytes restic has written on a machine, or else lie in files below a directory of it."""

    def look() -> Done | None:
        return Done(int(machine.run(_WRITTEN, root).text or 0), total, estimated=True)

    return look


def either(told: Look, seen: Look) -> Look:
    """What is told, and while nothing ever was, what is seen."""
    heard = False

    def look() -> Done | None:
        nonlocal heard
        if done := told():
            heard = True
            return done
        return None if heard else seen()

    return look
