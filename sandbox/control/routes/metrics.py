"""Numbers: what hibernation saved, and the metrics that tests leave behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field, JsonValue

from sandbox.control.services import Services
from sandbox.records import Records


class TestMetrics(BaseModel):
    test_name: str = Field(min_length=1)
    timestamp: str | float
    metrics: dict[str, JsonValue]


class KeptMetrics(TestMetrics):
    id: str


def router(services: Services) -> APIRouter:
    routes = APIRouter(tags=["metrics"], dependencies=[Depends(services.accounts.user)])

    @routes.get("/hibernation/stats")
    async def statistics() -> dict[str, Any]:
        return services.history.statistics()

    @routes.get("/metrics/hibernation/events")
    async def events(
        limit: Annotated[int, Query(ge=1, le=1000)] = 50, instance_id: int | None = None, event_type: str | None = None
    ) -> dict[str, Any]:
        found = services.history.events(limit, instance_id, event_type)
        return {"events": found, "count": len(found)}

    @routes.post("/test-metrics", status_code=201)
    async def keep(metrics: TestMetrics) -> KeptMetrics:
        kept = KeptMetrics(id=f"{time.time_ns():020d}", **metrics.model_dump())
        services.records.put(kept.id, kept)
        return kept

    @routes.get("/test-metrics")
    async def kept(test_name: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> dict[str, Any]:
        """The newest first."""
        found = list(islice(_newest(services.records, test_name), limit))
        return {"metrics": found, "count": len(found)}

    return routes


def _newest(records: Records, test_name: str | None) -> Iterator[KeptMetrics]:
    kept = reversed(list(records.all(KeptMetrics)))
    return (one for one in kept if test_name in (None, one.test_name))
