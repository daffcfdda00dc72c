"""The warm pool: second GPU machines that are kept in step."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from sandbox.control.failover_settings import MachineSettings
from sandbox.control.services import Services


def router(services: Services) -> APIRouter:
    pool, settings = services.warm_pool, services.failovers.settings
    routes = APIRouter(prefix="/warmpool", tags=["failover"], dependencies=[Depends(services.accounts.user)])

    def shown(instance_id: int) -> dict[str, Any]:
        warm = pool.get(instance_id)
        strategy = settings.strategy(instance_id)
        known: dict[str, Any] = warm.public() if warm else {"state": "disabled"}
        return {"machine_id": instance_id, "effective_strategy": strategy, **known}

    @routes.get("/status/{instance_id}")
    async def status(instance_id: int) -> dict[str, Any]:
        return shown(instance_id)

    @routes.post("/enable/{instance_id}", status_code=202)
    async def enable(instance_id: int) -> dict[str, Any]:
        """Makes the warm pool the strategy of a machine; its second machine is rented in the background."""
        await services.instances.tracked(instance_id)
        settings.set_of(instance_id, MachineSettings(use_global_settings=False, strategy="warm_pool"))
        return {"success": True, "message": f"Instance {instance_id} is getting a warm machine", **shown(instance_id)}

    @routes.post("/disable/{instance_id}")
    async def disable(instance_id: int) -> dict[str, Any]:
        """Destroys the second machine and returns when it is gone. The machine follows the global settings then."""
        settings.forget(instance_id)
        await pool.end(instance_id)
        return {"success": True, "message": f"Instance {instance_id} has no warm machine", **shown(instance_id)}

    @routes.delete("/cleanup/{instance_id}")
    async def clean_up(instance_id: int) -> dict[str, Any]:
        return await disable(instance_id)

    @routes.post("/failover/test/{instance_id}")
    async def test(instance_id: int) -> dict[str, Any]:
        """Ends the machine for real; answers when its warm machine has taken over, or when that came to nothing."""
        told = {"success": False, "recovery_time_seconds": None, "new_primary_gpu_id": None}
        if (reason := pool.why_not(instance_id)) is not None:
            return told | {"message": f"Cannot test the failover: {reason}"}
        failover = await services.failovers.order(instance_id, "failover_test", strategy="warm_pool")
        await services.failovers.until_over(failover)
        source, seconds = failover.data_source, round(failover.total_ms / 1000, 3)
        if not failover.success:
            return told | {"message": f"Failover {failover.failover_id} failed: {failover.error}"}
        return {
            "success": source == "warm_pool",
            "message": f"Instance {failover.new_instance_id} has taken over; its workspace came from {source}",
            "recovery_time_seconds": seconds,
            "new_primary_gpu_id": failover.new_instance_id,
        }

    return routes
