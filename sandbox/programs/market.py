"""`python -m sandbox.programs.market --state-dir D`: runs the market of one cloud until SIGTERM."""

from __future__ import annotations

import argparse
import fcntl
import logging
import sys
from pathlib import Path

import uvicorn

from sandbox.cpu_cloud import api as cpu_cloud_api
from sandbox.cpu_cloud.cloud import CpuCloud
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.hosts import BootFailed, Host
from sandbox.marketplace.api import create_app
from sandbox.marketplace.market import Market
from sandbox.marketplace.profiles import PROFILES
from sandbox.records import Records
from sandbox.state import StateDir
from sandbox.toxics.machines import ProxiedHost


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.programs.market", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="the state directory of the cloud")
    state = StateDir(parser.parse_args().state_dir)
    if not state.has_config():
        print(f"{state.root} holds no cloud yet. `python -m sandbox up` makes one.", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    config, secret = state.config(), state.secrets()
    if config.profile not in PROFILES:
        print(f"There is no profile {config.profile!r}; use {' or '.join(PROFILES)}.", file=sys.stderr)
        return 2
    lock = (state.root / "market.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however this process ends
    except BlockingIOError:
        print(f"Another market is running on {state.root}.", file=sys.stderr)
        return 2
    try:
        host = ProxiedHost(state.machines, config, secret) if config.proxies else Host(state.machines)
    except BootFailed as error:
        print(error, file=sys.stderr)
        return 2
    callers = {secret.vast_api_key: "user", secret.dumont_vast_api_key: "product"}
    faults, events = Faults(secret.admin_token, callers), Events(secret.admin_token)
    market = Market(Records(state.market_db), host, PROFILES[config.profile], config.seed, faults, events)
    market.keys.register(state.user_key.with_suffix(".pub").read_text())
    app = create_app(config, secret, market, faults, events)
    cpu_cloud = CpuCloud(Records(state.cpu_cloud_db), state.cpu_machines, PROFILES[config.profile], config.seed, events)
    cpu_cloud_api.install(app, config, secret, cpu_cloud)
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=config.ports.market,
        log_config=None,  # the one above; uvicorn's own would log each request with its query
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
