"""How much goes through the published ports of machines: the kernel counts it, for each connection.

Machines share the network of this computer, so there is no interface of their own to read. But every connection to a
machine ends in a socket on the machine's own port, and the kernel tells of each socket, when it ends or is asked
(`man 7 sock_diag`), how many bytes were sent by it and received. What a machine fetches by itself, from a bucket say,
does not pass its port, and is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sandbox.hosts.host import PORTS

# From linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h and linux/tcp.h.
NETLINK_SOCK_DIAG = 4
TCP_DESTROY_GROUP = 1 << 0
SOCK_DIAG_BY_FAMILY = 20
DUMP = 0x301
DONE, ERROR = 3, 2
INET_DIAG_INFO = 2
ALL_BUT_LISTENING = 0xFFFFFFFF & ~(1 << 10)
SO_ATTACH_FILTER = 26
HEADER = struct.Struct("=IHHII")
SOCKET = struct.Struct(">HH32xI")  # of the socket's id: its port, the other's port, (addresses), interface
SOCKET_AT = HEADER.size + 4
COOKIE_AT, ATTRIBUTES_AT = SOCKET_AT + 40, HEADER.size + 72
ATTRIBUTE = struct.Struct("=HH")
ACKED_AND_RECEIVED = struct.Struct("=QQ")
ACKED_AT = 120
BUFFER = 1 << 16
ROOM = 1 << 22  # for ends of connections that are still to be read

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Traffic:
    """Bytes from a machine (up) and to it (down)."""

    up: int = 0
    down: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.up + other.up, self.down + other.down)


@dataclass(frozen=True)
class Connection:
    port: int
    cookie: bytes
    traffic: Traffic


class Meter:
    """Counts the traffic of ports for as long as they are watched. Lives in a running event loop.

    Where the kernel does not tell (it may be built without), nothing is counted, and the log says so.
    """

    def __init__(self, book: Callable[[int, Traffic], None]) -> None:
        """`book` is called with a port and the traffic of a connection to it that has ended."""
        self._book = book
        self._watched: dict[int, set[bytes]] = {}
        self._ends: socket.socket | None = None

    def open(self) -> None:
        """Begins to listen for connections that end."""
        try:
            ends = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        except OSError as error:
            _log.warning("the traffic of machines is not counted: %s", error)
            return
        try:
            _only_from(ends, PORTS)
            ends.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
            ends.setblocking(False)
            ends.bind((0, TCP_DESTROY_GROUP))
        except OSError as error:
            ends.close()
            _log.warning("the traffic of machines is not counted: %s", error)
            return
        self._ends = ends
        asyncio.get_running_loop().add_reader(ends, self._read_ends)

    def close(self) -> None:
        if self._ends:
            asyncio.get_running_loop().remove_reader(self._ends)
            self._ends.close()
            self._ends = None

    def watch(self, port: int) -> None:
        """Counts from now on. Connections that end before somebody has said a word are nobody's traffic."""
        if self._ends:
            self._watched[port] = {one.cookie for one in connections(port)}

    def settle(self, port: int) -> None:
        """Books what goes on, and counts no more."""
        if port not in self._watched:
            return
        self._read_ends()
        counted = self._watched.pop(port)
        for one in connections(port):
            if one.cookie not in counted and one.traffic.down:
                self._book(port, one.traffic)

    def _read_ends(self) -> None:
        while self._ends:
            try:
                message = self._ends.recv(BUFFER)
            except BlockingIOError:
                return
            except OSError as error:  # too many have ended at once
                _log.warning("some traffic was not counted: %s", error)
                continue
            for one in _parse(message):
                counted = self._watched.get(one.port)
                if counted is not None and one.cookie not in counted and one.traffic.down:
                    counted.add(one.cookie)
                    self._book(one.port, one.traffic)


def connections(port: int) -> Iterator[Connection]:
    """The connections to a port that there are now."""
    request = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), ALL_BUT_LISTENING)
    request += struct.pack(">HH", port, 0) + bytes(32 + 4) + b"\xff" * 8
    with contextlib.closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)) as asked:
        asked.settimeout(5)
        asked.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, DUMP, 1, 0) + request)
        while True:
            message = asked.recv(BUFFER)
            yield from (one for one in _parse(message) if one.port == port)
            if any(kind in {DONE, ERROR} for kind, _ in _messages(message)):
                return


def _messages(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """The netlink messages of a packet: their types, and all of their bytes."""
    while len(packet) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(packet)
        yield kind, packet[:length]
        packet = packet[(length + 3) & ~3 :]


def _parse(packet: bytes) -> Iterator[Connection]:
    for kind, message in _messages(packet):
        if kind != SOCK_DIAG_BY_FAMILY:
            continue
        port, *_ = SOCKET.unpack_from(message, SOCKET_AT)
        at = ATTRIBUTES_AT
        while at + ATTRIBUTE.size <= len(message):
            length, attribute = ATTRIBUTE.unpack_from(message, at)
            if attribute == INET_DIAG_INFO and length >= ATTRIBUTE.size + ACKED_AT + ACKED_AND_RECEIVED.size:
                acked, received = ACKED_AND_RECEIVED.unpack_from(message, at + ATTRIBUTE.size + ACKED_AT)
                cookie = message[COOKIE_AT : COOKIE_AT + 8]
                yield Connection(port, cookie, Traffic(up=acked, down=received))
            at += max((length + 3) & ~3, ATTRIBUTE.size)


def _only_from(ends: socket.socket, ports: range) -> None:
    """Has the kernel drop, before they wake anybody, the ends of sockets that are not on these ports."""
    program = (
        (0x28, 0, 0, SOCKET_AT),  # load the port, big-endian
        (0x35, 0, 2, ports.start),  # at least the first
        (0x25, 1, 0, ports.stop - 1),  # greater than the last
        (0x06, 0, 0, 0xFFFFFFFF),  # take it
        (0x06, 0, 0, 0),  # drop it
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    ends.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
