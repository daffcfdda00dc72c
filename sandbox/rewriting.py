"""Asking a program outside what to make of a request, or of the answer to it.

The program is a small HTTP server on this machine. Before the handler (`instead`) it receives

    {"request": {"method", "path", "query", "headers", "caller", "body"}}

and answers 204 (go on), or 200 with {"answer": {…}} (send this, call no handler) or {"request": {…}} (give this to the
handler). After the handler (`rewrite`) it receives {"request": {…}, "answer": {"status", "headers", "body"}}, and
answers 204 (send it as it is) or 200 with {"answer": {…}}. An answer that is null closes the connection.

Bodies are JSON values; what is not JSON, or is a JSON string, is a string: the text as it was sent. Credentials are not
shown. Answers that are neither JSON nor text, and streams of events, are passed on as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import httpx2
from starlette.types import Message, Receive, Scope, Send

from sandbox.loopback import NO_TLS

DECIDED_WITHIN = 30.0  # seconds that the program may take; then the cloud goes on as if it had not been asked
_SECRET_HEADERS = {"authorization", "cookie", "set-cookie", "x-sandbox-admin"}
_SECRET_PARAMETERS = {"api_key", "token", "access_token"}
_NOT_REWRITTEN = "text/event-stream"

_log = logging.getLogger(__name__)


class Exchange:
    """One request and its answer, held back until those who are asked have decided.

    Its `scope`, `receive` and `send` are to be used from then on.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, caller: str | None) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._caller = caller
        self._body: bytes | None = None  # of the request, when it was read
        self._body_given = False
        self._rewriters: list[str] = []
        self._start: Message | None = None
        self._answer = b""
        self._passes = False

    async def is_answered_by(self, url: str) -> bool:
        """Asks before the handler is called. Sends the answer, if there is one; or changes the request."""
        said = await _ask(url, {"request": await self._request()})
        if said is None:
            return False
        if "answer" in said:
            await self._send_answer(said["answer"])
            return True
        self._become(said["request"])
        return False

    def will_be_rewritten(self, url: str) -> None:
        self._rewriters.append(url)

    async def receive(self) -> Message:
        """What the handler receives: the body once more, when it was read already, or another one."""
        if self._body is None:
            await self._read()
        if self._body_given:
            return await self._receive()  # for those who wait for the client to leave
        self._body_given = True
        return {"type": "http.request", "body": self._body or b"", "more_body": False}

    async def send(self, message: Message) -> None:
        """What the handler sends to. The answer is kept until it is whole, if somebody wants to see it."""
        if message["type"] == "http.response.start":
            kind = _headers(message["headers"]).get("content-type", "")
            readable = "json" in kind or kind.startswith("text/") or not kind
            self._passes = not self._rewriters or not readable or kind.startswith(_NOT_REWRITTEN)
            self._start = message
        if self._passes or self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._answer += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_rewritten(self._start)

    async def _send_rewritten(self, start: Message) -> None:
        answer: dict[str, Any] | None = {
            "status": start["status"],
            "headers": _shown(_headers(start["headers"])),
            "body": _value(self._answer),
        }
        changed = False
        for url in self._rewriters:
            said = await _ask(url, {"request": await self._request(), "answer": answer})
            if said is not None:
                answer, changed = said["answer"], True
            if answer is None:
                break
        if changed:
            kept = {name: value for name, value in _headers(start["headers"]).items() if name in _SECRET_HEADERS}
            await self._send_answer(answer, kept)
        else:
            await self._send(start)
            await self._send({"type": "http.response.body", "body": self._answer})

    async def _send_answer(self, answer: Mapping[str, Any] | None, headers: Mapping[str, str] | None = None) -> None:
        if answer is None:
            await reset(self._receive)
            return
        await send_whole(
            self._send, answer.get("status", 200), {**answer.get("headers", {}), **(headers or {})}, answer.get("body")
        )

    async def _request(self) -> dict[str, Any]:
        if self._body is None:
            await self._read()
        query = dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        return {
            "method": self.scope["method"],
            "path": self.scope["path"],
            "query": {name: value for name, value in query.items() if name not in _SECRET_PARAMETERS},
            "headers": _shown(_headers(self.scope["headers"])),
            "caller": self._caller,
            "body": _value(self._body or b""),
        }

    async def _read(self) -> None:
        body, more = b"", True
        while more:
            message = await self._receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self._body = body

    def _become(self, request: Mapping[str, Any]) -> None:
        """Lets the handler see another method, path, query and body; credentials stay those of the caller."""
        secret = [
            (name, value)
            for name, value in parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
            if name in _SECRET_PARAMETERS
        ]
        self._body = _bytes(request.get("body"))
        headers = [(name, value) for name, value in self.scope["headers"] if name != b"content-length"]
        if self._body and not any(name == b"content-type" for name, _ in headers):
            headers.append((b"content-type", b"application/json"))
        self.scope.update(
            method=request["method"],
            path=request["path"],
            raw_path=quote(request["path"]).encode(),
            query_string=urlencode([*request["query"].items(), *secret]).encode(),
            headers=[*headers, (b"content-length", str(len(self._body)).encode())],
        )


async def send_whole(send: Send, status: int, headers: Mapping[str, str], body: Any) -> None:
    """Sends an answer at once. A string is sent as it is, nothing as nothing, everything else as JSON."""
    headers = {name.lower(): value for name, value in headers.items()}
    content = _bytes(body)
    if body is not None:
        kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
        headers.setdefault("content-type", kind)
    if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        headers["content-length"] = str(len(content))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


async def _ask(url: str, question: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the program says; None when it has nothing to say, or is gone: it cannot stop the cloud."""
    try:
        async with httpx2.AsyncClient(timeout=DECIDED_WITHIN, trust_env=False, verify=NO_TLS) as client:
            said = await client.post(url, json=question)
            said.raise_for_status()
    except httpx2.HTTPError as error:
        _log.warning("%s did not say what to do: %r", url, error)
        return None
    if said.status_code == HTTPStatus.NO_CONTENT:
        return None
    return said.json()  # type: ignore[no-any-return]  # an object, as agreed


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}


def _value(body: bytes) -> Any:
    """JSON as what it means; a JSON string, and everything else, as the text that it is; nothing as None."""
    if not body:
        return None
    try:
        value = json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
    return body.decode() if isinstance(value, str) else value


def _bytes(body: Any) -> bytes:
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


async def reset(receive: Receive) -> None:
    """Closes the connection without an answer.

    ASGI has no message for this: the transport is taken from the server's request, whose method `receive` is.
    """
    transport = receive.__self__.transport  # type: ignore[attr-defined]  # uvicorn's, see above
    transport.abort()
    while (await receive())["type"] != "http.disconnect":  # the server must have noticed, or it would answer 500
        pass
