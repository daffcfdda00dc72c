"""Paths and words in the notation of the programs that split them again: options of ssh, and rsync's remote shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def ssh_path(path: Path, tail: str = "") -> str:
    r"""Return a path as the value of an ssh option.

    ssh splits values at spaces, ends them at `#`, reads `\` before quotes, and expands `%` and `${`.

    Args:
        path: taken literally.
        tail: what follows it in ssh's own notation, such as `/%k`.

    Raises:
        ValueError: the path holds a line break or `${`, which ssh cannot take literally.
    """
    text = str(path)
    if "\n" in text or "${" in text:
        raise ValueError(f"ssh cannot use the path {text!r}, because it holds a line break or ${{.")
    literal = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{literal}{tail}"'


def remote_shell(words: Sequence[str]) -> str:
    """Return a command line as rsync's option `-e` splits it: quotes keep spaces, and are doubled within themselves."""
    return " ".join("'" + word.replace("'", "''") + "'" for word in words)
