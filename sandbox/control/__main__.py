"""`python -m sandbox.control --state-dir D`: serves Dumont Cloud on its port of 127.0.0.1."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import uvicorn

from sandbox.control.app import build
from sandbox.state import StateDir


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.control", description="Serves Dumont Cloud.")
    parser.add_argument("--state-dir", type=Path, required=True, help="the cloud's state directory")
    state = StateDir(parser.parse_args().state_dir)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    uvicorn.run(
        build(state),
        host="127.0.0.1",
        port=state.config().ports.control,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
