"""Checks that this user may run machines, before a cloud starts: python -m sandbox.isolation."""

from __future__ import annotations

import shutil
import subprocess
import sys

from sandbox.bubblewrap import SEARCH_PATH, isolation, system
from sandbox.isolation_causes import Surroundings, cause

_WITHIN = 20.0  # seconds; it takes 0.01


def trouble(path: str | None = None) -> str | None:
    """Run `true` as machines of this user run. Return None, or why that fails and what to do about it.

    Args:
        path: the folders that may hold bwrap; those on PATH when None.
    """
    bwrap = shutil.which("bwrap", path=path)
    if bwrap is None:
        return (
            "The embedded cloud cannot run machines: bwrap is missing. As an administrator, run:\n"
            "    apt-get update && apt-get install --yes --no-install-recommends bubblewrap"
        )
    last_words = _last_words([bwrap, *isolation(), *system(), "true"])
    if last_words is None:
        return None
    here = Surroundings.read()
    found = cause(last_words, bwrap, here)
    namespaces = " ".join(option for option in isolation() if option.startswith("--unshare"))
    return (
        f"The embedded cloud cannot run machines as {here.user_name}: {found.reason}.\n"
        f"Tried: {bwrap} {namespaces} … true\n"
        f"Its last words: {last_words}\n"
        f"{found.remedy}"
    )


def _last_words(command: list[str]) -> str | None:
    """Run bubblewrap. Return the last line that it printed if it failed."""
    try:
        done = subprocess.run(
            command,
            env={"PATH": SEARCH_PATH},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_WITHIN,
        )
    except subprocess.TimeoutExpired:
        return f"none within {_WITHIN:g} s"
    except OSError as error:
        return str(error)
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"none, exit code {done.returncode}"])[-1]


if __name__ == "__main__":
    sys.exit(trouble())
