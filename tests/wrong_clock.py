"""Computers with a wrong clock: libfaketime stands between their programs and the kernel."""

from __future__ import annotations

from pathlib import Path

from sandbox import clocks

# libfaketime subtracts its offset also from monotonic times, so that the kernel refuses to sleep until then.
_SLEEP = """\
import select
import time

time.sleep = lambda seconds: select.select([], [], [], seconds)
"""


def wrong_clock(ahead: float, folder: Path) -> dict[str, str]:
    """Return the environment of a Python program whose date is wrong; its monotonic clock is right.

    Args:
        ahead: seconds by which its date is ahead of the right time; 0 stands for a right clock.
        folder: gets a module that Python imports when the program starts.
    """
    if not ahead:
        return {}
    library = clocks.library()
    assert library, f"apt-get install {clocks.PACKAGE}"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_SLEEP)
    return {
        "PYTHONPATH": str(folder),
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{ahead:+.0f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        "NO_FAKE_STAT": "1",
    }
