"""The wall clocks of the parts, which can be set: libfaketime stands between a part and the kernel.

Only what a part takes for the date changes. Its monotonic clock runs on, as on a computer whose date is corrected; so
do the clocks of the machines, of the store and of the users.
"""

from __future__ import annotations

from pathlib import Path

from sandbox.state import StateDir, write_private

PACKAGE = "faketime"
PARTS = ("control", "marketplace")
SEEN_WITHIN = 1  # seconds until a part notices that its clock was set


def library() -> Path | None:
    """Where Debian puts it; None when it is not installed."""
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def settable(state: StateDir, part: str) -> dict[str, str]:
    """The environment in which a part has a clock that can be set."""
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(_file(state, part)),
        "FAKETIME_CACHE_DURATION": str(SEEN_WITHIN),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        # Its mend for old C libraries makes each wait of one thread for another return at once: fifty times the work.
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }


def set_clock(state: StateDir, part: str, ahead: float) -> None:
    """Lets the clock of a part be so many seconds ahead of the right time, from now on; behind it when negative."""
    state.clocks.mkdir(mode=0o700, exist_ok=True)
    write_private(_file(state, part), f"{ahead:+.3f}\n")


def _file(state: StateDir, part: str) -> Path:
    return state.clocks / part
