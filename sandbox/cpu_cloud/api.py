"""The CPU cloud's HTTP API: the part of Google's Compute Engine that standbys need, in its words.

/gcp/compute/v1/projects/{project}/zones/{zone}/instances[/{name}[/start|/stop]]
/gcp/compute/v1/projects/{project}/zones/{zone}/operations/{operation}
/gcp/compute/v1/projects/{project}/aggregated/instances
/gcp/billing/v1/projects/{project}/charges        the bill, as the GPU market shows it: this cloud's own
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sandbox import disk_answers
from sandbox.admin import PREFIX, admin_only
from sandbox.cpu_cloud.cloud import CpuCloud, Refused
from sandbox.cpu_cloud.vm import FIRST_ID, Vm, VmOrder
from sandbox.state import CloudConfig, Secrets

MOUNTED_AT = "/gcp"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS"}

_OPERATION = re.compile(r"operation-(?P<deed>insert|delete|start|stop)-(?P<id>\d+)-(?P<machine>.+)")
_ENDS_IN = {"insert": "RUNNING", "start": "RUNNING", "stop": "TERMINATED", "delete": None}

Json = dict[str, Any]


@dataclass(frozen=True)
class _Gone:
    """A machine that is no longer listed."""

    id: int
    zone: str
    name: str


def install(app: FastAPI, config: CloudConfig, secret: Secrets, cloud: CpuCloud) -> None:
    """Lets the market's app serve the CPU cloud as well, for as long as that app lives."""
    app.mount(MOUNTED_AT, _create_app(config, secret, cloud))
    app.include_router(_sandbox_routes(cloud), prefix=PREFIX, dependencies=[Depends(admin_only(secret.admin_token))])
    markets = app.router.lifespan_context

    @asynccontextmanager
    async def both(served: FastAPI) -> AsyncIterator[None]:
        async with markets(served):
            await cloud.open()
            yield
            await cloud.close()

    app.router.lifespan_context = both


def _create_app(config: CloudConfig, secret: Secrets, cloud: CpuCloud) -> FastAPI:
    app = FastAPI(title="CPU cloud", docs_url=None, redoc_url=None, redirect_slashes=False)
    expected = f"Bearer {secret.gcp_access_token}".encode()

    def check_token(authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), expected):
            raise Refused(401, "required", "Request had invalid authentication credentials.")

    def check_project(project: str) -> None:
        if project != secret.gcp_project:
            raise Refused(404, "notFound", f"The resource 'projects/{project}' was not found")

    checks = [Depends(check_token), Depends(check_project)]
    base = f"{config.market_url}{MOUNTED_AT}/compute/v1"
    for routes in (_instance_routes(base, cloud), _listing_routes(base, cloud), _operation_routes(base, cloud)):
        app.include_router(routes, prefix="/compute/v1/projects/{project}", dependencies=checks)
    app.include_router(_billing_routes(cloud), prefix="/billing/v1/projects/{project}", dependencies=checks)
    _explain_errors(app, cloud)
    return app


def _operation(base: str, project: str, deed: str, vm: Vm | _Gone, *, done: bool = False) -> Json:
    link = f"{base}/projects/{project}/zones/{vm.zone}"
    return {
        "kind": "compute#operation",
        "id": str(vm.id),
        "name": f"operation-{deed}-{vm.id}-{vm.name}",
        "operationType": deed,
        "zone": link,
        "targetId": str(vm.id),
        "targetLink": f"{link}/instances/{vm.name}",
        "status": "DONE" if done else "RUNNING",
        "progress": 100 if done else 0,
    }


