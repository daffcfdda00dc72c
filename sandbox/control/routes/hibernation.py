"""Hibernating machines and waking them."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends

from sandbox.control.fleet import ConfigChange
from sandbox.control.services import Services
from sandbox.control.wake import Wish


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["hibernation"], dependencies=[Depends(services.accounts.user)])

    @routes.get("/instances/{instance_id}/config")
    async def get_config(instance_id: int) -> dict[str, Any]:
        return (await services.instances.tracked(instance_id)).config.public()

    @routes.put("/instances/{instance_id}/config")
    async def put_config(instance_id: int, change: ConfigChange) -> dict[str, Any]:
        machine = await services.instances.tracked(instance_id)
        machine.config = change.applied_to(machine.config)
        services.fleet.save(machine)
        return {"success": True, "config": machine.config.public()}

    @routes.post("/instances/{instance_id}/hibernate")
    async def hibernate(instance_id: int) -> dict[str, Any]:
        begun = time.monotonic()
        machine = await services.hibernations.hibernate(instance_id)
        return {
            "success": True,
            "instance_id": instance_id,
            "status": machine.status,
            "snapshot_id": machine.snapshot_id,
            "time_taken": round(time.monotonic() - begun, 3),
            "message": f"Instance {instance_id} hibernated in snapshot {machine.snapshot_id}",
        }

    @routes.post("/instances/{instance_id}/wake")
    async def wake(instance_id: int, wish: Wish | None = None) -> dict[str, Any]:
        woken = await services.wakes.wake(instance_id, wish or Wish())
        return {
            "success": True,
            **asdict(woken),
            "message": f"Instance {instance_id} woken as instance {woken.new_instance_id}",
        }

    return routes
