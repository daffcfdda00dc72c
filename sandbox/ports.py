"""TCP ports on 127.0.0.1: which are free, and who holds one that is not."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections, with room for a second one 10000 above.
_CHOICE = range(12000, 22000)


def is_free(port: int) -> bool:
    """Whether a server of this user could listen on the port now."""
    return _trouble(port) is None


def who_has(port: int) -> str | None:
    """Why a server cannot listen on the port now, in words; None when it can."""
    trouble = _trouble(port)
    if trouble is None:
        return None
    if isinstance(trouble, PermissionError):
        return "is for administrators only"
    return f"is taken by {_listener(port) or 'a process of another user'}"


def _listener(port: int) -> str | None:
    import psutil  # noqa: PLC0415 - only needed to explain a failure, and slow to import

    for connection in psutil.net_connections(kind="tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
        if listens and connection.pid:
            with suppress(psutil.NoSuchProcess):
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return None


def _trouble(port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no hindrance
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error
        return None


class PortPicker:
    """Picks free ports, each once. They are only looked at, not held: the server that gets one binds it soon after."""

    def __init__(self) -> None:
        self._picked: set[int] = set()

    def pick(self, *preferred: int | None, companion: int = 0) -> int:
        """The first preferred port that is free, else any.

        Args:
            preferred: ports to try first; None is passed over.
            companion: distance to a second port that the server opens by itself and that must be free too.
        """
        for port in [port for port in preferred if port] + random.sample(_CHOICE, k=200):
            ports = {port, port + companion}
            if not ports & self._picked and all(is_free(one) for one in ports):
                self._picked |= ports
                return port
        raise OSError(f"no free TCP port was found on {LOOPBACK} between {_CHOICE.start} and {_CHOICE.stop}")

    def reserve(self, port: int) -> None:
        """Keeps a port that somebody asked for by its number from being picked for something else."""
        self._picked.add(port)
