"""Place of the sockets of shared SSH connections."""

from __future__ import annotations

from pathlib import Path


def sockets_of(cloud_id: str) -> Path:
    """Return where the shared connections of a cloud lie.

    A state directory, and the user's TMPDIR, may lie too deep for the 107 bytes of a socket's path.
    """
    return Path("/tmp", f"dumont-{cloud_id[:16]}")  # noqa: S108 - made with mode 700, and refused if it is another's
