"""New machines by a race between offers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from sandbox.control.errors import ApiError
from sandbox.control.race import RaceWish
from sandbox.control.services import Services


def router(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/instances/race", tags=["race"], dependencies=[Depends(services.accounts.user)])

    @routes.post("", status_code=202)
    async def start(wish: RaceWish) -> dict[str, Any]:
        await services.instances.check_balance()
        return services.races.start(wish).public()

    @routes.get("/{race_id}")
    async def get(race_id: str) -> dict[str, Any]:
        race = services.races.get(race_id)
        if race is None:
            raise ApiError(404, f"Race {race_id} not found")
        return race.public()

    return routes
