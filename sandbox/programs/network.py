"""`python -m sandbox.programs.network --state-dir D`: the network between the parts of one cloud, until SIGTERM."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from sandbox.state import Ports, Proxies, StateDir
from sandbox.toxics.api import create_app
from sandbox.toxics.network import Network, ProxyOrder


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.programs.network", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="the state directory of the cloud")
    state = StateDir(parser.parse_args().state_dir)
    config = state.config() if state.has_config() else None
    if config is None or config.proxies is None:
        print(f"{state.root} holds no cloud with proxies. `python -m sandbox up --proxied` makes one.", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    network, orders = Network(), ways(config.ports, config.proxies)

    @asynccontextmanager
    async def proxying(_: FastAPI) -> AsyncIterator[None]:
        await network.populate(orders)
        yield
        await network.close()

    app = create_app(network, state.secrets().admin_token, config.cloud_id)
    app.router.lifespan_context = proxying
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=config.proxies.api,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return 0


def ways(ports: Ports, proxies: Proxies) -> list[ProxyOrder]:
    """The ways that every cloud has. Those to the machines come and go with them."""
    ends = {
        "control": (proxies.control, ports.control),
        "market": (proxies.market, ports.market),
        "store": (proxies.store, ports.store),
        "agents": (proxies.agents, ports.control),
        "product-market": (proxies.product_market, ports.market),
        "product-store": (proxies.product_store, ports.store),
    }
    return [
        ProxyOrder(name=name, listen=f"127.0.0.1:{here}", upstream=f"127.0.0.1:{there}")
        for name, (here, there) in ends.items()
    ]


if __name__ == "__main__":
    raise SystemExit(main())
