"""How machines are to fail over: all of them, and each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from sandbox.control.errors import ApiError
from sandbox.control.failover_settings import STRATEGIES, GlobalSettings, MachineSettings, Strategy
from sandbox.control.services import Services


def router(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/failover", tags=["failover"], dependencies=[Depends(services.accounts.user)])
    _of_all(routes, services)
    _of_machine(routes, services)
    _in_one_call(routes, services)
    return routes


def _of_all(routes: APIRouter, services: Services) -> None:
    settings = services.failovers.settings

    @routes.get("/strategies")
    async def strategies() -> list[dict[str, str]]:
        return list(STRATEGIES)

    @routes.get("/settings/global")
    async def get_global() -> dict[str, Any]:
        return settings.for_all.public()

    @routes.put("/settings/global")
    async def put_global(wish: GlobalSettings) -> dict[str, Any]:
        settings.set_for_all(wish)
        return settings.for_all.public()

    @routes.get("/settings/machines")
    async def machines() -> dict[str, Any]:
        known = {str(machine.instance_id): _shown(services, machine.instance_id) for machine in services.fleet}
        return {"machines": known, "count": len(known)}


def _of_machine(routes: APIRouter, services: Services) -> None:
    @routes.get("/settings/machines/{instance_id}")
    async def get_machine(instance_id: int) -> dict[str, Any]:
        return _shown(services, instance_id)

    @routes.put("/settings/machines/{instance_id}")
    async def put_machine(instance_id: int, wish: MachineSettings) -> dict[str, Any]:
        return await _set(services, instance_id, wish)

    @routes.delete("/settings/machines/{instance_id}")
    async def delete_machine(instance_id: int) -> dict[str, Any]:
        services.failovers.settings.forget(instance_id)
        return {"success": True, "message": f"Instance {instance_id} follows the global settings"}


def _in_one_call(routes: APIRouter, services: Services) -> None:
    """What a strategy needs is made in the background, if it is not there."""

    @routes.post("/settings/machines/{instance_id}/use-global")
    async def use_global(instance_id: int) -> dict[str, Any]:
        services.failovers.settings.forget(instance_id)
        return _shown(services, instance_id)

    @routes.post("/settings/machines/{instance_id}/enable-warm-pool")
    async def enable_warm_pool(instance_id: int) -> dict[str, Any]:
        return await chosen(instance_id, "warm_pool", standby=False)

    @routes.post("/settings/machines/{instance_id}/enable-cpu-standby")
    async def enable_cpu_standby(instance_id: int) -> dict[str, Any]:
        return await chosen(instance_id, "cpu_standby", standby=True)

    @routes.post("/settings/machines/{instance_id}/enable-both")
    async def enable_both(instance_id: int) -> dict[str, Any]:
        """A warm machine takes over, and the standby serves when that cannot."""
        return await chosen(instance_id, "warm_pool", standby=True)

    @routes.post("/settings/machines/{instance_id}/disable-failover")
    async def disable_failover(instance_id: int) -> dict[str, Any]:
        return await chosen(instance_id, "disabled", standby=False)

    async def chosen(instance_id: int, strategy: Strategy, *, standby: bool) -> dict[str, Any]:
        if standby and services.standbys.get(instance_id) is None:
            await services.standbys.enable(instance_id)
        return await _set(services, instance_id, MachineSettings(use_global_settings=False, strategy=strategy))


async def _set(services: Services, instance_id: int, wish: MachineSettings) -> dict[str, Any]:
    await services.instances.tracked(instance_id)
    if wish.own == "regional_volume" and services.volumes.get(instance_id) is None:
        words = (
            f"The workspace of instance {instance_id} is on its own disk: a regional volume is chosen when a machine"
        )
        raise ApiError(409, f"{words} is rented (failover_strategy)")
    services.failovers.settings.set_of(instance_id, wish)
    return _shown(services, instance_id)


def _shown(services: Services, instance_id: int) -> dict[str, Any]:
    settings = services.failovers.settings
    own, every = settings.of(instance_id), services.failovers.all()
    past = [one for one in every if instance_id in (one.gpu_instance_id, one.new_instance_id) and one.over]
    association, warm = services.standbys.get(instance_id), services.warm_pool.get(instance_id)
    return {
        "machine_id": instance_id,
        "use_global_settings": own.use_global_settings,
        "strategy": own.strategy,
        "effective_strategy": settings.strategy(instance_id),
        "cpu_standby": {
            "enabled": association is not None,
            "active": association is not None and association.can_serve,
            "instance_name": association.machine_name if association else None,
        },
        "warm_pool": {
            "enabled": warm is not None,
            "active": warm is not None and services.warm_pool.why_not(instance_id) is None,
            "standby_gpu_id": warm.warm_instance_id if warm else None,
        },
        "stats": {
            "failover_count": len(past),
            "last_failover_at": past[-1].public()["completed_at"] if past else None,
            "last_failover_strategy": past[-1].strategy if past else None,
        },
    }
