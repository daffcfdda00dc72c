"""Paths in the notation of ssh's options."""

from __future__ import annotations

from pathlib import Path

from rekindle.errors import Misconfigured


def ssh_path(path: Path) -> str:
    r"""Return a path as the value of an ssh option.

    ssh splits values at spaces, ends them at `#`, reads `\` before quotes, and expands `%` and `${`.

    Raises:
        Misconfigured: the path holds a line break or `${`, which ssh cannot take literally.
    """
    text = str(path)
    if "\n" in text or "${" in text:
        raise Misconfigured(f"ssh cannot use the path {text!r}, because it holds a line break or ${{. Rename it.")
    literal = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{literal}"'
