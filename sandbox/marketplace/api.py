"""The market's HTTP API, as its own command line and Dumont Cloud use it."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import disk_answers
from sandbox.admin import PREFIX, admin_only
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.marketplace.accounts import InvalidKey
from sandbox.marketplace.filters import QueryError, check_columns, matches, parse_order
from sandbox.marketplace.instances import Instance
from sandbox.marketplace.limits import RateLimiter
from sandbox.marketplace.market import Market, Order, Refused
from sandbox.marketplace.paging import page
from sandbox.marketplace.search import Search
from sandbox.state import CloudConfig, Secrets

PAGE = 25  # rows of instances at most on a page
CHARGES_PAGE = 100

Json = dict[str, Any]


class RentBody(BaseModel):
    """The order for a machine. What the market's clients send besides is accepted and has no meaning here."""

    label: str | None = None
    image: str | None = None
    disk: float = 10.0
    runtype: str | None = None
    onstart: str | None = None
    env: dict[str, str] | None = None
    extra_env: list[tuple[str, str]] | dict[str, str] | None = None
    price: float | None = None
    volume_id: int | None = Field(default=None, description="a volume, which becomes the workspace")

    def order(self) -> Order:
        env = list((self.env or {}).items())
        extra = self.extra_env or []
        env += list(extra.items()) if isinstance(extra, Mapping) else extra
        return Order(
            label=self.label,
            image=self.image,
            disk=self.disk,
            runtype=self.runtype or "ssh",
            onstart=self.onstart or "",
            env=env,
            price=self.price,
            volume_id=self.volume_id,
        )


class BulkRentBody(RentBody):
    ids: list[int]


class ChangeBody(BaseModel):
    """A change of one machine: its label, or its state in either of the two dialects."""

    label: str | None = None
    state: str | None = None
    paused: bool | None = None


class BulkChangeBody(BaseModel):
    ids: list[int]
    state: str


class BulkDestroyBody(BaseModel):
    instance_ids: list[int]


class VolumeBody(BaseModel):
    """A volume. Size in GB, region a country code."""

    name: str = Field(min_length=1, max_length=64)
    size: float = Field(gt=0, le=10_000)
    region: str = Field(pattern="^[A-Z]{2}$")


class SshKeyBody(BaseModel):
    ssh_key: str


class BalanceBody(BaseModel):
    balance: float = Field(description="USD")


def create_app(config: CloudConfig, secret: Secrets, market: Market, faults: Faults, events: Events) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await market.open()
        yield
        await market.close()

    app = FastAPI(title="GPU market", docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False)
    doorman = Doorman(secret, RateLimiter(market.profile.requests_per_second, market.profile.burst))
    app.include_router(_public_routes(market), prefix="/api/v0", dependencies=[Depends(doorman.anybody)])
    app.include_router(_account_routes(market), prefix="/api", dependencies=[Depends(doorman.account)])
    app.include_router(_volume_routes(market), prefix="/api/v0", dependencies=[Depends(doorman.account)])
    app.include_router(_contract_routes(market), prefix="/api/v0", dependencies=[Depends(doorman.account)])
    app.include_router(_instance_routes(market), prefix="/api/v0", dependencies=[Depends(doorman.account_or_404)])
    app.include_router(_sandbox_routes(market), prefix=PREFIX, dependencies=[Depends(admin_only(secret.admin_token))])

    @app.get("/health")
    async def health(response: Response) -> Json:
        response.headers["X-Sandbox-Id"] = config.cloud_id
        return {"status": "healthy", "service": "marketplace"}

    _explain_errors(app, market)
    app.add_middleware(_OptionalSlash)
    events.install(app)
    faults.install(app)
    return app


class RateLimited(Exception):
    """Too many requests to one endpoint."""


class Doorman:
    """Knows the account's keys and counts requests."""

    def __init__(self, secret: Secrets, limiter: RateLimiter) -> None:
        self._keys = (secret.vast_api_key, secret.dumont_vast_api_key)
        self._limiter = limiter

    async def anybody(self, request: Request) -> None:
        """Lets in who sends no key at all, too. A wrong one is refused."""
        key = _key(request)
        if key:
            self._check(key, 401)
        self._count(request, key)

    async def account(self, request: Request) -> None:
        key = _key(request)
        self._check(key, 401)
        self._count(request, key)

    async def account_or_404(self, request: Request) -> None:
        """To a stranger, a machine of the account does not exist: the live market answers so."""
        key = _key(request)
        self._check(key, 404)
        self._count(request, key)

    def _check(self, key: str, status: int) -> None:
        if not any(secrets.compare_digest(key.encode(), known.encode()) for known in self._keys):
            error = "auth_error" if status == 401 else "not_found"
            raise Refused(status, error, "Invalid user key." if key else "This needs a user key.")

    def _count(self, request: Request, key: str) -> None:
        if not self._limiter.admits(key, f"{request.method} {request.scope['route'].path}"):
            raise RateLimited


def _key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme == "Bearer" else request.query_params.get("api_key", "")


