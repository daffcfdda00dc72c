"""The whole API as one FastAPI app."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response

from sandbox.control import errors
from sandbox.control.auth import Accounts
from sandbox.control.routes import (
    agent,
    auth,
    failover,
    failover_settings,
    hibernation,
    instances,
    metrics,
    migration,
    orchestrator,
    race,
    regional_volumes,
    rehearsal,
    snapshots,
    standby,
    warm_pool,
)
from sandbox.control.services import Services
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.state import StateDir

VERSION = "3.0.0"


def build(state: StateDir, install_page: Callable[[FastAPI, Accounts], None]) -> FastAPI:
    """Build the app of one cloud. It does its work only while it is being served.

    Args:
        state: the cloud's state directory.
        install_page: adds the web page, which uses the accounts of the API.
    """
    admin_token = state.secrets().admin_token
    events = Events(admin_token)
    services = Services(state, events)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        describing = asyncio.create_task(describe())
        yield
        describing.cancel()
        await services.stop()

    async def describe() -> None:
        """It takes half a second, for which whoever asks first for what the API can do would hold everybody up."""
        await services.settled.wait()
        await asyncio.to_thread(app.openapi)

    app = FastAPI(
        title="Dumont Cloud", version=VERSION, openapi_url="/api/v1/openapi.json", lifespan=lifespan,
        redirect_slashes=False,
    )  # fmt: skip
    errors.install(app, state.root)

    @app.get("/health")
    async def health(response: Response) -> dict[str, str]:
        response.headers["X-Sandbox-Id"] = services.config.cloud_id
        return {"status": "healthy", "version": VERSION, "service": "dumont-cloud"}

    # Each on its own, the one that is asked most first: nested routers would look for the route again at each level.
    routers = [
        agent.router(services),
        auth.router(services.accounts),
        instances.public(services),
        instances.router(services),
        race.router(services),
        migration.router(services),
        hibernation.router(services),
        snapshots.of_instance(services),
        snapshots.router(services),
        failover.router(services),
        failover_settings.router(services),
        orchestrator.router(services),
        regional_volumes.router(services),
        rehearsal.router(services),
        warm_pool.router(services),
        standby.router(services),
        metrics.router(services),
    ]
    for router in routers:
        app.include_router(router, prefix="/api/v1")
        app.include_router(router, prefix="/api", include_in_schema=False)
    install_page(app, services.accounts)

    events.install(app)
    Faults(admin_token).install(app)
    return app
