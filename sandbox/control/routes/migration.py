"""Migration of machines to another GPU."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from sandbox.control.errors import ApiError
from sandbox.control.migration import MigrationWish
from sandbox.control.services import Services


def router(services: Services) -> APIRouter:
    migrations = services.migrations
    routes = APIRouter(prefix="/instances", tags=["migration"], dependencies=[Depends(services.accounts.user)])

    @routes.get("/migrate/{migration_id}")
    async def status(migration_id: str) -> dict[str, Any]:
        return migrations.get(migration_id).public()

    @routes.post("/{instance_id}/migrate", status_code=202)
    async def migrate(instance_id: int, wish: MigrationWish) -> dict[str, Any]:
        migration = await migrations.order(instance_id, wish)
        words = f"Instance {instance_id} is being migrated to {wish.gpu_type}; "
        words += f"GET /api/v1/instances/migrate/{migration.migration_id} tells how it goes"
        return {"message": words, **migration.public()}

    @routes.post("/{instance_id}/migrate/estimate")
    async def estimate(instance_id: int, wish: MigrationWish) -> dict[str, Any]:
        return await migrations.estimate(instance_id, wish)

    @routes.get("/{instance_id}/migrate")
    async def last(instance_id: int) -> dict[str, Any]:
        """The last migration of a machine, by its old id."""
        migration = migrations.last_of(instance_id)
        if migration is None:
            raise ApiError(404, f"Instance {instance_id} was never migrated")
        return migration.public()

    return routes