def _public_routes(market: Market) -> APIRouter:
    router = APIRouter()

    @router.get("/bundles")
    async def search_by_url(request: Request) -> Json:
        return {"success": True, "offers": market.search(Search.from_parameters(request.query_params))}

    @router.post("/bundles")
    async def search_by_body(query: Annotated[Json, Body()]) -> Json:
        return {"success": True, "offers": market.search(Search.from_query(query))}

    @router.put("/search/asks")
    async def search_asks(query: Annotated[Json, Body(embed=True, alias="q")]) -> Json:
        return {"success": True, "offers": market.search(Search.from_query(query))}

    @router.get("/gpu_names/unique")
    async def gpu_names() -> Json:
        return {"success": True, "gpu_names": market.gpu_names()}

    return router


def _account_routes(market: Market) -> APIRouter:
    router = APIRouter()

    @router.get("/v0/users/current")
    async def current_user() -> Json:
        return {
            "id": 1,
            "username": "me",
            "email": "me@market.example",
            "credit": 0.0,
            "balance": market.bill.balance,
            "balance_threshold": 0.1,
            "balance_threshold_enabled": False,
        }

    @router.get("/v0/charges")
    async def charges(
        select_filters: str = "{}", latest_first: str = "false", limit: int = 20, after_token: str | None = None
    ) -> Json:
        rows = [row for row in market.bill.rows() if _was_charged(row, _json(select_filters, dict))]
        order = [("number", latest_first.lower() == "true")]
        found = page(rows, order, min(max(limit, 1), CHARGES_PAGE), after_token)
        return {
            "success": True,
            "results": found.rows,
            "count": len(found.rows),
            "total": found.total,
            "next_token": found.next_token,
        }

    @router.get("/v0/instances")
    async def retired_listing() -> Response:
        message = "GET /api/v0/instances/ is retired. Use GET /api/v1/instances/, which pages."
        return JSONResponse({"success": False, "error": "deprecated_endpoint", "msg": message}, 410)

    @router.get("/v1/instances")
    async def instances(
        select_filters: str = "{}",
        select_cols: str | None = None,
        order_by: str = "[]",
        limit: int = PAGE,
        after_token: str | None = None,
    ) -> Json:
        rows = market.instances()
        conditions = _json(select_filters, dict)
        order = [*parse_order(_json(order_by, list)), ("id", False)]
        if rows:
            check_columns(conditions, rows[0])
            check_columns(dict(order), rows[0])
        fitting = [row for row in rows if matches(row, conditions)]
        found = page(fitting, order, min(max(limit, 1), PAGE), after_token)
        columns = _json(select_cols, list) if select_cols else ["*"]
        labels = [row["label"] or "" for row in fitting]
        return {
            "success": True,
            "instances": [_only(row, columns) for row in found.rows],
            "next_token": found.next_token,
            "total_instances": found.total,
            "label_counts": {label: labels.count(label) for label in labels},
        }

    @router.get("/v0/ssh")
    async def ssh_keys() -> list[Json]:
        return [key.row() for key in market.keys.all()]

    @router.post("/v0/ssh")
    async def register_ssh_key(body: SshKeyBody) -> Json:
        return {"success": True, "key": market.keys.register(body.ssh_key).row()}

    @router.delete("/v0/ssh/{key_id}")
    async def remove_ssh_key(key_id: int) -> Json:
        if not market.keys.remove(key_id):
            raise Refused(404, "no_such_key", f"SSH key {key_id} not found.")
        return {"success": True}

    return router


def _volume_routes(market: Market) -> APIRouter:
    router = APIRouter()

    @router.get("/volumes")
    async def volumes() -> Json:
        return {"success": True, "volumes": market.volume_rows()}

    @router.post("/volumes")
    async def create_volume(body: VolumeBody) -> Json:
        volume = market.volumes.create(body.name, body.size, body.region)
        return {"success": True, **volume.row(None)}

    @router.delete("/volumes/{volume_id}")
    async def delete_volume(volume_id: int) -> Json:
        await market.delete_volume(volume_id)
        return {"success": True}

    return router


def _contract_routes(market: Market) -> APIRouter:
    router = APIRouter()

    def sold(instance: Instance) -> Json:
        return {"success": True, "new_contract": instance.id}

    @router.put("/asks/{offer_id}")
    async def rent(offer_id: int, body: RentBody) -> Json:
        return sold(await market.rent(offer_id, body.order()))

    @router.post("/asks/bulk")
    async def rent_several(body: BulkRentBody) -> Json:
        return await _each(body.ids, lambda offer_id: rent(offer_id, body))

    @router.put("/instances")
    async def change_several(body: BulkChangeBody) -> Json:
        return await _each(body.ids, lambda instance_id: _set_state(market, instance_id, body.state))

    @router.delete("/instances")
    async def destroy_several(body: BulkDestroyBody) -> Json:
        return await _each(body.instance_ids, market.destroy)

    @router.get("/instances/filters")
    async def filters() -> Json:
        columns = ("actual_status", "label", "gpu_name", "verification")
        rows = market.instances()
        combinations = {tuple(row[column] for column in columns) for row in rows}
        return {"success": True, "filters": [dict(zip(columns, one, strict=True)) for one in combinations]}

    return router