def _instance_routes(base: str, cloud: CpuCloud) -> APIRouter:
    router = APIRouter(prefix="/zones/{zone}/instances")

    @router.post("")
    async def insert(project: str, zone: str, order: VmOrder) -> Json:
        return _operation(base, project, "insert", cloud.insert(zone, order))

    @router.get("/{name}")
    async def get(project: str, zone: str, name: str) -> Json:
        return cloud.machine(zone, name).row(base, project)

    @router.delete("/{name}")
    async def delete(project: str, zone: str, name: str) -> Json:
        return _operation(base, project, "delete", cloud.delete(zone, name))

    @router.post("/{name}/start")
    async def start(project: str, zone: str, name: str) -> Json:
        return _operation(base, project, "start", await cloud.start(zone, name))

    @router.post("/{name}/stop")
    async def stop(project: str, zone: str, name: str) -> Json:
        return _operation(base, project, "stop", await cloud.stop(zone, name))

    return router


def _listing_routes(base: str, cloud: CpuCloud) -> APIRouter:
    router = APIRouter()

    @router.get("/aggregated/instances")
    async def aggregated(project: str) -> Json:
        items: dict[str, Json] = {}
        for vm in cloud.machines():
            scope = items.setdefault(f"zones/{vm.zone}", {"instances": []})
            scope["instances"].append(vm.row(base, project))
        return {"kind": "compute#instanceAggregatedList", "items": items}

    @router.get("/zones/{zone}/instances")
    async def listing(project: str, zone: str) -> Json:
        rows = [vm.row(base, project) for vm in cloud.machines() if vm.zone == zone]
        return {"kind": "compute#instanceList", "items": rows}

    return router


def _operation_routes(base: str, cloud: CpuCloud) -> APIRouter:
    router = APIRouter()

    @router.get("/zones/{zone}/operations/{operation}")
    async def get(project: str, zone: str, operation: str) -> Json:
        """An operation is done when its machine is as it asked for; its name says which."""
        named = _OPERATION.fullmatch(operation)
        if named is None or int(named["id"]) < FIRST_ID:
            raise Refused(404, "notFound", f"The resource '{operation}' was not found")
        gone = _Gone(int(named["id"]), zone, named["machine"])
        vm = next((vm for vm in cloud.machines() if vm.id == gone.id), None)
        wanted = _ENDS_IN[named["deed"]]
        done = vm is None or vm.status in (wanted, "TERMINATED")
        shown = _operation(base, project, named["deed"], vm or gone, done=done)
        if done and wanted == "RUNNING" and (vm is None or vm.status != wanted):
            message = vm.status_message if vm else "The instance was deleted."
            shown["error"] = {"errors": [{"code": "NOT_RUNNING", "message": message}]}
        return shown

    return router


def _billing_routes(cloud: CpuCloud) -> APIRouter:
    router = APIRouter()

    @router.get("/charges")
    async def charges() -> Json:
        rows = cloud.bill.rows()
        return {"charges": rows, "totalUsd": round(sum(row["amount"] for row in rows), 9)}

    return router


def _sandbox_routes(cloud: CpuCloud) -> APIRouter:
    """What a person may do to the CPU cloud from outside."""
    router = APIRouter(include_in_schema=False)

    @router.post("/cpu-instances/{name}/preempt")
    async def preempt(name: str) -> Json:
        try:
            vm = cloud.named(name)
        except Refused as refusal:
            raise HTTPException(refusal.status, refusal.message) from None
        await cloud.preempt(vm.zone, vm.name)
        return {"success": True}

    return router


def _explain_errors(app: FastAPI, cloud: CpuCloud) -> None:
    """Every refusal in Google's envelope."""

    def said(status: int, reason: str, message: str) -> JSONResponse:
        error = {"message": message, "domain": "global", "reason": reason}
        body = {"code": status, "message": message, "errors": [error], "status": _STATUS.get(status, "UNKNOWN")}
        return JSONResponse({"error": body}, status)

    disk_answers.install(app, cloud.state_dir, lambda words: said(disk_answers.INSUFFICIENT_STORAGE, "diskFull", words))

    @app.exception_handler(Refused)
    async def refused(_: Request, refusal: Refused) -> JSONResponse:
        return said(refusal.status, refusal.reason, refusal.message)

    @app.exception_handler(RequestValidationError)
    async def unreadable(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = (f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors())
        return said(400, "invalid", "; ".join(faults))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        return said(error.status_code, "httpError", str(error.detail))
