"""`python -m tests.concurrency`: several runs at once on one cloud. Is one of them red, and is anything left?"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from sandbox.state import write_private
from tests.cloud_under_test import PROJECT_DIR
from tests.concurrency.rounds import RUNS, Ground, Round, Stopped

RESULTS = PROJECT_DIR / "results" / "concurrency.json"
EXIT_FOUND, EXIT_INTERRUPTED = 1, 130


def main() -> int:
    options = _parser().parse_args()
    stop = threading.Event()
    for caught in (signal.SIGINT, signal.SIGTERM):
        signal.signal(caught, lambda *_: stop.set())  # everything that was started is ended in order
    begun = time.monotonic()
    rounds: list[Round] = []
    ground = Ground(stop)
    try:
        for number in range(1, options.rounds + 1):
            rounds.append(ground.hold(number))
            _tell(rounds[-1], options.rounds)
        swept = ground.sweep()
    except Stopped:
        print("Interrupted: nothing was written.", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        ground.close()
    found = finding(rounds, swept, time.monotonic() - begun)
    RESULTS.parent.mkdir(exist_ok=True)
    write_private(RESULTS, json.dumps(found, indent=1, ensure_ascii=False))
    for line in summary(found):
        print(line)
    return 0 if found["clean_rounds"] == len(rounds) > 0 and swept is None else EXIT_FOUND


def finding(rounds: list[Round], swept: str | None, seconds: float) -> dict[str, Any]:
    """Return everything, for programs."""
    return {
        "rounds": len(rounds),
        "clean_rounds": sum(held.is_clean for held in rounds),
        "runs": len(rounds) * len(RUNS),
        "false_alarms": sum(len(held.failures) for held in rounds),
        "sweep": swept,
        "seconds": round(seconds, 1),
        "held": [asdict(held) | {"seconds": round(held.seconds, 1)} for held in rounds],
    }


def summary(found: dict[str, Any]) -> list[str]:
    """Return everything, for people."""
    left = sum(len(held["left"]) for held in found["held"])
    alarms = f"{found['false_alarms']} false alarms in {found['runs']} runs"
    return [
        f"{found['rounds']} rounds: {alarms}, {left} machines, snapshots or objects left; {found['seconds']} s.",
        *([f"Sweep: {found['sweep']}"] if found["sweep"] else []),
        f"See {RESULTS}",
    ]


def _tell(held: Round, count: int) -> None:
    verdict = "clean" if held.is_clean else "NOT CLEAN"
    print(f"Round {held.number}/{count}: {verdict}, {held.seconds:.1f} s", flush=True)
    for name, why in held.failures.items():
        print(f"  FALSE ALARM {name}: {why}", flush=True)
    for what in held.left:
        print(f"  LEFT: {what}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.concurrency", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often all runs are started at once (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