def _instance_routes(market: Market) -> APIRouter:
    router = APIRouter(prefix="/instances")

    @router.get("/{instance_id}")
    async def show(instance_id: int) -> Json:
        return {"success": True, "instances": market.instance(instance_id)}

    @router.put("/{instance_id}")
    async def change(instance_id: int, body: ChangeBody) -> Json:
        if "label" in body.model_fields_set:
            market.label(instance_id, body.label)
        state = body.state
        if body.paused is not None:
            state = "stopped" if body.paused else "running"
        if state is not None:
            await _set_state(market, instance_id, state)
        elif "label" not in body.model_fields_set:
            raise Refused(400, "invalid_args", "Nothing to change: give label, state or paused.")
        return {"success": True}

    @router.put("/reboot/{instance_id}")
    async def reboot(instance_id: int) -> Json:
        await market.reboot(instance_id)
        return {"success": True}

    @router.delete("/{instance_id}")
    async def destroy(instance_id: int) -> Json:
        await market.destroy(instance_id)
        return {"success": True}

    @router.post("/{instance_id}/ssh")
    async def attach_ssh_key(instance_id: int, body: SshKeyBody) -> Json:
        market.attach_key(instance_id, body.ssh_key)
        return {"success": True}

    return router


def _sandbox_routes(market: Market) -> APIRouter:
    """What a person may do to the market from outside."""
    router = APIRouter(include_in_schema=False)

    @router.put("/account")
    async def set_balance(body: BalanceBody) -> Json:
        market.bill.balance = body.balance
        return {"balance": market.bill.balance}

    @router.post("/instances/{instance_id}/preempt")
    async def preempt(instance_id: int) -> Json:
        await market.preempt(instance_id)
        return {"success": True}

    return router


async def _set_state(market: Market, instance_id: int, state: str) -> None:
    match state:
        case "running":
            await market.start(instance_id)
        case "stopped":
            await market.stop(instance_id)
        case _:
            raise Refused(400, "invalid_args", f"state must be running or stopped, not {state!r}.")


async def _each(ids: list[int], act: Callable[[int], Awaitable[Any]]) -> Json:
    """Does one thing for each id. One that is refused stops none of the others."""
    results = []
    for one in ids:
        try:
            answer = await act(one)
        except Refused as refusal:
            results.append({"id": one, "success": False, "error": refusal.error, "msg": refusal.message})
        else:
            results.append({"id": one, "success": True, **(answer or {})})
    return {"success": all(result["success"] for result in results), "results": results}


def _was_charged(row: Json, filters: Json) -> bool:
    """A charge fits a range of days when it was growing in it. `instance` means all that a machine costs."""
    conditions = dict(filters)
    days = conditions.pop("day", {})
    until = row["end"] or float("inf")
    if int(row["start"]) > float(days.get("lte", "inf")) or until < float(days.get("gte", 0)):
        return False
    kinds = conditions.get("type")
    if isinstance(kinds, Mapping) and "instance" in kinds.get("in", []):
        del conditions["type"]
    check_columns(conditions, row)
    return matches(row, conditions)


def _only(row: Mapping[str, Any], columns: list[str]) -> Mapping[str, Any]:
    return row if "*" in columns else {column: row.get(column) for column in columns}


def _json(text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise QueryError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, kind):
        raise QueryError(f"{text!r} is not a JSON {'object' if kind is dict else 'array'}")
    return value


def _explain_errors(app: FastAPI, market: Market) -> None:
    """Every refusal is JSON with a sentence under `msg`, which is what the market's command line prints."""

    def said(status: int, error: str, message: object, **more: object) -> Response:
        return JSONResponse({"success": False, "error": error, "msg": message, **more}, status)

    disk_answers.install(
        app, market.state_dir, lambda words: said(disk_answers.INSUFFICIENT_STORAGE, "disk_full", words)
    )

    @app.exception_handler(Refused)
    async def refused(_: Request, refusal: Refused) -> Response:
        return said(refusal.status, refusal.error, refusal.message)

    @app.exception_handler(QueryError)
    @app.exception_handler(InvalidKey)
    async def invalid(_: Request, error: ValueError) -> Response:
        return said(400, "invalid_args", str(error))

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> Response:
        faults = (f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        return said(400, "invalid_args", "; ".join(faults))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return said(error.status_code, "http_error", error.detail, detail=error.detail)

    @app.exception_handler(RateLimited)
    async def too_fast(request: Request, _: RateLimited) -> Response:
        return PlainTextResponse(f"API requests too frequent: endpoint {request.url.path}\n", 429)


class _OptionalSlash:
    """Clients write paths with a trailing slash or without one, and mean the same."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/":
            scope = {**scope, "path": scope["path"].rstrip("/")}
        await self._app(scope, receive, send)
