"""`python -m tests.leak`: runs of all suites are killed at random moments. Is anything left, and for how long?"""

from __future__ import annotations

import argparse
import json
import math
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from sandbox.state import write_private
from tests.cloud_under_test import PROJECT_DIR
from tests.leak.trials import LOST_AFTER, WITHIN, Ground, Killed, Outcome, Plan, Stopped, plans, suites

RESULTS = PROJECT_DIR / "results" / "leak.json"
EXIT_LEAKED, EXIT_INTERRUPTED = 1, 130
# Seconds; the last column is what is slower.
STEPS = (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0, 30.0, 60.0)


def main() -> int:
    options = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    names = options.suite or list(suites())
    begun = time.monotonic()
    experiment = Experiment(names, plans(names, options.moments, options.seed), options.workers)
    try:
        experiment.run()
    except KeyboardInterrupt:
        experiment.stop()
        print("Interrupted: nothing was written.", file=sys.stderr)
        return EXIT_INTERRUPTED
    found = finding(experiment, options.seed, time.monotonic() - begun)
    write_private(RESULTS, json.dumps(found, indent=1, ensure_ascii=False))
    for line in summary(found):
        print(line)
    return EXIT_LEAKED if found["leaks"] or found["troubles"] or not experiment.outcomes else 0


class Experiment:
    """All trials, on several clouds at a time."""

    def __init__(self, names: Sequence[str], trials: Sequence[Plan], workers: int) -> None:
        self.outcomes: list[Outcome] = []
        self.troubles: list[str] = []
        self.durations: dict[str, float] = {}
        self._all = len(trials)
        self._measures = _queue(names)
        self._measured = threading.Barrier(min(workers, len(trials)))
        self._waiting = _queue(trials)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(self._measured.parties)]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Calls it off; returns when nothing of it is left."""
        self._stop.set()
        self._measured.abort()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        ground = Ground(self._stop, self.durations)
        mine: list[Outcome] = []
        try:
            for name in _all_of(self._measures):
                self._note(ground.measure(name))
                print(f"{name} takes {self.durations[name]:.1f} s", flush=True)
            self._measured.wait()
            for plan in _all_of(self._waiting):
                mine.append(ground.hold(plan))
                self._tell(mine[-1])
        except (Stopped, threading.BrokenBarrierError):
            ground.give_up()
            return
        except BaseException:
            self._measured.abort()
            self._stop.set()
            ground.give_up()
            raise
        self._note(ground.close(mine))

    def _tell(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
            number = len(self.outcomes)
        if outcome.trouble:
            self._note(f"trial {outcome.plan.number} ({outcome.plan.suite}): {outcome.trouble}")
        verdict = "LEAKED" if outcome.leaked else f"gone after {outcome.seconds:.1f} s"
        there = f"{len(outcome.there)} rented, {outcome.stored} stored"
        killed = f"{outcome.plan.killed} killed after {outcome.moment:.1f} s with {there}"
        print(f"{number}/{self._all} {outcome.plan.suite}, {killed}: {verdict} {outcome.trouble}", flush=True)

    def _note(self, trouble: str | None) -> None:
        if trouble:
            with self._lock:
                self.troubles.append(trouble)


def finding(experiment: Experiment, seed: int, seconds: float) -> dict[str, Any]:
    """Everything, for programs: how long it took until nothing was left, by what was killed."""
    outcomes = sorted(experiment.outcomes, key=lambda outcome: outcome.plan.number)
    return {
        "moments": len(outcomes),
        "with_something_rented": sum(bool(outcome.runs) for outcome in outcomes),
        "with_something_stored": sum(bool(outcome.stored) for outcome in outcomes),
        "leaks": [_row(outcome) for outcome in outcomes if outcome.leaked],
        "troubles": experiment.troubles,
        "seconds_until_gone": {
            killed: _distribution([o.seconds for o in outcomes if o.plan.killed == killed and o.runs], WITHIN[killed])
            for killed in get_args(Killed)
        },
        "seconds_until_not_stored": {
            killed: _distribution(
                [o.stored_seconds for o in outcomes if o.plan.killed == killed and o.stored], LOST_AFTER
            )
            for killed in get_args(Killed)
        },
        "suites": {
            suite: {"seconds": round(experiment.durations[suite], 1), "moments": count}
            for suite, count in sorted(Counter(outcome.plan.suite for outcome in outcomes).items())
        },
        "seed": seed,
        "seconds": round(seconds, 1),
        "trials": [_row(outcome) for outcome in outcomes],
    }


def _row(outcome: Outcome) -> dict[str, Any]:
    row = asdict(outcome)
    plan: dict[str, Any] = row.pop("plan")
    del row["killed_at"]
    return (
        plan
        | row
        | {"share": round(plan["share"], 4), "moment": round(outcome.moment, 2), "seconds": round(outcome.seconds, 2)}
    )


def _distribution(seconds: Sequence[float], limit: float) -> dict[str, Any]:
    ordered = sorted(seconds)
    if not ordered:
        return {"count": 0, "wanted_within": limit}
    histogram = {
        f"≤ {step:g} s": sum(low < one <= step for one in ordered)
        for low, step in zip((-math.inf, *STEPS), STEPS, strict=False)
    }
    return {
        "count": len(ordered),
        "wanted_within": limit,
        "median": round(ordered[len(ordered) // 2], 2),
        "p95": round(ordered[math.ceil(len(ordered) * 0.95) - 1], 2),
        "most": round(ordered[-1], 2),
        "histogram": {step: count for step, count in histogram.items() if count},
    }


def summary(found: dict[str, Any]) -> list[str]:
    """Everything, for people."""
    moments = f"{found['moments']} moments, {found['with_something_rented']} of them with something rented"
    lines = [f"{moments}; seconds until it was gone:", *_spread(found["seconds_until_gone"])]
    lines.append(f"{found['with_something_stored']} with a snapshot; seconds until none was in the bucket:")
    lines += _spread(found["seconds_until_not_stored"])
    lines += [
        f"LEAKED: trial {leak['number']}, {leak['suite']}, {leak['killed']} killed after {leak['moment']} s"
        for leak in found["leaks"]
    ]
    lines += [f"TROUBLE: {trouble}" for trouble in found["troubles"]]
    return [*lines, f"{len(found['leaks'])} leaks; {found['seconds']} s, seed {found['seed']}. See {RESULTS}"]


def _spread(distributions: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for killed, figures in distributions.items():
        if figures["count"]:
            spread = f"median {figures['median']}, 95 % {figures['p95']}, at most {figures['most']}"
            wanted = f"(wanted: {figures['wanted_within']:g})"
            lines.append(f"  {killed + ' killed:':<24} {figures['count']:>3} times, {spread} {wanted}")
            lines += [f"  {'':<24} {count:>3} {step}" for step, count in figures["histogram"].items()]
    return lines


def _queue(items: Sequence[Any]) -> queue.SimpleQueue[Any]:
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for item in items:
        waiting.put(item)
    return waiting


def _all_of(waiting: queue.SimpleQueue[Any]) -> Any:
    while True:
        try:
            yield waiting.get_nowait()
        except queue.Empty:
            return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.leak", description=__doc__)
    parser.add_argument("--moments", type=int, default=200, help="how many runs are killed (%(default)s)")
    parser.add_argument(
        "--workers", type=int, default=3, help="how many at a time, each on a cloud of its own (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="another one, other moments (%(default)s)")
    parser.add_argument(
        "--suite", action="append", choices=sorted(suites()), help="only this one; may be given several times"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
