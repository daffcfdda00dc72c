"""`python -m sandbox.sabotage NAME|FILE`: lets a saboteur work on a running cloud until standard input ends."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import httpx2

from sandbox.cloud import Cloud
from sandbox.sabotage.saboteur import OWN, Saboteur, Unusable, saboteur, saboteurs
from sandbox.sabotage.scene import Scene
from sandbox.state import DEFAULT_STATE_DIR, StateDir

READY = "ready"
EXIT_FAILED, EXIT_REFUSED = 1, 2


def main() -> int:
    options = _parser().parse_args()
    folders = [OWN, *([options.saboteurs] if options.saboteurs else [])]
    try:
        return _list(folders) if options.list else _work(saboteur(options.name or "", folders), options.state_dir)
    except Unusable as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED


def _list(folders: Iterable[Path]) -> int:
    for folder in folders:
        for one in saboteurs(folder):
            print(f"{one.name:<32} {one.breaks}\n{'':<32} on {', '.join(one.suites)}")
    return 0


def _work(chosen: Saboteur, state_dir: Path) -> int:
    cloud = Cloud(StateDir(state_dir))
    standing = cloud.standing() if cloud.state.has_config() else None
    if standing is None or standing.phase != "ready":
        print(f"The cloud in {cloud.state.root} is not up. Start it: {cloud.command('up')}", file=sys.stderr)
        return EXIT_FAILED
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    scene = Scene(cloud.state, _tell)
    try:
        chosen.sabotage(scene)
        _say(READY)
        sys.stdin.read()
    except httpx2.HTTPError as error:
        print(f"The cloud did not let {chosen.name} in: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        scene.close()
    return 0


def _tell(what: dict[str, str]) -> None:
    _say(json.dumps(what, ensure_ascii=False))


_one_at_a_time = threading.Lock()


def _say(line: str) -> None:
    with _one_at_a_time:
        print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.sabotage", description=__doc__)
    parser.add_argument("name", nargs="?", metavar="NAME|FILE", help="a saboteur, or the file of one (ends with .py)")
    parser.add_argument("--list", action="store_true", help="say which saboteurs there are, and what they break")
    parser.add_argument("--saboteurs", type=Path, metavar="DIR", help="a folder with saboteurs of your own, besides")
    parser.add_argument(
        "--state-dir", type=Path, default=DEFAULT_STATE_DIR, metavar="DIR", help="where the cloud keeps everything"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
