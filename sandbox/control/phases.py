"""Long work in named phases, each with its measured seconds; as a record it survives a restart of the process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

_BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Moment(BaseModel):
    """A point in time. Between two of the same boot the monotonic clock counts, which no one can set."""

    epoch: float = Field(default_factory=time.time)
    monotonic: float = Field(default_factory=time.monotonic)
    boot: str = _BOOT

    @classmethod
    def at(cls, epoch: float) -> Moment:
        """A moment of which only the time of day is known."""
        now = cls()
        return cls(epoch=epoch, monotonic=now.monotonic - (now.epoch - epoch))

    def until(self, later: Moment) -> float:
        """Seconds."""
        if later.boot == self.boot:
            return max(0.0, later.monotonic - self.monotonic)
        return max(0.0, later.epoch - self.epoch)


class Phase(BaseModel):
    phase: str
    entered: Moment
    seconds: float | None = None
    detail: str | None = None


OVER = ("complete", "failed")


class Phased(BaseModel):
    """Work that goes from phase to phase. The last one, which ends it, lasts no time."""

    phases: list[Phase] = []

    @property
    def phase(self) -> str:
        return self.phases[-1].phase

    @property
    def over(self) -> bool:
        return self.phase in OVER

    def enter(self, phase: str, moment: Moment | None = None) -> None:
        """Leaves the current phase and enters another, both at the same moment: no time is between them."""
        moment = moment or Moment()
        if self.phases:
            self.phases[-1].seconds = round(self.phases[-1].entered.until(moment), 6)
        self.phases.append(Phase(phase=phase, entered=moment, seconds=0.0 if phase in OVER else None))

    def note(self, detail: str) -> None:
        """Says what the current phase has found or done."""
        known = self.phases[-1].detail
        self.phases[-1].detail = f"{known}; {detail}" if known else detail

    @property
    def timings_ms(self) -> dict[str, float]:
        """Milliseconds spent in each phase that is over."""
        spent: dict[str, float] = {}
        for one in self.phases:
            if one.seconds is not None and one.phase not in OVER:
                spent[one.phase] = round(spent.get(one.phase, 0.0) + one.seconds * 1000, 3)
        return spent

    @property
    def total_ms(self) -> float:
        return round(sum(self.timings_ms.values()), 3)

    def shown_phases(self) -> list[dict[str, Any]]:
        """As the API shows them: of the phase that is under way, the seconds so far."""
        now = Moment()
        return [
            {
                "phase": one.phase,
                "entered_at": one.entered.epoch,
                "seconds": one.seconds if one.seconds is not None else round(one.entered.until(now), 6),
                "detail": one.detail,
            }
            for one in self.phases
        ]
