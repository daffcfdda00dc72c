"""The whole API as one FastAPI app."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Response

from sandbox.console import pages
from sandbox.control import errors
from sandbox.control.routes import (
    agent,
    auth,
    failover,
    hibernation,
    instances,
    metrics,
    migration,
    race,
    snapshots,
    standby,
    warm_pool,
)
from sandbox.control.services import Services
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.state import StateDir

VERSION = "3.0.0"


def build(state: StateDir) -> FastAPI:
    """Builds the app of one cloud. It does its work only while it is being served."""
    admin_token = state.secrets().admin_token
    events = Events(admin_token)
    services = Services(state, events)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        yield
        await services.stop()

    app = FastAPI(
        title="Dumont Cloud", version=VERSION, openapi_url="/api/v1/openapi.json", lifespan=lifespan,
        redirect_slashes=False,
    )  # fmt: skip
    errors.install(app)

    @app.get("/health")
    async def health(response: Response) -> dict[str, str]:
        response.headers["X-Sandbox-Id"] = services.config.cloud_id
        return {"status": "healthy", "version": VERSION, "service": "dumont-cloud"}

    api = APIRouter()
    api.include_router(auth.router(services.accounts))
    api.include_router(instances.public(services))
    api.include_router(instances.router(services))
    api.include_router(race.router(services))
    api.include_router(migration.router(services))
    api.include_router(hibernation.router(services))
    api.include_router(snapshots.of_instance(services))
    api.include_router(snapshots.router(services))
    api.include_router(agent.router(services))
    api.include_router(failover.router(services))
    api.include_router(failover.settings_router(services))
    api.include_router(warm_pool.router(services))
    api.include_router(standby.router(services))
    api.include_router(metrics.router(services))
    app.include_router(api, prefix="/api/v1")
    app.include_router(api, prefix="/api", include_in_schema=False)
    pages.install(app, services.accounts)

    events.install(app)
    Faults(admin_token).install(app)
    return app
