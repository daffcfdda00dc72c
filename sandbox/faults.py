"""Faults: named troubles that a person puts on a running cloud, and takes away again, over HTTP.

    POST   /_sandbox/faults          {"name": "storm", "kind": "answer", "match": "^POST ", "status": 429, "times": 3}
    GET    /_sandbox/faults          the faults that are on
    DELETE /_sandbox/faults[/name]   takes one away, or all

The HTTP kinds act in a middleware, so the code behind it knows nothing of them. Two of them leave the decision to a
program outside, at a loopback url (see sandbox/rewriting.py): what it answers is believed. A request that carries the
admin token in `X-Sandbox-Admin` meets no fault at all: so that who breaks the cloud can still see how it really is.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator, model_validator
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.admin import PREFIX, admin_only
from sandbox.loopback import on_this_machine
from sandbox.rewriting import Exchange, reset, send_whole

ADMIN_HEADER = b"x-sandbox-admin"

MachineTrouble = Literal["boot_hangs", "ssh_refused", "no_restic", "small_disk"]


class Fault(BaseModel):
    """One trouble.

    answer   the handler is not called: `status`, `body` (JSON; a string is sent as it is) and `headers` are the answer
    delay    waits `seconds`, then the request goes on (to the next fault that matches, or to its handler)
    reset    closes the connection without an answer
    instead  `url` is asked before the handler: its answer is sent, or the handler gets another request, or goes on
    rewrite  `url` is asked after the handler: its answer is sent instead of the handler's
    machine  machines that boot from now on have the trouble named in `machine`
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[\w.-]+$")
    kind: Literal["answer", "delay", "reset", "instead", "rewrite", "machine"]
    match: str = Field("", description="regular expression, searched in `METHOD /path`; matches everything when empty")
    status: int = Field(500, ge=200, le=599)
    body: Any = None
    headers: dict[str, str] = {}
    seconds: float = Field(0, ge=0)
    url: HttpUrl | None = Field(None, description="instead, rewrite: who is asked, on this machine")
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

    @field_validator("url")
    @classmethod
    def _stays_on_this_machine(cls, url: HttpUrl | None) -> HttpUrl | None:
        return on_this_machine(url) if url else None

    @model_validator(mode="after")
    def _says_whom_to_ask(self) -> Fault:
        if (self.kind in ("instead", "rewrite")) != (self.url is not None):
            raise ValueError("`url` belongs to the kinds instead and rewrite: give both or neither")
        return self

    @model_validator(mode="after")
    def _says_which_machine_trouble(self) -> Fault:
        if (self.kind == "machine") != (self.machine is not None):
            raise ValueError("`machine` belongs to kind machine: give both or neither")
        return self


class Faults:
    """The faults of one part of the cloud. They live as long as its process."""

    def __init__(self, admin_token: str, callers: Mapping[str, str] | None = None) -> None:
        """`callers` names who sends which key, for programs that are asked about requests: they never see a key."""
        self._admin_token = admin_token
        self._callers = dict(callers or {})
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

    def spares(self, scope: Scope) -> bool:
        """Whether a request goes past every fault."""
        given = dict(scope["headers"]).get(ADMIN_HEADER, b"")
        return secrets.compare_digest(given, self._admin_token.encode())

    def caller(self, scope: Scope) -> str | None:
        """Who sends a request, by the key that it carries; None for strangers."""
        scheme, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        return self._callers.get(key.decode("latin-1")) if scheme == b"Bearer" else None

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
        faults = self._of(scope)
        if not faults:
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._faults.caller(scope))
        if any(fault.url for fault in faults):
            scope, send = exchange.scope, exchange.send
        for fault in faults:
            self._faults.use(fault)
            if fault.kind == "delay":
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "reset":
                await reset(receive)
                return
            elif fault.kind == "rewrite":
                exchange.will_be_rewritten(str(fault.url))
            elif fault.kind == "instead":
                if await exchange.is_answered_by(str(fault.url)):
                    return
            else:
                await send_whole(send, fault.status, fault.headers, fault.body)
                return
        await self._app(scope, exchange.receive, send)

    def _of(self, scope: Scope) -> list[Fault]:
        if scope["type"] != "http" or scope["path"].startswith(PREFIX) or not self._faults.on():
            return []
        return [] if self._faults.spares(scope) else self._faults.http(f"{scope['method']} {scope['path']}")
