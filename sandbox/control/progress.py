"""How far the long work on each machine has come. Kept in memory: work does not outlive the process either."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Activity = Literal["snapshot", "restore"]


@dataclass
class Progress:
    """One piece of work. Bytes are those of the files on the machine; None: not known (yet)."""

    activity: Activity
    bytes_done: int = 0
    bytes_total: int | None = None
    files_done: int | None = None
    files_total: int | None = None
    begun: float = field(default_factory=time.monotonic)

    def public(self) -> dict[str, object]:
        """As the API tells it; `seconds` since the work began."""
        return {
            "activity": self.activity,
            # What restic writes beside the files counts too: it is not more than all for that.
            "bytes_done": self.bytes_done if self.bytes_total is None else min(self.bytes_done, self.bytes_total),
            "bytes_total": self.bytes_total,
            "files_done": self.files_done,
            "files_total": self.files_total,
            "seconds": round(time.monotonic() - self.begun, 3),
        }


class ProgressOf:
    """The work that goes on, by the machine it is done on: one at a time on each."""

    def __init__(self) -> None:
        self._works: dict[int, Progress] = {}

    @contextmanager
    def begin(self, instance_id: int, activity: Activity) -> Iterator[Progress]:
        """For as long as the work lasts. Who does it writes into what this gives."""
        progress = self._works[instance_id] = Progress(activity)
        try:
            yield progress
        finally:
            del self._works[instance_id]

    def public(self, instance_id: int) -> dict[str, object] | None:
        progress = self._works.get(instance_id)
        return progress.public() if progress else None
