"""`python -m tests.detection`: how many ways of lying does each suite catch, and does it ever cry wolf?"""

from __future__ import annotations

import argparse
import queue
import random
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sandbox.sabotage.saboteur import OWN, Saboteur, Unusable, saboteurs
from tests.cloud_under_test import PROJECT_DIR
from tests.detection import table
from tests.detection.trials import Ground, Outcome, Stopped, Trial

RESULTS = PROJECT_DIR / "results"
WORKERS = 4  # most of a run is waiting, so there may be more of them than processors
# For every day: one saboteur of each kind, on a suite that notices it soon, and an honest run of each of those suites.
# An ordinary user's account cannot let `owners_are_lost` act, and must say so.
EVERY_DAY = {
    "bill_is_too_low": "auto_hibernation",
    "destroyed_machine_lives": "many_files",
    "hash_tool_is_missing": "many_files",
    "owners_are_lost": "many_files",
    "pack_is_missing": "large_snapshot",
    "restore_drops_a_file": "many_files",
    "timings_are_flattered": "automatic_failover",
}
EXIT_FAILED, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130


def main() -> int:
    options = _parser().parse_args()
    folders = [OWN, *([options.saboteurs] if options.saboteurs else [])]
    try:
        known = {one.name: (one, folder / f"{one.name}.py") for folder in folders for one in saboteurs(folder)}
        chosen = _chosen(known, options.only)
        trials = _trials(chosen, options)
    except Unusable as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    begun = time.monotonic()
    experiment = Experiment(trials, options.workers)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing is left running
    try:
        experiment.run()
    except KeyboardInterrupt:
        experiment.stop()
        print("Interrupted: nothing was written.", file=sys.stderr)
        return EXIT_INTERRUPTED
    if experiment.trouble:
        print(experiment.trouble, file=sys.stderr)
        return EXIT_FAILED
    finding = table.found([one for one, _ in chosen], experiment.outcomes, time.monotonic() - begun)
    table.write(RESULTS, finding)
    print(
        f"{table.headline(finding)} ({table.summary(experiment.outcomes)}; {finding['seconds']} s). "
        f"See {RESULTS / 'detection.html'}"
    )
    return 0 if all(outcome.as_wanted for outcome in experiment.outcomes) else EXIT_FAILED


def _chosen(known: dict[str, tuple[Saboteur, Path]], only: Sequence[str]) -> list[tuple[Saboteur, Path]]:
    strangers = [name for name in only if name not in known]
    if strangers:
        raise Unusable(f"There is no saboteur {', '.join(strangers)}. There are: {', '.join(sorted(known))}.")
    suites = {file.stem for file in (PROJECT_DIR / "suites").rglob("*.robot")}
    chosen = [known[name] for name in only or sorted(known)]
    for one, _ in chosen:
        unknown = [suite for suite in one.suites if suite not in suites]
        if unknown:
            raise Unusable(
                f"{one.name}: there is no suite {', '.join(unknown)}. There are: {', '.join(sorted(suites))}."
            )
    return chosen


def _trials(chosen: Sequence[tuple[Saboteur, Path]], options: argparse.Namespace) -> list[Trial]:
    """Every saboteur on every suite that it can touch, and honest runs of those suites, well mixed."""
    repeat, honest = (1, len(set(EVERY_DAY.values()))) if options.quick else (options.repeat, options.honest)
    trials = []
    touched: dict[str, None] = {}
    for one, file in chosen:
        suites = [suite for suite in one.suites if not options.suite or suite in options.suite]
        for suite in suites if not options.quick else [suite for suite in suites if EVERY_DAY.get(one.name) == suite]:
            touched[suite] = None
            trials += [Trial(suite, one, file, number) for number in range(1, repeat + 1)]
    if not touched:
        if options.quick:
            raise Unusable(f"Nothing is left to run: --quick runs {', '.join(EVERY_DAY)} on one suite each.")
        raise Unusable(f"No chosen saboteur can touch {', '.join(options.suite)}.")
    names = list(touched)
    trials += [Trial(names[number % len(names)], number=number // len(names) + 1) for number in range(honest)]
    random.Random(1).shuffle(trials)  # noqa: S311 - the same order each time
    return trials


class Experiment:
    """All trials, on several clouds at a time."""

    def __init__(self, trials: Sequence[Trial], workers: int) -> None:
        self.outcomes: list[Outcome] = []
        self.trouble: str | None = None
        self._all = len(trials)
        self._waiting: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        for trial in trials:
            self._waiting.put(trial)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(min(workers, len(trials)))]

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def stop(self) -> None:
        """Calls it off; returns when nothing of it is left."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        ground = Ground(RESULTS / "detection", self._stop)
        try:
            while not self._stop.is_set():
                outcome = ground.hold(self._waiting.get_nowait())
                self.outcomes.append(outcome)
                self._say(outcome)
        except (queue.Empty, Stopped):
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must stop too
            self.trouble = f"{type(error).__name__}: {error}"
            self._stop.set()
        finally:
            ground.close()

    def _say(self, outcome: Outcome) -> None:
        name = str(outcome.trial)
        print(
            f"[{len(self.outcomes)}/{self._all}] {name:<56} {outcome.verdict:<12} {outcome.seconds:5.1f} s", flush=True
        )
        if outcome.as_wanted and outcome.obstacle:
            print(f"      {outcome.obstacle}", flush=True)
        elif not outcome.as_wanted:
            left = RESULTS / (outcome.folder or "")
            print(f"      {outcome.message}\n      acts: {outcome.acts[:3] or 'none'}; see {left}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.detection", description=__doc__)
    parser.add_argument("--saboteurs", type=Path, metavar="DIR", help="a folder with saboteurs of your own, besides")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this saboteur; may be repeated")
    parser.add_argument("--suite", action="append", default=[], metavar="NAME", help="on this suite; may be repeated")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of each pair that must agree")
    parser.add_argument("--honest", type=int, default=100, metavar="N", help="runs without a saboteur")
    parser.add_argument("--quick", action="store_true", help="one saboteur of each kind, once; few honest runs")
    parser.add_argument("--workers", type=int, default=WORKERS, metavar="N", help="runs at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
