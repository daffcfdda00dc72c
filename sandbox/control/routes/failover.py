"""Failover: by hand, how it goes, what it came to, and how machines are to fail over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from sandbox.control.errors import ApiError
from sandbox.control.failover import SOURCES
from sandbox.control.failover_report import report
from sandbox.control.failover_settings import STRATEGIES, GlobalSettings, MachineSettings
from sandbox.control.phases import OVER
from sandbox.control.services import Services

ALIVE = 10.0  # seconds between two signs of life of a stream in which nothing happens


class FailoverOrder(BaseModel):
    """`simulate_restore`, `simulate_new_gpu`: false leaves that part out. Nothing of it is simulated."""

    reason: str = "spot_interruption"
    simulate_restore: bool = True
    simulate_new_gpu: bool = True


def router(services: Services) -> APIRouter:
    failovers = services.failovers
    routes = APIRouter(prefix="/standby", tags=["failover"], dependencies=[Depends(services.accounts.user)])

    @routes.post("/failover/simulate/{instance_id}")
    @routes.post("/{instance_id}/simulate-failover")
    async def simulate(instance_id: int, order: FailoverOrder | None = None) -> dict[str, Any]:
        wish = order or FailoverOrder()
        failover = await failovers.order(
            instance_id, wish.reason, with_restore=wish.simulate_restore, with_new_gpu=wish.simulate_new_gpu
        )
        return {
            "failover_id": failover.failover_id,
            "gpu_instance_id": instance_id,
            "message": f"Instance {instance_id} is being ended at the market, and fails over by strategy "
            f"{failover.strategy}; GET /api/v1/standby/failover/status/{failover.failover_id} tells how it goes",
            "phase": failover.phase,
        }

    @routes.get("/failover/status/{failover_id}")
    async def status(failover_id: str) -> dict[str, Any]:
        return failovers.get(failover_id).public()

    @routes.get("/failover/active")
    async def active() -> dict[str, Any]:
        running = [failover.public() for failover in failovers.active()]
        return {"active_count": len(running), "failovers": running}

    @routes.get("/failover/report")
    async def get_report(days: Annotated[int, Query(ge=1, le=3650)] = 30) -> dict[str, Any]:
        return report(failovers.all(), days)

    @routes.get("/failover/events")
    async def events(failover_id: str | None = None) -> StreamingResponse:
        """`event: phase` with the whole event at each change. Of one failover until it is over, or of all for ever."""
        known = failovers.get(failover_id).public() if failover_id else None
        return StreamingResponse(
            _stream(services, known), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    return routes


async def _stream(services: Services, known: dict[str, Any] | None) -> AsyncIterator[str]:
    """`known`: the failover that is of interest, as it is now; all of them when None."""
    with services.failovers.listeners.listening() as told:
        if known is not None:
            known = services.failovers.get(known["failover_id"]).public()
            yield _event(known)
            if known["phase"] in OVER:
                return
        else:
            for failover in services.failovers.active():
                yield _event(failover.public())
        while True:
            try:
                async with asyncio.timeout(ALIVE):
                    event = await told.get()
            except TimeoutError:
                yield ": nothing new\n\n"
                continue
            if known is not None and event["failover_id"] != known["failover_id"]:
                continue
            yield _event(event)
            if known is not None and event["phase"] in OVER:
                return


def _event(failover: dict[str, Any]) -> str:
    return f"event: phase\ndata: {json.dumps(failover)}\n\n"


def _refuse_without_volume(services: Services, instance_id: int, wish: MachineSettings) -> None:
    if wish.own == "regional_volume" and services.volumes.get(instance_id) is None:
        words = (
            f"The workspace of instance {instance_id} is on its own disk: a regional volume is chosen when a machine"
        )
        raise ApiError(409, f"{words} is rented (failover_strategy)")


def settings_router(services: Services) -> APIRouter:
    settings, failovers = services.failovers.settings, services.failovers
    routes = APIRouter(prefix="/failover", tags=["failover"], dependencies=[Depends(services.accounts.user)])

    def shown(instance_id: int) -> dict[str, Any]:
        own = settings.of(instance_id)
        past = [
            one for one in failovers.all() if instance_id in (one.gpu_instance_id, one.new_instance_id) and one.over
        ]
        association = services.standbys.get(instance_id)
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
            "stats": {
                "failover_count": len(past),
                "last_failover_at": past[-1].public()["completed_at"] if past else None,
                "last_failover_strategy": past[-1].strategy if past else None,
            },
        }

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
        known = {str(machine.instance_id): shown(machine.instance_id) for machine in services.fleet}
        return {"machines": known, "count": len(known)}

    @routes.get("/settings/machines/{instance_id}")
    async def get_machine(instance_id: int) -> dict[str, Any]:
        return shown(instance_id)

    @routes.put("/settings/machines/{instance_id}")
    async def put_machine(instance_id: int, wish: MachineSettings) -> dict[str, Any]:
        await services.instances.tracked(instance_id)
        _refuse_without_volume(services, instance_id, wish)
        settings.set_of(instance_id, wish)
        return shown(instance_id)

    @routes.delete("/settings/machines/{instance_id}")
    async def delete_machine(instance_id: int) -> dict[str, Any]:
        settings.forget(instance_id)
        return {"success": True, "message": f"Instance {instance_id} follows the global settings"}

    @routes.get("/readiness/{instance_id}")
    async def readiness(instance_id: int) -> dict[str, Any]:
        reasons = await failovers.readiness(instance_id)
        strategy = settings.strategy(instance_id)
        ready = {
            f"{name}_ready": name in reasons and reasons[name] is None
            for name in SOURCES["cpu_standby"] + ("warm_pool",)
        }
        why = {f"{name}_status": reasons.get(name) or "ready" for name in reasons}
        return {
            "machine_id": instance_id,
            "effective_strategy": strategy,
            **ready,
            **why,
            "data_source": next((name for name, reason in reasons.items() if reason is None), None),
            "overall_ready": any(reason is None for reason in reasons.values()),
        }

    return routes
