"""How fast the set-up, the suites and the evidence of phase 3 are, as medians and as ratios against the bare tools."""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2

from figures import Figure, publish, run_suites, seconds_of
from rekindle import target
from rekindle.embedded import EmbeddedCloud
from rekindle.manifest import take_manifest
from rekindle.rented import RentedMachine

ROUNDS = 5
FILES = 10_000

MANY_FILES = """
mkdir -p /workspace/many && cd /workspace/many
for folder in $(seq 100); do mkdir "$folder"; done
for number in $(seq "$1"); do printf 'file %s\n' "$number" > "$((number % 100 + 1))/part-$number"; done
"""
BARE = "cd /workspace && find . -type f -print0 | xargs -0 sha256sum"


def up_to_ready(folder: Path) -> Figure:
    """`up` of a cloud that was up before: what a person waits for who comes back."""
    cloud = EmbeddedCloud(folder / "up")
    cloud.up()
    cloud.down()
    samples = []
    for _ in range(ROUNDS):
        samples.append(seconds_of(cloud.up))
        cloud.down()
    return Figure("up to ready", statistics.median(samples), ROUNDS, wanted="2 s")


def warm_phase3(folder: Path) -> Figure:
    """The whole command that a user types, on a cloud that runs."""

    def run() -> None:
        run_suites(folder / "log", "--include", "phase3")

    run()
    samples = [seconds_of(run) for _ in range(3)]
    return Figure("phase 3, warm", statistics.median(samples), len(samples), wanted="15 s")


@contextmanager
def running_times(market_url: str, token: str) -> Iterator[dict[int, float]]:
    """Monotonic times at which the market recorded that a machine runs, by id: it tells its subscribers at once."""
    times: dict[int, float] = {}

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen_at = time.monotonic()
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            times[int(event["data"]["instance_id"])] = seen_at
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    headers = {"Authorization": f"Bearer {token}"}
    subscriptions = f"{market_url}/_sandbox/subscriptions"
    body = {"event": "machine.running", "url": f"http://127.0.0.1:{server.server_port}/"}
    httpx2.post(subscriptions, json=body, headers=headers, trust_env=False).raise_for_status()
    try:
        yield times
    finally:
        httpx2.delete(subscriptions, headers=headers, trust_env=False)
        server.shutdown()


def lag_of_ready(opened: target.Target) -> tuple[Figure, RentedMachine]:
    """How much later than the market our wait knows that a machine runs and a command can be given on it."""
    samples = []
    with running_times(opened.settings.vast_url or "", opened.embedded.control_token) as times:
        for _ in range(ROUNDS):
            machine = opened.renter.rent(max_price=1.0, disk_gb=50)
            samples.append(time.monotonic() - times[machine.id])
            opened.machines[machine.id] = machine
    for spare in list(opened.machines.values())[:-1]:
        opened.destroyer.destroy_and_prove(spare)
    return Figure('lag of "ready"', statistics.median(samples), ROUNDS, wanted="0.1 s"), machine


def manifest(machine: RentedMachine) -> Figure:
    """Our manifest of many files against what a person would type, on the same machine, in turn."""
    machine.machine.run(MANY_FILES, str(FILES))
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(seconds_of(lambda: machine.machine.run(BARE)))
        ours.append(seconds_of(lambda: take_manifest(machine.machine, "/workspace")))
    median = statistics.median(ours)
    return Figure(f"manifest of {FILES:,} files", median, ROUNDS, median / statistics.median(bare), wanted="1.2 x")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rekindle-benchmark-") as name:
        folder = Path(name)
        figures = [up_to_ready(folder)]
        opened = target.open_target("sandbox", budget_usd=5.0)
        try:
            lag, machine = lag_of_ready(opened)
            figures += [lag, manifest(machine)]
            opened.destroyer.destroy_and_prove(machine)
            figures.append(warm_phase3(folder))
        finally:
            target.close()
    publish("phase3", figures)


if __name__ == "__main__":
    main()
