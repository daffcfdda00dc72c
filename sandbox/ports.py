"""TCP ports on 127.0.0.1: which are free, and who holds one that is not."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from typing import Self

LOOPBACK = "127.0.0.1"
# Below the range from which the kernel takes ports for outgoing connections. The second port that some servers open
# 10000 above their first is still below the machines' ports.
_CHOICE = range(10000, 15000)


def is_free(port: int) -> bool:
    """Whether a server of this user could listen on the port now."""
    return _trouble(port) is None


def who_has(port: int) -> str:
    """Why a server cannot listen on the port now, in words."""
    trouble = _trouble(port)
    if trouble is None:
        return "is taken by another cloud"
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
    """Picks free ports, each once, and keeps other clouds from picking them until it is closed.

    A picked port is free until the server that gets it binds it, a second later. So that no cloud that starts at the
    same moment picks it too, each port stands for a name that only one process of the machine can own.
    """

    def __init__(self) -> None:
        self._claims: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back(*self._claims)

    def pick(self, *preferred: int | None, companion: int = 0) -> int:
        """The first preferred port that is free, else any.

        Args:
            preferred: ports to try first; None is passed over.
            companion: distance to a second port that the server opens by itself and that must be free too.
        """
        for port in [port for port in preferred if port] + random.sample(_CHOICE, k=200):
            if self.claim(port):
                if not companion or self.claim(port + companion):
                    return port
                self._give_back(port)
        raise OSError(f"no free TCP port was found on {LOOPBACK} between {_CHOICE.start} and {_CHOICE.stop}")

    def claim(self, port: int) -> bool:
        """Whether the port was free and is ours now."""
        if not is_free(port):
            return False
        name = socket.socket(socket.AF_UNIX)
        try:
            name.bind(f"\0rekindle-port-{port}")  # not a file: the kernel forgets it with the process
        except OSError:
            name.close()
            return False
        self._claims[port] = name
        return True

    def _give_back(self, *ports: int) -> None:
        for port in ports:
            self._claims.pop(port).close()
