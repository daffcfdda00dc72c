"""The entrance of the store. One bucket plays Backblaze B2, which has no conditional writes: it answers 501 to them.

A write for which the disk of the store has no space is answered with 507, which names the disk: the store itself says
"internal error".

`python -m sandbox.store.front --listen PORT --upstream PORT --bucket NAME --folder DIR COMMAND…` starts the store with
the command and listens when the store does. It reads the head of each request and passes everything else on as it is.
It ends with the store, and with its exit code: 128 + N if signal N killed it.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from sandbox.disk_space import TO_WRITE, Room, shortage

LOOPBACK = "127.0.0.1"
CHUNK = 1 << 17
LONGEST_HEAD = 1 << 16
DRAINED_WITHIN = 2.0  # seconds for a client to read that it was refused
_LOOK = 0.01  # seconds between two looks whether the store listens
_CONDITIONS = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")


def refusal(status: str, code: str, message: str) -> bytes:
    """Return an error answer in the words of S3."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error>"
    ).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


NOT_IMPLEMENTED = refusal(
    "501 Not Implemented",
    "NotImplemented",
    "A header you provided implies functionality that is not implemented.",
)


class Head(NamedTuple):
    """The head of a request: its bytes, and what is read of them. `length` is None for a body in HTTP chunks."""

    raw: bytes
    method: bytes
    path: bytes
    headers: dict[bytes, bytes]

    @property
    def length(self) -> int | None:
        """Bytes of the body."""
        return None if b"transfer-encoding" in self.headers else int(self.headers.get(b"content-length", b"0"))

    def is_conditional_write_to(self, bucket: bytes) -> bool:
        """Return whether it writes to the bucket on a condition."""
        into = self.path.partition(b"?")[0].lstrip(b"/").partition(b"/")[0] == bucket
        return self.method == b"PUT" and into and any(name in self.headers for name in _CONDITIONS)


class Incoming:
    """What a client sends."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._held = b""

    def head(self) -> Head | None:
        """Read the head of the next request; None at the end.

        Raises:
            ValueError: it is no HTTP request.
        """
        while b"\r\n\r\n" not in self._held:
            if len(self._held) > LONGEST_HEAD:
                raise ValueError("the head of a request has no end")
            if not (received := self._client.recv(CHUNK)):
                return None
            self._held += received
        raw, _, self._held = self._held.partition(b"\r\n\r\n")
        first, *lines = raw.split(b"\r\n")
        method, path, _ = first.split(b" ", 2)
        pairs = (line.partition(b":") for line in lines)
        return Head(raw + b"\r\n\r\n", method, path, {name.strip().lower(): value.strip() for name, _, value in pairs})

    def pass_on(self, upstream: socket.socket, count: int | None) -> None:
        """Send so many bytes to the store; None: everything up to the end of the connection."""
        held = self._held if count is None else self._held[:count]
        self._held = self._held[len(held) :]
        upstream.sendall(held)
        pump(self._client, upstream, None if count is None else count - len(held))


def pump(source: socket.socket, target: socket.socket, count: int | None = None) -> None:
    """Pass bytes on: so many, or until the source ends."""
    buffer = memoryview(bytearray(CHUNK))
    while count is None or count > 0:
        received = source.recv_into(buffer, CHUNK if count is None else min(CHUNK, count))
        if not received:
            return
        target.sendall(buffer[:received])
        count = None if count is None else count - received


def serve(client: socket.socket, store: tuple[str, int], bucket: bytes, folder: Path) -> None:
    """Pass the requests of one connection on, but for conditional writes to the bucket and writes to a full disk.

    Args:
        client: the connection.
        store: address of the store.
        bucket: has no conditional writes.
        folder: state directory, on the disk that the store writes to.
    """
    with client, suppress(OSError, ValueError), socket.create_connection(store) as upstream:
        for one in (client, upstream):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = threading.Thread(target=_answer, args=(upstream, client), daemon=True)
        answers.start()
        try:
            incoming = Incoming(client)
            while (head := incoming.head()) is not None:
                if head.is_conditional_write_to(bucket):
                    _refuse(client, NOT_IMPLEMENTED)
                    break
                if head.method == b"PUT" and (full := _full(folder, head.length or 0)):
                    _refuse(client, refusal("507 Insufficient Storage", "InsufficientStorage", full))
                    break
                upstream.sendall(head.raw)
                incoming.pass_on(upstream, head.length)
        finally:
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            answers.join()


def _answer(upstream: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        pump(upstream, client)
    with suppress(OSError):  # also ends the wait for the next request
        client.shutdown(socket.SHUT_RDWR)


def _full(folder: Path, length: int) -> str | None:
    """Return the sentence that the disk has no space for an object, and room to work; None if it has."""
    return shortage(folder, Room(TO_WRITE.bytes + length, TO_WRITE.inodes))


def _refuse(client: socket.socket, answer: bytes) -> None:
    """Answer with an error. The body is read as well: a connection that is closed before takes the answer with it."""
    client.sendall(answer)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(DRAINED_WITHIN)
    while client.recv(CHUNK):
        pass


def _bind(port: int) -> socket.socket:
    """Return a socket that has the port but does not listen yet.

    Raises:
        OSError: the port is taken.
    """
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((LOOPBACK, port))
    return server


def _listen(server: socket.socket, store: tuple[str, int], bucket: bytes, folder: Path) -> None:
    """Serve as soon as the store does.

    Raises:
        OSError: another program listens on the port by now.
    """
    while True:
        with suppress(OSError), socket.create_connection(store):
            break
        time.sleep(_LOOK)
    server.listen(1024)
    while True:
        client, _ = server.accept()
        threading.Thread(target=serve, args=(client, store, bucket, folder), daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        server = _bind(options.listen)
    except OSError as error:
        sys.exit(f"error: port {options.listen} on {LOOPBACK} cannot be opened: {error.strerror}")
    store = subprocess.Popen(options.command, stdin=subprocess.DEVNULL)

    def end(*_: object) -> None:
        # Bubblewrap does not pass the signal on: it would end at once, and the program inside with it.
        inside = Path(f"/proc/{store.pid}/task/{store.pid}/children").read_text().split()
        for pid in map(int, inside or [str(store.pid)]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    address = (LOOPBACK, options.upstream)

    def listen() -> None:
        try:
            _listen(server, address, options.bucket.encode(), options.folder)
        except OSError as error:
            print(f"error: port {options.listen} on {LOOPBACK}: {error.strerror}", file=sys.stderr)
            end()

    threading.Thread(target=listen, daemon=True).start()
    status = store.wait()
    sys.exit(status if status >= 0 else 128 - status)  # as bubblewrap reports that the program inside was killed


if __name__ == "__main__":
    main()
