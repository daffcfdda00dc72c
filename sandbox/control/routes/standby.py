"""CPU standbys: making them, looking at them, ending them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query
from pydantic import BaseModel, Field

from sandbox.control.association import Association, StandbyConfig, pricing
from sandbox.control.services import Services

MachineType = Literal["e2-micro", "e2-small", "e2-medium", "e2-standard-2", "e2-standard-4"]


class Disabling(BaseModel):
    force: bool = Field(default=False, description="also when it holds the only copy of a lost machine's workspace")


class FileToVerify(BaseModel):
    filename: str = Field(min_length=1, description="a file of /workspace, relative to it or not")


def router(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/standby", tags=["standby"], dependencies=[Depends(services.accounts.user)])
    _settings(routes, services)
    _associations(routes, services)
    _standby_of_instance(routes, services)
    return routes


def _settings(routes: APIRouter, services: Services) -> None:
    standbys = services.standbys

    @routes.get("/status")
    async def status() -> dict[str, Any]:
        associations = standbys.all()
        return {
            "configured": True,
            "auto_standby_enabled": standbys.config.enabled,
            "active_associations": len(associations),
            "associations": _by_instance(associations),
            "config": standbys.config.model_dump() | {"sync_interval": standbys.interval},
        }

    @routes.post("/configure")
    async def configure(config: Annotated[StandbyConfig, Body()]) -> dict[str, Any]:
        # The product's form turns the automatic on unless it says otherwise.
        if "enabled" not in config.model_fields_set:
            config.enabled = True
        standbys.configure(config)
        if not config.enabled:
            return {"success": True, "message": "New machines get no CPU standby by themselves"}
        monthly = pricing(config.gcp_machine_type, config.gcp_disk_size, spot=config.gcp_spot)["breakdown"][
            "vm_monthly"
        ]
        return {
            "success": True,
            "message": "Every new machine gets a CPU standby by itself",
            "config": {
                "gcp_zone": config.gcp_zone,
                "gcp_machine_type": config.gcp_machine_type,
                "sync_interval": standbys.interval,
                "estimated_cost_monthly_usd": monthly,
            },
        }

    @routes.get("/pricing")
    async def price(
        machine_type: MachineType = "e2-medium",
        disk_gb: Annotated[int, Query(ge=10, le=65536)] = 100,
        spot: bool = True,
    ) -> dict[str, Any]:
        return pricing(machine_type, disk_gb, spot=spot)


def _associations(routes: APIRouter, services: Services) -> None:
    standbys = services.standbys

    @routes.get("/associations")
    async def listing() -> dict[str, Any]:
        associations = standbys.all()
        return {"associations": _by_instance(associations), "count": len(associations)}

    @routes.get("/associations/{instance_id}")
    async def get(instance_id: int) -> dict[str, Any]:
        return standbys.known(instance_id).public()

    @routes.post("/associations/{instance_id}/start-sync")
    async def start_sync(instance_id: int) -> dict[str, Any]:
        await standbys.resume(instance_id)
        return _told(instance_id, "is mirrored again", standbys.known(instance_id))

    @routes.post("/associations/{instance_id}/stop-sync")
    async def stop_sync(instance_id: int) -> dict[str, Any]:
        await standbys.pause(instance_id)
        return _told(instance_id, "is no longer mirrored; its standby keeps what it has", standbys.known(instance_id))

    @routes.delete("/associations/{instance_id}")
    async def delete(instance_id: int, query: Annotated[Disabling, Query()]) -> dict[str, Any]:
        return await _disabled(services, instance_id, force=query.force)


def _standby_of_instance(routes: APIRouter, services: Services) -> None:
    standbys = services.standbys

    @routes.post("/{instance_id}/enable", status_code=202)
    async def enable(instance_id: int) -> dict[str, Any]:
        """Answers at once; `GET /standby/associations/{id}` tells how far it is."""
        association = await standbys.enable(instance_id)
        return _told(instance_id, "is getting a CPU standby", association)

    @routes.post("/{instance_id}/disable")
    async def disable(instance_id: int, body: Disabling | None = None) -> dict[str, Any]:
        """Answers when the CPU machine is gone."""
        return await _disabled(services, instance_id, force=body is not None and body.force)

    @routes.post("/provision/{instance_id}")
    async def provision(instance_id: int) -> dict[str, Any]:
        """Answers when the standby is in step for the first time."""
        association = standbys.get(instance_id)
        if association is not None and association.state != "error":
            return _told(instance_id, "has a CPU standby: it already exists", await standbys.ready(instance_id))
        await standbys.enable(instance_id)
        return _told(instance_id, "has a CPU standby", await standbys.ready(instance_id))

    @routes.post("/{instance_id}/verify-sync")
    async def verify_sync(instance_id: int, body: FileToVerify) -> dict[str, Any]:
        """Looks at the file on both machines, now."""
        return await standbys.verify(instance_id, body.filename)


async def _disabled(services: Services, instance_id: int, *, force: bool) -> dict[str, Any]:
    association = services.standbys.known(instance_id)
    await services.standbys.disable(instance_id, force=force)
    public = association.public() | {"state": "disabled", "sync_enabled": False}
    return {
        "success": True,
        "message": f"Standby {association.machine_name} of instance {instance_id} was deleted",
        "association": public,
    }


def _by_instance(associations: list[Association]) -> dict[str, Any]:
    return {str(one.gpu_instance_id): one.public() for one in associations}


def _told(instance_id: int, what: str, association: Association) -> dict[str, Any]:
    """The association's own fields as well as the association: clients read either."""
    public = association.public()
    return {"success": True, "message": f"Instance {instance_id} {what}", **public, "association": public}
