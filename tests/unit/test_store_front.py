"""The entrance of the store passes everything on as it is, but for conditional writes to one bucket."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandbox.store.front import Incoming, serve

WITHIN = 10.0


class Upstream:
    """Keeps what it receives, and answers each connection with one line when it has received so much."""

    def __init__(self) -> None:
        self.received = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._server.getsockname()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        connection, _ = self._server.accept()
        with connection:
            while received := connection.recv(65536):
                self.received += received
                if self.received.endswith(b"the end"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    def close(self) -> None:
        self._server.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with closing(Upstream()) as upstream:
        yield upstream


@pytest.fixture
def client(upstream: Upstream, tmp_path: Path) -> Iterator[socket.socket]:
    tcp = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(tcp.getsockname())
    accepted, _ = tcp.accept()
    client.settimeout(WITHIN)
    thread = threading.Thread(target=serve, args=(accepted, upstream.address, b"b2", tmp_path), daemon=True)
    thread.start()
    yield client
    client.close()
    thread.join(WITHIN)
    assert not thread.is_alive()
    tcp.close()


def put(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"PUT {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "request_",
    [
        put("/b2/key", b"the end"),
        put("/r2/key", b"the end", "If-None-Match: *"),
        put("/b2-other/key", b"the end", "If-Match: 1"),
        b"GET /b2/key HTTP/1.1\r\nIf-None-Match: 1\r\nX: the end\r\n\r\n" + put("/b2/key", b"the end"),
        put("/b2/large", bytes(1_000_000) + b"the end") + put("/b2/small", b"the end"),
        b"PUT /b2/key HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nthe end",
    ],
)
def test_requests_are_passed_on_as_they_are(client: socket.socket, upstream: Upstream, request_: bytes) -> None:
    client.sendall(request_)
    assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    client.shutdown(socket.SHUT_WR)
    while client.recv(100):
        pass
    assert upstream.received == request_


@pytest.mark.parametrize("header", ["If-None-Match: *", "if-match: 1", "IF-NONE-MATCH:*"])
@pytest.mark.parametrize("path", ["/b2/key", "/b2/a/b?partNumber=1"])
def test_a_conditional_write_to_the_bucket_is_refused(
    client: socket.socket, upstream: Upstream, header: str, path: str
) -> None:
    first = put("/b2/key", b"the end")
    client.sendall(first)
    assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    client.sendall(put(path, bytes(500_000), header))
    client.shutdown(socket.SHUT_WR)
    answer = b""
    while received := client.recv(1000):
        answer += received
    assert answer.startswith(b"HTTP/1.1 501 Not Implemented\r\n")
    assert b"<Code>NotImplemented</Code>" in answer
    assert upstream.received == first


def test_what_is_no_http_request_ends_the_connection(client: socket.socket, upstream: Upstream) -> None:
    client.sendall(b"nonsense\r\n\r\n")
    assert client.recv(100) == b""
    assert upstream.received == b""


def test_a_head_without_end_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=ours.sendall, args=(b"x" * 200_000,), daemon=True)
        sender.start()
        with pytest.raises(ValueError, match="has no end"):
            Incoming(theirs).head()
