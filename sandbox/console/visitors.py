"""Who sits before the browser: a session without a password is only for the user who runs the cloud."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from fastapi import Request

LOOPBACK = "127.0.0.1"


def is_own_user(request: Request) -> bool:
    """Whether the program that asks is one of this user (or of root), and asks for this machine by its own name.

    A foreign web page could reach this port under a name of its own that leads here: it is not let in by that name.
    """
    if request.url.hostname not in (LOOPBACK, "localhost") or request.client is None:
        return False
    return request.client.host == LOOPBACK and _owner(request.client.port) in (os.getuid(), 0)


def _owner(port: int) -> int | None:
    """The user id that owns a connection from a port of 127.0.0.1; None when there is no such connection."""
    local = f"{int.from_bytes(socket.inet_aton(LOOPBACK), sys.byteorder):08X}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local:
            return int(fields[7])
    return None
