"""A token that is added beneath what the owner of a session can see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from pydantic import SecretStr

from rekindle.hiding import HidingAdapter

seen: list[str | None] = []


class _Recorder(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        seen.append(self.headers.get("Authorization"))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Recorder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_token_arrives_and_is_not_to_be_seen_on_this_side(address: str) -> None:
    seen.clear()
    with requests.Session() as session:
        session.mount(address, HidingAdapter(SecretStr("canary")))
        response = session.get(f"{address}/anything")
    assert seen == ["Bearer canary"]
    assert "Authorization" not in response.request.headers
    assert "canary" not in repr(vars(response))
