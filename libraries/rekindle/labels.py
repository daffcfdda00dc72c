"""The labels of our machines: they tell whose a machine is, and how long it may be there.

    rekindle-0311093015-5f2c9a-3-30m
             └────── run ────┘ │ └ minutes that the run keeps it at most, from when the market began it
                               └ number in the run

The run's guard holds the run to these minutes. A machine that is older belongs to a run that is no more: whoever reads
the label can tell, on any computer, also without the ledger of the run.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass

LABEL_MARK = "rekindle-"
_OURS = re.compile(r"rekindle-(?P<run_id>\d{10}-[0-9a-f]{6})-(?P<number>\d+)-(?P<minutes>\d+)m")


@dataclass(frozen=True)
class Label:
    """One label, taken apart."""

    run_id: str
    number: int
    minutes: int

    def __str__(self) -> str:
        return f"{label_prefix(self.run_id)}{self.number}-{self.minutes}m"

    @classmethod
    def read(cls, text: str | None) -> Label | None:
        """The parts of a label; None when it is not one of ours, letter by letter."""
        found = _OURS.fullmatch(text or "")
        return cls(found["run_id"], int(found["number"]), int(found["minutes"])) if found else None


def new_run_id() -> str:
    """Names one run for ever: when it began, and some chance."""
    return f"{time.strftime('%m%d%H%M%S')}-{secrets.token_hex(3)}"


def label_prefix(run_id: str) -> str:
    """What the label of every machine of a run begins with."""
    return f"{LABEL_MARK}{run_id}-"
