"""Which browser is driven, and how it is started so that it talks to nobody but the page under test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rekindle.errors import Misconfigured
from rekindle.http import is_loopback
from rekindle.private_folder import place_for_sockets
from rekindle.redaction import KNOWN, looks_secret

# In this order. Debian's `chromium` is a shell script that complains; the program itself lies behind it.
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BEHIND_THE_SCRIPT = Path("/usr/lib/chromium/chromium")

HOW_TO_INSTALL = (
    "No browser was found for the journeys. Install one (Debian: `apt-get install chromium`; `./bootstrap` does so as "
    "root), name yours (`BROWSER_PATH=/path/to/chrome`, in the environment or as --variable BROWSER_PATH:…), or let "
    "Playwright fetch its own: `rfbrowser install chromium`."
)
# Playwright says one of these when it has no browser of its own.
MISSING = ("Executable doesn't exist", "executable doesn't exist", "Please run the following command")

NO_SCREEN = (
    "HEADLESS:False shows the browser's window, and there is no screen to show it on (DISPLAY is not set, or nothing "
    "answers there). Leave it out, or run the whole command under `xvfb-run`."
)
SCREENLESS = "Missing X server"  # Chromium's words
LONG_PATH = (
    "The browser does not start, because the path of its directory for temporary files is too long for a socket, and "
    "/tmp cannot be used: set TMPDIR to a directory with a short path."
)
TOO_LONG = "Socket path too long"  # Chromium's words


@dataclass(frozen=True)
class BrowserChoice:
    """Which program to start, and with which arguments. `path` is None for Playwright's own browser."""

    path: Path | None
    arguments: tuple[str, ...]


def choose(
    wanted: str | None,
    page: str,
    *,
    environment: Mapping[str, str] = os.environ,
    which: Callable[[str], str | None] = shutil.which,
    user: int | None = None,
) -> BrowserChoice:
    """Finds the browser: the one that the user names, else the system's, else Playwright's own.

    Args:
        wanted: its path, as the variable of a run gives it; None or empty when it does not.
        page: the address of the page under test.
        environment: holds `BROWSER_PATH`, maybe.
        which: looks a program up.
        user: who starts it, by number; this process's user when None.

    Raises:
        Misconfigured: the one that the user names is not there.
    """
    named = wanted or environment.get("BROWSER_PATH")
    path: Path | None
    if named:
        path = Path(named).expanduser()
        if not path.is_file() or not os.access(path, os.X_OK):
            raise Misconfigured(f"BROWSER_PATH names {path}, and there is no program. {HOW_TO_INSTALL}")
    else:
        found = next(filter(None, map(which, SYSTEM_BROWSERS)), None)
        path = Path(found) if found else None
        if path and path.name == "chromium" and os.access(BEHIND_THE_SCRIPT, os.X_OK):
            path = BEHIND_THE_SCRIPT
    return BrowserChoice(path, tuple(_arguments(page, os.geteuid() if user is None else user)))


def _arguments(page: str, user: int) -> list[str]:
    arguments = []
    if user == 0:  # its own sandbox refuses to work for root
        arguments.append("--no-sandbox")
    if is_loopback(urlsplit(page).hostname or ""):
        # It needs no address but the page's. Its own services ask name servers and proxies for many others.
        arguments.append("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost")
        arguments.append("--no-proxy-server")
    return arguments


@contextmanager
def own_environment(environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """Give the browser and the program that drives it an environment of their own for as long as the block runs.

    They inherit this process's environment. It holds no secrets then, and its directory for temporary files is private
    to this run: its path is short enough for the browser's sockets, and it is removed with the run.
    """
    before = dict(environment)
    for name, value in before.items():
        if looks_secret(name) or KNOWN.redact(value).names:
            del environment[name]
    environment["TMPDIR"] = str(place_for_sockets())
    try:
        yield
    finally:
        environment.update({name: value for name, value in before.items() if environment.get(name) != value})
        if "TMPDIR" not in before:
            del environment["TMPDIR"]


def explained(error: Exception) -> Exception:
    """What a person needs to know when the browser did not start."""
    text = str(error)
    if any(sign in text for sign in MISSING):
        return Misconfigured(HOW_TO_INSTALL)
    if SCREENLESS in text:
        return Misconfigured(NO_SCREEN)
    if TOO_LONG in text:
        return Misconfigured(LONG_PATH)
    return error
