"""Snapshots: taking, listing, restoring, deleting."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel

from sandbox.control.errors import ApiError
from sandbox.control.services import Services
from sandbox.control.snapshots import SnapshotRecord
from sandbox.control.wake import Wish


def _absolute(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or "\0" in path or not parts or {".", ".."} & set(parts):
        raise ValueError("must be an absolute path of a folder, without . and ..")
    return "/" + "/".join(parts)


FolderPath = Annotated[str, AfterValidator(_absolute)]


class NewSnapshot(BaseModel):
    instance_id: int
    source_path: FolderPath = "/workspace"
    tags: list[str] | None = None
    name: str | None = None


class NamedSnapshot(BaseModel):
    name: str | None = None
    source_path: FolderPath = "/workspace"
    tags: list[str] = []
    type: str = "full"


class Restore(BaseModel):
    """`instance_id` is taken from the query, too."""

    snapshot_id: str
    instance_id: int | None = None
    target_path: FolderPath | None = None
    verify: bool = False


class KeepForever(BaseModel):
    keep_forever: bool


def backup_reply(record: SnapshotRecord) -> dict[str, Any]:
    """What is answered when a snapshot has been taken. Sizes in bytes."""
    backup = record.backup
    if backup is None:
        raise ApiError(500, record.error or "The snapshot was not taken")
    return {
        "success": True,
        **backup.model_dump(exclude={"begun", "stored"}),
        "name": record.name,
        "instance_id": record.instance_id,
        "status": record.status,
        "size_original": backup.total_bytes_processed,
        "size_compressed": backup.stored,
    }


def router(services: Services) -> APIRouter:
    snapshots = services.snapshots
    routes = APIRouter(prefix="/snapshots", tags=["snapshots"], dependencies=[Depends(services.accounts.user)])

    @routes.get("")
    async def listing(instance_id: int | None = None) -> dict[str, Any]:
        rows = await snapshots.listing(instance_id)
        return {"snapshots": rows, "count": len(rows)}

    @routes.post("", status_code=201)
    async def create(body: NewSnapshot) -> dict[str, Any]:
        services.fleet.refuse_while_busy(body.instance_id)
        machine = await services.machines.running(body.instance_id)
        record = snapshots.order(body.instance_id, body.source_path, body.name, body.tags or [])
        await snapshots.take(record, machine)
        return backup_reply(record)

    @routes.post("/restore")
    async def restore(body: Restore, instance_id: int | None = None) -> dict[str, Any]:
        target = instance_id if instance_id is not None else body.instance_id
        if target is None:
            raise ApiError(422, "instance_id is missing: give it in the query or in the body")
        services.fleet.refuse_while_busy(target)
        machine = await services.machines.running(target)
        restored = await snapshots.restore(
            await snapshots.find(body.snapshot_id), machine, body.target_path, verify=body.verify
        )
        return {"success": True, **restored.model_dump(), "instance_id": target, "errors": []}

    @routes.post("/{reference}/restore", status_code=202)
    async def restore_onto_new(reference: str, wish: Wish | None = None) -> dict[str, Any]:
        snapshot = await snapshots.find(reference)
        instance_id = await services.wakes.restore_onto_new(snapshot, wish or Wish())
        return {
            "success": True,
            "new_instance_id": instance_id,
            "instance_id": instance_id,
            "snapshot_id": snapshot.short_id,
            "message": f"Snapshot {reference} is being restored; GET /api/v1/instances/{instance_id} tells how it goes",
        }

    @routes.post("/{reference}/keep-forever")
    async def keep_forever(reference: str, body: KeepForever) -> dict[str, Any]:
        await snapshots.keep_forever(reference, keep=body.keep_forever)
        return {"success": True, "snapshot_id": reference, "keep_forever": body.keep_forever}

    @routes.delete("/{reference}")
    async def delete(reference: str) -> dict[str, Any]:
        await snapshots.delete(reference)
        return {"success": True, "message": f"Snapshot {reference} deleted"}

    return routes


def of_instance(services: Services) -> APIRouter:
    """Snapshots by the machine they are of."""
    routes = APIRouter(
        prefix="/instances/{instance_id}", tags=["snapshots"], dependencies=[Depends(services.accounts.user)]
    )

    async def ordered(instance_id: int, body: NamedSnapshot, *, background: bool) -> SnapshotRecord:
        services.fleet.refuse_while_busy(instance_id)
        machine = await services.machines.running(instance_id)
        tags = [*body.tags, f"type:{body.type}"]
        record = services.snapshots.order(instance_id, body.source_path, body.name, tags)
        if background:
            services.snapshots.take_in_background(record, machine)
        else:
            await services.snapshots.take(record, machine)
        return record

    @routes.post("/snapshots", status_code=201)
    async def snapshot(instance_id: int, body: NamedSnapshot) -> dict[str, Any]:
        return backup_reply(await ordered(instance_id, body, background=False))

    @routes.post("/snapshot", status_code=202)
    async def snapshot_in_background(instance_id: int, body: NamedSnapshot) -> dict[str, Any]:
        record = await ordered(instance_id, body, background=True)
        return {
            "success": True,
            "instance_id": instance_id,
            "name": record.name,
            "status": record.status,
            "message": f"Snapshot {record.name} is being taken; GET /api/v1/snapshots tells how it goes",
        }

    return routes
