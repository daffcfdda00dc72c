"""What it costs to watch a failover: our waits and our proofs, against the time that the product takes by itself."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from figures import Figure, publish, run_suites
from rekindle import browsers, target
from rekindle.embedded import EmbeddedCloud
from rekindle.errors import Misconfigured
from rekindle.failover import Failover, Identity, follow
from rekindle.rented import RentedMachine
from rekindle.waiting import wait_until
from rekindle.workspace_files import create_test_files

FOLLOWED = 5  # failovers that are only followed
SYNCS = ("first_write_on_standby_sec", "standby_follows_sec")
ENABLED_WITHIN, OVER_WITHIN = 300.0, 900.0  # seconds, enough for the realistic profile too


def followed(opened: target.Target) -> list[Figure]:
    """Failovers one after the other, of the same workspace: our clock against the product's, and how late we are."""
    machine = opened.renter.rent(max_price=1.0, disk_gb=50)
    opened.machines[machine.id] = machine
    opened.dumont.configure_hibernation(machine.id, auto_hibernation_enabled=False)
    create_test_files(machine.machine, "/workspace", opened.run_id)
    standby = opened.standbys.enable(machine, ENABLED_WITHIN)
    samples = []
    for _ in range(FOLLOWED):
        wait_until(
            "the standby to be in step", partial(opened.dumont.standby, machine.id),
            lambda view: view is not None and view.state == "ready", timeout=ENABLED_WITHIN,
        )  # fmt: skip
        failover = _fail_over(opened, machine)
        noticed = time.time()
        claim = failover.claim
        assert claim is not None and claim.total_seconds and claim.new_id  # noqa: S101, PT018 - it has succeeded
        lag = noticed - claim.phases[-1].entered_at
        samples.append((failover.wall_seconds, failover.wall_seconds / claim.total_seconds, lag))
        opened.destroyer.prove_gone(machine)
        machine = opened.machines[claim.new_id] = opened.renter.arrived(failover.expected, claim.new_id)
    opened.destroyer.destroy_and_prove(machine)
    opened.standbys.prove_gone(standby, OVER_WITHIN)
    wall, ratio, lag = map(statistics.median, zip(*samples, strict=True))
    return [
        Figure("failover, followed by us", wall, FOLLOWED, ratio, "1.1 x"),
        Figure("noticing that it is over", lag, FOLLOWED, wanted="0.1 s"),
    ]


def _fail_over(opened: target.Target, machine: RentedMachine) -> Failover:
    """One failover by order, followed to its end."""
    expected = opened.renter.expect(machine.label, what="the next machine", max_price=2 * machine.hourly_usd)
    failover = Failover(machine, Identity.of(machine), expected)
    failover.begin()
    number = failover.id = opened.dumont.fail_over(machine.id)
    follow(failover, lambda: opened.dumont.failover(number), lambda _: None, lambda _: None, OVER_WITHIN)
    return failover


def proven(folder: Path, rounds: int, *options: str) -> list[Figure]:
    """The suite in which the market takes a machine away: from its loss to the last proof."""
    reports = []
    for number in range(rounds):
        run_suites(folder / str(number), "--suite", "Automatic Failover", *options)
        reports.append(_report(folder / str(number), "automatic_failover"))
    totals = [report["timings"]["total_sec"] for report in reports]
    return [
        _figure("failover with all its proofs", reports, ("failover_sec", "proof_sec"), ("standby_follows_sec",)),
        Figure("the whole automatic journey", statistics.median(totals), rounds),
    ]


def on_the_page(folder: Path, *options: str) -> list[Figure]:
    """A person's journey; its failover is ordered by a click, and all is proven within that step."""
    try:
        browsers.choose(None, "http://127.0.0.1/")
    except Misconfigured as missing:
        print(missing)
        return []
    run_suites(folder, "--suite", "Complete Failover", *options)
    report = _report(folder, "failover_complete_system")
    return [
        _figure("failover on the page, with proofs", [report], ("manual_failover_sec",), SYNCS),
        Figure("the whole journey on the page", report["timings"]["total_sec"], 1),
    ]


def _figure(name: str, reports: Sequence[dict[str, Any]], steps: Sequence[str], syncs: Sequence[str]) -> Figure:
    """The seconds of some steps, against those in which the product was at work or at rest in the same run: its phases,
    and the syncs of the standby that the steps wait for, whose pace the product sets."""
    ours = [sum(report["timings"][step] for step in steps) for report in reports]
    products = [report["failover"]["total_sec"] + sum(report["metrics"][sync] for sync in syncs) for report in reports]
    ratios = [seconds / product for seconds, product in zip(ours, products, strict=True)]
    return Figure(name, statistics.median(ours), len(reports), statistics.median(ratios), "1.1 x")


def _report(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(next(folder.glob(f"{name}_report_*.json")).read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=("instant", "realistic"), default="instant", help="of the embedded cloud")
    parser.add_argument("--rounds", type=int, default=3, help="runs of the suite")
    wanted = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rekindle-benchmark-"))
    cloud = EmbeddedCloud(folder / "cloud")
    options = ("--variable", f"STATE_DIR:{folder / 'cloud'}")
    with ExitStack() as at_the_end:
        at_the_end.callback(cloud.remove)
        cloud.up(profile=wanted.profile)
        at_the_end.callback(target.close)
        figures = followed(target.open_target("sandbox", budget_usd=10.0, state_dir=folder / "cloud"))
        target.close()
        figures += proven(folder / "proven", wanted.rounds, *options)
        figures += on_the_page(folder / "page", *options)
    publish(f"journey_{wanted.profile}", figures)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
