"""The HTTP API of the network: that of Toxiproxy 2, behind the admin token of the cloud.

GET    /proxies                              all proxies, with their toxics
POST   /proxies                              {"name", "listen", "upstream", "enabled"}
POST   /populate                             several at once; those that are there are kept
GET, POST, PATCH, DELETE /proxies/{name}     {"enabled": false} refuses connections: "down"
GET, POST                /proxies/{name}/toxics          {"type", "stream", "toxicity", "attributes", "name"}
GET, POST, PATCH, DELETE /proxies/{name}/toxics/{toxic}
POST   /reset                                no toxics any more, every proxy enabled
GET    /version
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from sandbox.admin import admin_only
from sandbox.toxics.network import Network, ProxyChange, ProxyOrder, Refused, ToxicChange, ToxicOrder

VERSION = "2.12.0"  # of the API that this one speaks


def create_app(network: Network, admin_token: str, cloud_id: str) -> FastAPI:
    app = FastAPI(title="Network", openapi_url=None)

    @app.exception_handler(Refused)
    async def refused(_: Request, refusal: Refused) -> JSONResponse:
        return _error(refusal.status, str(refusal))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _error(400, f"bad request body: {'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")

    @app.get("/health")
    async def health(response: Response) -> dict[str, str]:
        response.headers["X-Sandbox-Id"] = cloud_id
        return {"status": "healthy", "service": "network"}

    @app.get("/version")
    async def version() -> dict[str, str]:
        return {"version": VERSION}

    app.include_router(_proxies(network, admin_token))
    app.include_router(_toxics(network, admin_token))
    return app


def _proxies(network: Network, admin_token: str) -> APIRouter:
    routes = APIRouter(dependencies=[Depends(admin_only(admin_token))])

    @routes.get("/proxies")
    async def listing() -> dict[str, Any]:
        return network.public()

    @routes.post("/proxies", status_code=201)
    async def create(order: ProxyOrder) -> dict[str, Any]:
        return (await network.create(order)).public()

    @routes.post("/populate", status_code=201)
    async def populate(orders: list[ProxyOrder]) -> dict[str, Any]:
        return {"proxies": [proxy.public() for proxy in await network.populate(orders)]}

    @routes.get("/proxies/{name}")
    async def get(name: str) -> dict[str, Any]:
        return network.proxy(name).public()

    @routes.post("/proxies/{name}")
    @routes.patch("/proxies/{name}")
    async def change(name: str, change: ProxyChange) -> dict[str, Any]:
        return (await network.change(name, change)).public()

    @routes.delete("/proxies/{name}", status_code=204)
    async def delete(name: str) -> None:
        await network.delete(name)

    @routes.post("/reset", status_code=204)
    async def reset() -> None:
        await network.reset()

    return routes


def _toxics(network: Network, admin_token: str) -> APIRouter:
    routes = APIRouter(prefix="/proxies/{name}/toxics", dependencies=[Depends(admin_only(admin_token))])

    @routes.get("")
    async def listing(name: str) -> list[dict[str, Any]]:
        return [toxic.public() for toxic in network.proxy(name).toxics]

    @routes.post("")
    async def add(name: str, order: ToxicOrder) -> dict[str, Any]:
        return network.add_toxic(name, order).public()

    @routes.get("/{toxic}")
    async def get(name: str, toxic: str) -> dict[str, Any]:
        return network.toxic(name, toxic).public()

    @routes.post("/{toxic}")
    @routes.patch("/{toxic}")
    async def change(name: str, toxic: str, change: ToxicChange) -> dict[str, Any]:
        return network.change_toxic(name, toxic, change).public()

    @routes.delete("/{toxic}", status_code=204)
    async def remove(name: str, toxic: str) -> None:
        network.remove_toxic(name, toxic)

    return routes


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message, "status": status}, status)
