"""What the agents on the machines say, and what is known of the machines by it. No login: agents have none."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, field_validator

from sandbox.control.errors import ApiError
from sandbox.control.fleet import GpuMetrics, TrackedMachine
from sandbox.control.services import Services


class Heartbeat(BaseModel):
    agent: str = "DumontAgent"
    version: str
    instance_id: str
    status: str
    message: str | None = None
    last_backup: str | None = None
    timestamp: str
    uptime: int | None = None
    gpu_metrics: GpuMetrics | None = None
    gpu_utilization: float | None = Field(default=None, ge=0, le=100, description="the older form of gpu_metrics")

    @field_validator("instance_id")
    @classmethod
    def _is_a_number(cls, instance_id: str) -> str:
        number = instance_id.removeprefix("vast_")
        if not number.isdecimal():
            raise ValueError("must be the number of an instance")
        return number

    @property
    def metrics(self) -> GpuMetrics | None:
        if self.gpu_metrics is None and self.gpu_utilization is not None:
            return GpuMetrics(utilization=self.gpu_utilization)
        return self.gpu_metrics


def router(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/agent", tags=["agent"])

    def known(instance_id: int) -> TrackedMachine:
        machine = services.fleet.get(instance_id)
        if machine is None:
            raise ApiError(404, f"Instance {instance_id} not found: no agent has reported for it")
        return machine

    @routes.post("/status")
    async def status(beat: Heartbeat) -> dict[str, Any]:
        services.hibernations.beat(int(beat.instance_id), beat.metrics)
        return {"received": True, "instance_id": beat.instance_id, "action": "none", "message": "Status received"}

    @routes.get("/instances")
    async def listing() -> list[dict[str, Any]]:
        return [_shown(machine) for machine in services.fleet if machine.status != "woken"]

    @routes.get("/instances/{instance_id}")
    async def get(instance_id: int) -> dict[str, Any]:
        return _shown(known(instance_id))

    @routes.post("/instances/{instance_id}/keep-alive")
    async def keep_alive(instance_id: int, minutes: Annotated[int, Query(ge=1)] = 30) -> dict[str, Any]:
        machine = known(instance_id)
        machine.keep_alive_until = time.time() + minutes * 60
        services.fleet.save(machine)
        services.history.add(machine, "keep_alive", f"for {minutes} minutes")
        return {
            "success": True,
            "message": f"Instance {instance_id} is not hibernated for {minutes} minutes",
            "new_hibernate_at": _time(machine.will_hibernate_at or machine.keep_alive_until),
        }

    return routes


def _shown(machine: TrackedMachine) -> dict[str, Any]:
    config = machine.config
    return {
        "instance_id": str(machine.instance_id),
        "label": machine.label,
        "gpu_name": machine.gpu_name,
        "status": machine.state,
        "error": machine.error,
        "gpu_utilization": machine.gpu_utilization,
        "last_seen": _time(machine.last_heartbeat),
        "last_heartbeat": _time(machine.last_heartbeat),
        "idle_since": _time(machine.idle_since),
        "will_hibernate_at": _time(machine.will_hibernate_at),
        "auto_hibernation_enabled": config.auto_hibernation_enabled,
        "idle_timeout_seconds": config.idle_timeout_seconds,
        "gpu_usage_threshold": config.gpu_usage_threshold,
        "snapshot_id": machine.snapshot_id,
        "hibernated_at": _time(machine.hibernated_at),
        "new_instance_id": machine.new_instance_id,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
