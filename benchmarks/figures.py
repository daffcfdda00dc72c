"""What benchmarks have in common: how a figure is told, and how it is kept."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """One measured figure; `ratio` is against the bare tool, or against the figure before it, where there is one."""

    name: str
    median: float
    rounds: int
    ratio: float | None = None
    wanted: str = ""
    unit: str = "s"


def seconds_of(action: Callable[[], object]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def run_suites(folder: Path, *options: str) -> float:
    """Runs suites to their end, with their reports in the folder. Returns the most memory that the process held, MB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "robot", "--outputdir", str(folder), *options, "suites"],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    while process.poll() is None:
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"The suites failed: look at {folder}/log.html")
    return peak / 1000


def table(figures: Sequence[Figure]) -> str:
    rows = [f"{'figure':<32} {'median':>10} {'ratio':>7} {'wanted':>8}"]
    for figure in figures:
        ratio = f"{figure.ratio:.2f} x" if figure.ratio else ""
        rows.append(f"{figure.name:<32} {figure.median:>7.3f} {figure.unit:<2} {ratio:>7} {figure.wanted:>8}")
    return "\n".join(rows)


def publish(name: str, figures: Sequence[Figure]) -> None:
    """Prints the table, and keeps the figures in `results/benchmark_<name>.json`."""
    print(table(figures))
    written = PROJECT / "results" / f"benchmark_{name}.json"
    written.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n")
