"""Rehearsals of failovers, in the words of the product: `test-real` and `fast`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from sandbox.control.rehearsal import Rehearsal, RehearsalOrder
from sandbox.control.services import Services


def router(services: Services) -> APIRouter:
    """Both answer when all is over, which takes as long as a snapshot, a rent and a restore."""
    rehearsals = services.rehearsals
    routes = APIRouter(prefix="/standby/failover", tags=["failover"], dependencies=[Depends(services.accounts.user)])

    @routes.post("/test-real/{instance_id}", response_model=None)
    async def real(instance_id: int, order: RehearsalOrder | None = None) -> dict[str, Any] | JSONResponse:
        done = await rehearsals.run(instance_id, order or RehearsalOrder(), fast=False)
        return _real(done) if done.success else _failed(done)

    @routes.post("/fast/{instance_id}", response_model=None)
    async def fast(instance_id: int, order: RehearsalOrder | None = None) -> dict[str, Any] | JSONResponse:
        done = await rehearsals.run(instance_id, order or RehearsalOrder(), fast=True)
        return _fast(done) if done.success else _failed(done)

    @routes.get("/test-real/report/{failover_id}")
    async def report(failover_id: str) -> dict[str, Any]:
        return rehearsals.get(failover_id).public()

    @routes.get("/test-real/history")
    async def history(
        days: Annotated[int, Query(ge=1, le=3650)] = 30, limit: Annotated[int, Query(ge=1, le=1000)] = 50
    ) -> dict[str, Any]:
        return rehearsals.history(days, limit)

    return routes


def _both(done: Rehearsal) -> dict[str, Any]:
    assert done.new_instance is not None  # noqa: S101 - it has succeeded
    return {
        "failover_id": done.failover_id,
        "success": True,
        "message": f"Instance {done.new_instance.id} has the workspace of instance {done.machine.instance_id}",
        "total_time_ms": done.total_ms,
        "total_time_seconds": round(done.total_ms / 1000, 3),
        "view_report": f"/api/v1/standby/failover/test-real/report/{done.failover_id}",
    }


def _real(done: Rehearsal) -> dict[str, Any]:
    told, times = done.public(), done.timings_ms
    snapshot, gpu = told["snapshot"], told["gpu"]
    return {
        **_both(done),
        "phase_breakdown": {f"{phase}_ms": milliseconds for phase, milliseconds in times.items()},
        "snapshot": {name: snapshot[name] for name in ("id", "size_bytes", "size_mb")},
        "gpu": {
            "original_id": gpu["original_id"],
            "original_type": gpu["original_type"],
            "new_id": gpu["new_instance_id"],
            "new_type": gpu["new_type"],
        },
        "inference": told["inference"],
    }


def _fast(done: Rehearsal) -> dict[str, Any]:
    assert done.new_instance is not None  # noqa: S101 - it has succeeded
    told, times, new, race = done.public(), done.timings_ms, done.new_instance, done.race
    return {
        **_both(done),
        "phases": {
            "snapshot_ms": times["snapshot_creation"],
            "gpu_provisioning_ms": round(times["gpu_search"] + times["gpu_provision"], 3),
            "restore_ms": times["restore"],
            "validation_ms": times["validation"],
            "inference_ms": None,
        },
        "gpu": {
            "original": {"id": done.machine.instance_id, "type": done.machine.gpu_name},
            "new": {
                "id": new.id,
                "type": new.gpu_name,
                "ssh": {"host": new.ssh_host, "port": new.ssh_port},
            },
        },
        "snapshot": {name: told["snapshot"][name] for name in ("id", "size_mb")},
        "inference": told["inference"],
        "stats": {"gpus_tried": race.offers_tried if race else 0, "rounds_attempted": 1},
    }


def _failed(done: Rehearsal) -> JSONResponse:
    what = {
        "failover_id": done.failover_id,
        "error": done.error,
        "failed_phase": done.failed_phase,
        "phase_timings": done.timings_ms,
        "total_time_ms": done.total_ms,
    }
    return JSONResponse({"error": what, "detail": done.error}, 500)
