"""The rules for a state directory: whose it is, what it may hold, and when one is created.

A cloud keeps keys there. It creates a directory only in one that exists, so that a misspelled path leaves nothing
behind, and it never changes the permissions of a directory that it did not create.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandbox.state import DEFAULT_STATE_DIR

ANOTHER = "Give another directory (--state-dir, or STATE_DIR of the suites)."
LONGEST = 400  # bytes; SQLite opens paths of at most 512
# What a state directory may hold before its secrets are written, when the very first start was cut short.
_FIRST = {"logs", "keys", "machines", "store", "lock"}
_UNFINISHED = ".secrets.json."


class Unusable(Exception):
    """A directory cannot hold a cloud; the message says why and what to do."""


def is_a_clouds(root: Path) -> bool:
    """Return whether a directory holds a cloud's state."""
    return (root / "secrets.json").exists()


def check(root: Path) -> None:
    """Check that a state directory can be used or created. Create nothing.

    Raises:
        Unusable: the path cannot be given to other programs, or is no directory; the directory holds other files,
            belongs to another user, or is closed to its user or open to others; or its parent does not exist.
    """
    _check_path(root)
    with _unusable(root):
        if root.exists():
            _check(root)
        elif root != DEFAULT_STATE_DIR.resolve() and not root.parent.is_dir():
            raise Unusable(
                f"{root} cannot be created, because {root.parent} is not a directory that exists. Create that first, "
                "or give another directory (--state-dir, or STATE_DIR of the suites)."
            )


def create(root: Path) -> None:
    """Create a state directory that `check` has accepted, unless it exists.

    Raises:
        Unusable: it cannot be created.
    """
    with _unusable(root):
        if root == DEFAULT_STATE_DIR.resolve():
            root.parent.mkdir(exist_ok=True)
        root.mkdir(mode=stat.S_IRWXU, exist_ok=True)


@contextmanager
def _unusable(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unusable(
            f"The state directory {root} cannot be used: {error.strerror} ({error.filename}). {ANOTHER}"
        ) from error


def _check_path(root: Path) -> None:
    text = str(root)
    if not text.isprintable():  # the surrogates that stand for bytes that are not UTF-8 are not printable either
        raise Unusable(f"The state directory {text!r} has a control character or invalid UTF-8 in its path. {ANOTHER}")
    if "${" in text:
        raise Unusable(f"The state directory {text} has ${{ in its path, which ssh takes for a variable. {ANOTHER}")
    if (length := len(os.fsencode(text))) > LONGEST:
        raise Unusable(
            f"The path of the state directory has {length} bytes, but may have at most {LONGEST}: {text}. {ANOTHER}"
        )


def _check(root: Path) -> None:
    if not root.is_dir():
        raise Unusable(f"{root} is a file, and a cloud needs a directory. {ANOTHER}")
    status = root.stat()
    if status.st_uid != os.getuid():
        raise Unusable(f"{root} belongs to another user ({_name(status.st_uid)}). {ANOTHER}")
    # Listed first: another `up` may make it a cloud's at this moment.
    entries = {entry.name for entry in root.iterdir()} - _FIRST if status.st_mode & stat.S_IRUSR else set()
    if not all(name.startswith(_UNFINISHED) for name in entries) and not is_a_clouds(root):
        raise Unusable(f"{root} holds other files, and a cloud needs a directory of its own. {ANOTHER}")
    if (mode := status.st_mode & 0o777) != stat.S_IRWXU:
        raise Unusable(
            f"{root} has mode {mode:03o}, but a cloud keeps keys there and needs mode 700: "
            f"chmod 700 {shlex.quote(str(root))}. Or give another directory (--state-dir, or STATE_DIR of the suites)."
        )


def _name(user: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(user).pw_name
    return f"number {user}"
