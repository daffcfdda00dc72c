"""A proxy that keeps what it is asked for, and refuses it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

WITHIN = 5.0  # seconds for a client to send its request
REFUSED = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
EXCEPTIONS = ("NO_PROXY", "no_proxy")


class RecordingProxy:
    """Serves on a free port of 127.0.0.1 for as long as the block runs."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that name it to every program."""
        return dict.fromkeys(NAMES, self.url)

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with client, suppress(OSError):
                    client.settimeout(WITHIN)
                    self.requests.append(client.recv(2000).split(b"\r\n")[0].decode(errors="replace"))
                    client.sendall(REFUSED)
