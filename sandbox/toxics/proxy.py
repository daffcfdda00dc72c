"""One way: whoever connects to `listen` speaks with `upstream`, through its toxics."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

from sandbox.toxics.link import Cut, Link
from sandbox.toxics.toxic import Stream, Toxic

CONNECT_WITHIN = 10.0  # seconds
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time: the end of the connection is a reset

Address = tuple[str, int]


class Proxy:
    def __init__(self, name: str, listen: Address, upstream: Address) -> None:
        """`listen`: port 0 is any free one; it is known once the proxy is enabled."""
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self._toxics: list[Toxic] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()

    @property
    def enabled(self) -> bool:
        return self._server is not None

    @property
    def toxics(self) -> list[Toxic]:
        return self._toxics

    @toxics.setter
    def toxics(self, toxics: list[Toxic]) -> None:
        """Acts at once, on the connections that there are too."""
        self._toxics = toxics
        for link in self._links:
            link.toxics_changed()

    async def enable(self) -> None:
        """Begins to listen.

        Raises:
            OSError: the address is taken.
        """
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, *self.listen)
            self.listen = self._server.sockets[0].getsockname()[:2]

    async def disable(self) -> None:
        """Refuses connections from now on, and ends those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    def public(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "listen": _text(self.listen),
            "upstream": _text(self.upstream),
            "enabled": self.enabled,
            "toxics": [toxic.public() for toxic in self._toxics],
        }

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                their_reader, their_writer = await asyncio.open_connection(*self.upstream)
        except (OSError, TimeoutError):
            _end(writer, reset=True)  # it was accepted already: to be refused at once is the next worst
            return
        links = (
            Link(reader, their_writer, lambda: self._of("upstream")),
            Link(their_reader, writer, lambda: self._of("downstream")),
        )
        self._links |= {*links}
        reset = False
        try:
            async with asyncio.TaskGroup() as group:
                for link in links:
                    group.create_task(link.run())
        except* Cut as cuts:
            reset = any(isinstance(cut, Cut) and cut.reset for cut in cuts.exceptions)
        except* OSError:
            reset = True
        finally:
            self._links -= {*links}
            for one in (writer, their_writer):
                _end(one, reset=reset)

    def _of(self, stream: Stream) -> list[Toxic]:
        return [toxic for toxic in self._toxics if toxic.stream == stream]


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if not reset:
        writer.close()
        return
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
