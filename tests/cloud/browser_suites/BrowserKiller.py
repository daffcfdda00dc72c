"""Robot library that kills the browser, or the program that drives it, as a crash does."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import psutil
from robot.libraries.BuiltIn import BuiltIn

AFTER = 0.5  # seconds


def kill_soon(what: str) -> None:
    """Kill the `browser` or the `driver` while the next keyword runs."""
    library: Any = BuiltIn().get_library_instance("Browser")
    driver = psutil.Process(library.playwright._playwright_process.pid)
    (browser,) = driver.children()
    victim = {"browser": browser, "driver": driver}[what]
    threading.Timer(AFTER, os.kill, (victim.pid, signal.SIGKILL)).start()
