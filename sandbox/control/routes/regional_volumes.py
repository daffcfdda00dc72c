"""Regional volumes by themselves: making them, looking at them, having them on another machine, deleting them."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from sandbox.control.errors import ApiError
from sandbox.control.phases import Moment
from sandbox.control.services import Services


class NewVolume(BaseModel):
    region: str = Field(min_length=2, max_length=2, description="a country code")
    size_gb: float = Field(default=50, ge=1)
    name: str | None = None


class VolumeFailover(BaseModel):
    """With an old machine, that one is ended and fails over; without one, the volume must be free.

    Price in USD an hour. Machines are rented on demand, and have the volume as their workspace: nowhere else.
    """

    volume_id: int
    region: str
    old_instance_id: int | None = None
    preferred_gpus: list[str] = []
    max_price: float | None = Field(default=None, gt=0)
    docker_image: str = ""
    mount_path: Literal["/workspace"] = "/workspace"


def router(services: Services) -> APIRouter:
    volumes, machines = services.volumes, services.volume_machines
    routes = APIRouter(
        prefix="/failover/regional-volume", tags=["failover"], dependencies=[Depends(services.accounts.user)]
    )

    @routes.post("/create")
    async def create(wish: NewVolume) -> dict[str, Any]:
        lease = await machines.make(wish.region.upper(), wish.size_gb, wish.name)
        return {"success": True, **lease.public(), "error": None}

    @routes.get("/list")
    async def listing() -> dict[str, Any]:
        known = [lease.public() for lease in volumes.all()]
        return {"volumes": known, "count": len(known)}

    @routes.get("/search/{region}")
    async def find(region: str, max_price: float | None = None) -> dict[str, Any]:
        offers = await machines.offers(region.upper(), max_price=max_price)
        if not offers:
            return {"found": False, "message": f"No machine is offered in region {region.upper()}"}
        return {"found": True, "offer": offers[0], "count": len(offers)}

    @routes.post("/failover")
    async def failover(wish: VolumeFailover) -> dict[str, Any]:
        """Answers when the new machine has the volume, and answers SSH."""
        begun, lease = Moment(), volumes.known(wish.volume_id)
        if wish.region.upper() != lease.region:
            raise ApiError(409, f"Volume {wish.volume_id} is in region {lease.region}, and cannot be used elsewhere")
        if wish.old_instance_id is None:
            new = await machines.rent(
                lease, gpu_names=wish.preferred_gpus, image=wish.docker_image, max_price=wish.max_price
            )
        else:
            new = await services.machines.instance(await _failed_over(services, wish, wish.old_instance_id))
        return {
            "success": True,
            "volume_id": wish.volume_id,
            "old_instance_id": wish.old_instance_id,
            "new_instance_id": new.id,
            "new_gpu_name": new.gpu_name,
            "region": lease.region,
            "failover_time_seconds": round(begun.until(Moment()), 3),
            "message": f"Instance {new.id} has volume {wish.volume_id} as its workspace",
            "error": None,
            "ssh_host": new.ssh_host,
            "ssh_port": new.ssh_port,
        }

    @routes.get("/{volume_id}")
    async def get(volume_id: int) -> dict[str, Any]:
        return volumes.known(volume_id).public()

    @routes.delete("/{volume_id}")
    async def delete(volume_id: int) -> dict[str, Any]:
        await volumes.delete(volume_id)
        return {"success": True, "message": f"Volume {volume_id} was deleted"}

    return routes


async def _failed_over(services: Services, wish: VolumeFailover, old_id: int) -> int:
    """Ends the machine that has the volume; returns the id of the one that has it now."""
    lease = services.volumes.get(old_id)
    if lease is None or lease.volume_id != wish.volume_id:
        raise ApiError(409, f"Instance {old_id} does not have volume {wish.volume_id}")
    failovers = services.failovers
    failover = await failovers.order(
        old_id, "regional_volume", strategy="regional_volume", gpu_names=wish.preferred_gpus, max_price=wish.max_price
    )
    await failovers.until_over(failover)
    if not failover.success or failover.new_instance_id is None:
        raise ApiError(502, f"Failover {failover.failover_id} failed in {failover.failed_phase}: {failover.error}")
    if failover.data_source != "regional_volume":
        words = f"Instance {failover.new_instance_id} has the workspace from {failover.data_source}, not on the volume"
        raise ApiError(502, f"{words}: {failover.refusals['regional_volume'].error}")
    return failover.new_instance_id
