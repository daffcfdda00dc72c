"""Faults: named troubles that a person puts on a running cloud, and takes away again, over HTTP.

    POST   /_sandbox/faults          {"name": "storm", "kind": "answer", "match": "^POST ", "status": 429, "times": 3}
    GET    /_sandbox/faults          the faults that are on
    DELETE /_sandbox/faults[/name]   takes one away, or all

The HTTP kinds act in a middleware, so the code behind it knows nothing of them.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.admin import PREFIX, admin_only

MachineTrouble = Literal["boot_hangs", "ssh_refused", "no_restic", "small_disk"]


class Fault(BaseModel):
    """One trouble.

    answer   the handler is not called: `status`, `body` (JSON; a string is sent as it is) and `headers` are the answer
    delay    waits `seconds`, then the request goes on (to the next fault that matches, or to its handler)
    reset    closes the connection without an answer
    machine  machines that boot from now on have the trouble named in `machine`
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[\w.-]+$")
    kind: Literal["answer", "delay", "reset", "machine"]
    match: str = Field("", description="regular expression, searched in `METHOD /path`; matches everything when empty")
    status: int = Field(500, ge=200, le=599)
    body: Any = None
    headers: dict[str, str] = {}
    seconds: float = Field(0, ge=0)
    times: int | None = Field(None, ge=1, description="uses that are left; the fault ends by itself after them")
    machine: MachineTrouble | None = None
    megabytes: int = Field(0, ge=0, description="small_disk: /workspace is a tmpfs of that size")

    @field_validator("match")
    @classmethod
    def _match_compiles(cls, match: str) -> str:
        try:
            re.compile(match)
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return match

    @model_validator(mode="after")
    def _says_which_machine_trouble(self) -> Fault:
        if (self.kind == "machine") != (self.machine is not None):
            raise ValueError("`machine` belongs to kind machine: give both or neither")
        return self


class Faults:
    """The faults of one part of the cloud. They live as long as its process."""

    def __init__(self, admin_token: str) -> None:
        self._admin_token = admin_token
        self._faults: dict[str, Fault] = {}

    def install(self, app: FastAPI) -> None:
        """Adds the middleware and the routes. To be called after every other `add_middleware`, to stand outermost."""
        app.add_middleware(_FaultMiddleware, faults=self)
        app.include_router(self._router())

    def machine(self, kind: MachineTrouble) -> Fault | None:
        """The fault with which a machine that boots now must be born, if there is one. Counts as one use of it."""
        return next((self.use(fault) for fault in self.on() if fault.machine == kind), None)

    def on(self) -> list[Fault]:
        return list(self._faults.values())

    def http(self, request: str) -> list[Fault]:
        """The faults that a request, `METHOD /path`, runs into, in the order in which they were put on."""
        return [fault for fault in self.on() if fault.kind != "machine" and re.search(fault.match, request)]

    def use(self, fault: Fault) -> Fault:
        if fault.times is not None:
            fault.times -= 1
            if fault.times == 0 and self._faults.get(fault.name) is fault:
                del self._faults[fault.name]
        return fault

    def _router(self) -> APIRouter:
        router = APIRouter(
            prefix=f"{PREFIX}/faults", dependencies=[Depends(admin_only(self._admin_token))], include_in_schema=False
        )

        @router.get("")
        async def get_faults() -> list[Fault]:
            return self.on()

        @router.post("", status_code=201)
        async def put_fault(fault: Fault) -> Fault:
            self._faults[fault.name] = fault
            return fault

        @router.delete("")
        async def delete_faults() -> list[Fault]:
            ended = self.on()
            self._faults.clear()
            return ended

        @router.delete("/{name}")
        async def delete_fault(name: str) -> Fault:
            if name not in self._faults:
                raise HTTPException(
                    404, f"There is no fault named {name}; on are: {', '.join(self._faults) or 'none'}."
                )
            return self._faults.pop(name)

        return router


class _FaultMiddleware:
    """Pure ASGI: a request that meets no fault is passed on untouched, at the price of one dictionary look-up."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(PREFIX):
            for fault in self._faults.http(f"{scope['method']} {scope['path']}"):
                self._faults.use(fault)
                if fault.kind == "delay":
                    await asyncio.sleep(fault.seconds)
                elif fault.kind == "reset":
                    await _reset(receive)
                    return
                else:
                    await _answer(fault, send)
                    return
        await self._app(scope, receive, send)


async def _answer(fault: Fault, send: Send) -> None:
    headers = {name.lower(): value for name, value in fault.headers.items()}
    if fault.body is None:
        body = b""
    elif isinstance(fault.body, str):
        body = fault.body.encode()
        headers.setdefault("content-type", "text/plain; charset=utf-8")
    else:
        body = json.dumps(fault.body).encode()
        headers.setdefault("content-type", "application/json")
    headers.setdefault("content-length", str(len(body)))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


async def _reset(receive: Receive) -> None:
    """ASGI has no message for this: the transport is taken from the server's request, whose method `receive` is."""
    transport: asyncio.Transport = receive.__self__.transport  # type: ignore[attr-defined]  # uvicorn's, see above
    transport.abort()
    while (await receive())["type"] != "http.disconnect":  # the server must have noticed, or it would answer 500
        pass
