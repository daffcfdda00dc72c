"""Browser library that notices at once when the browser or its driver dies. Import it as `Browser`."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Any

import library_parts  # noqa: F401  # isort: skip - refuses an old Robot Framework before another library fails with it
import psutil
from Browser import Browser

from rekindle.errors import Unknown

EXIT_SEEN_WITHIN = 1.0  # seconds from the first error of a page that is gone to the end of its process
_PAUSE = 0.01  # seconds between two looks for it
# Errors of a page or a driver that is gone: those of Playwright, and those of a broken connection to the driver.
_GONE = re.compile(
    "has been closed|no page open|could not find active page|no browser is open|terminated"
    "|connect|stream removed|socket|unavailable",
    re.IGNORECASE,
)
_CLOSING = ("close_browser", "close_context", "close_page")


class _Died(BaseException):
    """Ends the library's loops, which repeat after every `Exception` until their time is over."""


class WatchedBrowser(Browser):  # type: ignore[misc]  # the library has no type for its base
    """Drives a browser. When that or its driver (node) dies, the running keyword fails at once with `UNKNOWN:`.

    Closing a dead browser succeeds, and the next one that is opened gets a new driver.
    """

    ROBOT_LIBRARY_SCOPE = "GLOBAL"

    # Not set in an `__init__`, whose signature would hide the types of the library's own arguments from Robot.
    _playwright: Any
    _process: psutil.Process | None = None
    _keywords_running = 0

    def watch(self) -> None:
        """Watch the browser that was opened last, until it is closed."""
        driver = self._driver()
        started = psutil.Process(driver.pid).children() if driver else []
        self._process = max(started, key=psutil.Process.create_time, default=None)

    def renew_driver(self) -> None:
        """End a driver that was started in another environment, unless it has opened a browser.

        The next keyword starts another one in the environment that this process has then.
        """
        driver = self._driver()
        if driver is None or driver.poll() is not None:
            self._forget()
            return
        process = psutil.Process(driver.pid)
        if process.environ().get("TMPDIR") != os.environ.get("TMPDIR") and not process.children():
            self._playwright.close()
            self._playwright = None

    @property
    def playwright(self) -> Any:
        """The connection to the driver, which every keyword takes anew for each of its tries."""
        if self._keywords_running and self._death():
            raise _Died
        return super().playwright

    def run_keyword(self, name: str, args: Any, kwargs: Any = None) -> Any:
        """Run a keyword for Robot.

        Raises:
            Unknown: the browser or its driver died.
        """
        return self._failing_at_once(name, lambda: super(WatchedBrowser, self).run_keyword(name, args, kwargs))

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a keyword from Python, with the same errors."""
        return self._failing_at_once(name, lambda: getattr(self, name)(*args, **kwargs))

    def _failing_at_once(self, name: str, keyword: Callable[[], Any]) -> Any:
        if name in _CLOSING:
            return self._closing(name, keyword)
        self._keywords_running += 1
        try:
            return keyword()
        except _Died:
            raise self._unknown() from None
        except Exception as error:
            if self._has_died_with(error):
                raise self._unknown() from None
            raise
        finally:
            self._keywords_running -= 1

    def _closing(self, name: str, keyword: Callable[[], Any]) -> Any:
        """Run a keyword that closes something. The driver forgets a dead browser only when that is closed too."""
        try:
            return keyword()
        except Exception:
            if self._death():
                return None
            raise
        finally:
            if name == "close_browser" or self._death():
                self._forget()

    def _has_died_with(self, error: Exception) -> bool:
        """Return whether an error comes from the death of a program, which may still be a process for a moment."""
        deadline = time.monotonic() + EXIT_SEEN_WITHIN
        while _GONE.search(str(error)) and not self._death() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return bool(self._death())

    def _unknown(self) -> Unknown:
        return Unknown(f"{self._death()} ended during the test, so the page cannot be checked any more: run it again.")

    def _death(self) -> str:
        """Return what died, for the beginning of a sentence; empty if all that was started lives."""
        driver = self._driver()
        if driver and driver.poll() is not None:
            return "The program that drives the browser (node)"
        if self._process and not _lives(self._process):
            return f"The browser (process {self._process.pid})"
        return ""

    def _driver(self) -> Any:
        """Return the driver's process; None if this library has not started it."""
        connection = self._playwright
        return connection.__dict__.get("_playwright_process") if connection else None

    def _forget(self) -> None:
        """Make the next browser start anew."""
        self._process = None
        driver = self._driver()
        if driver and driver.poll() is not None:
            self._playwright = None

    def _end_suite(self, name: str, attributes: Any) -> None:
        self._unless_dead(super()._end_suite, name, attributes)

    def _end_test(self, name: str, attributes: Any) -> None:
        self._unless_dead(super()._end_test, name, attributes)

    def _unless_dead(self, act: Callable[..., None], *arguments: Any) -> None:
        try:
            act(*arguments)
        except Exception:
            if not self._death():
                raise


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
