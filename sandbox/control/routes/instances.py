"""Machines: offers, renting, listing, destroying, commands."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from sandbox.control.instances import USER_REQUEST, NewInstance
from sandbox.control.offers import OfferQuery, search
from sandbox.control.services import Services


class Command(BaseModel):
    command: str


def public(services: Services) -> APIRouter:
    """What needs no login."""
    routes = APIRouter(prefix="/instances", tags=["instances"])

    @routes.get("/offers")
    async def offers(query: Annotated[OfferQuery, Query()]) -> dict[str, Any]:
        found = await search(services.market, query)
        return {"offers": found, "count": len(found)}

    return routes


def router(services: Services) -> APIRouter:
    instances = services.instances
    routes = APIRouter(tags=["instances"], dependencies=[Depends(services.accounts.user)])

    @routes.get("/balance")
    @routes.get("/instances/balance")
    async def balance() -> dict[str, Any]:
        return await instances.balance()

    @routes.post("/instances", status_code=201)
    async def create(wish: NewInstance) -> dict[str, Any]:
        return await instances.create(wish)

    @routes.get("/instances")
    async def listing(status: str | None = None) -> dict[str, Any]:
        rows = await instances.listing(status)
        return {"instances": rows, "count": len(rows)}

    @routes.get("/instances/{instance_id}")
    async def get(instance_id: int) -> dict[str, Any]:
        return await instances.get(instance_id)

    @routes.delete("/instances/{instance_id}")
    async def delete(instance_id: int, destroy_standby: bool = True, reason: str = USER_REQUEST) -> dict[str, Any]:
        await instances.delete(instance_id, destroy_standby=destroy_standby, reason=reason)
        return {"success": True, "message": f"Instance {instance_id} destroyed"}

    @routes.post("/instances/{instance_id}/pause")
    async def pause(instance_id: int) -> dict[str, Any]:
        await instances.set_state(instance_id, "stopped")
        return {"success": True, "message": f"Instance {instance_id} is being paused"}

    @routes.post("/instances/{instance_id}/resume")
    async def resume(instance_id: int) -> dict[str, Any]:
        await instances.set_state(instance_id, "running")
        return {"success": True, "message": f"Instance {instance_id} is being resumed"}

    @routes.post("/instances/{instance_id}/exec")
    async def execute(instance_id: int, body: Command) -> dict[str, Any]:
        finished = await instances.execute(instance_id, body.command)
        return {
            "exit_code": finished.code,
            "stdout": finished.stdout.decode(errors="replace"),
            "stderr": finished.stderr.decode(errors="replace"),
        }

    return routes
