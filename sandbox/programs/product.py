"""`python -m sandbox.programs.product --state-dir D`: serves Dumont Cloud, API and page, on ports of 127.0.0.1."""

from __future__ import annotations

import argparse
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from sandbox.console import pages
from sandbox.control.app import build
from sandbox.ports import LOOPBACK
from sandbox.state import StateDir


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.programs.product", description="Serves Dumont Cloud.")
    parser.add_argument("--state-dir", type=Path, required=True, help="the cloud's state directory")
    state = StateDir(parser.parse_args().state_dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    ports = state.config().ports
    sockets = [socket.create_server((LOOPBACK, port), backlog=2048) for port in (ports.control, ports.console) if port]
    server = uvicorn.Server(
        uvicorn.Config(build(state, pages.install), access_log=False, log_config=None, timeout_graceful_shutdown=1)
    )
    server.run(sockets)
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
