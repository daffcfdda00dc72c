"""Failover: by hand, how it goes, and what it came to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from sandbox.control.failover_report import report
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
