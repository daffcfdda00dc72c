"""`robot --include sweep suites`, as a person starts it who wonders whether something is left over."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from rekindle.clearing import MARKET
from rekindle.dumont import DumontClient
from rekindle.settings import Settings
from rekindle.waiting import wait_until
from tests.cloud_under_test import CloudUnderTest
from tests.suites_under_test import WITHIN, Stage

# A sweep rents nothing, so that no money is needed on a live target.
SWEEP = ("--include", "sweep", "--variable", "BUDGET_USD:0")
ONE_MACHINE = ("--test", "Machine Opens By SSH With Its Own Host Key")


def kill_with_guard(run: psutil.Process) -> None:
    for guard in [child for child in run.children() if "rekindle.guard" in child.cmdline()]:
        guard.kill()
    run.kill()


def leave_a_machine(stage: Stage, folder: Path) -> tuple[int, str]:
    """A run that is killed with its guard as soon as it has rented. Returns id and label of what it leaves."""
    before = stage.rented()
    with stage.sandbox(folder, *ONE_MACHINE).start() as process:
        rented = wait_until(
            "a machine to be rented", lambda: stage.rented().items() - before.items(), bool, timeout=WITHIN
        ).value
        kill_with_guard(psutil.Process(process.pid))
        process.communicate(timeout=WITHIN)
        assert process.returncode == -signal.SIGKILL
    ((id_, label),) = rented
    return id_, label


def rent_as_somebody_else(stage: Stage) -> None:
    settings = Settings.from_mapping(stage.cloud.environment)
    password = settings.dumont_password.get_secret_value()
    with DumontClient(settings.dumont_api_url, settings.dumont_email, password) as dumont:
        dumont.create_instance(dumont.offers(max_price=1)[0].id, "somebody else's", 20)


def report_of(ended: Any) -> Mapping[str, Any]:
    (report,) = ended.reports()
    swept: Mapping[str, Any] = report["swept"]
    return swept


def test_what_a_killed_run_left_is_destroyed_and_its_price_and_cost_are_told(stage: Stage, tmp_path: Path) -> None:
    rent_as_somebody_else(stage)
    id_, label = leave_a_machine(stage, tmp_path / "doomed")
    ended = stage.live(tmp_path / "sweep", *SWEEP).to_its_end()
    ended.passed()
    swept = report_of(ended)
    (row,) = swept["destroyed"]
    assert (row["id"], row["label"], row["where"]) == (str(id_), label, MARKET)
    assert row["hourly_usd"] > 0
    assert row["market_bill_usd"] > 0
    assert row["why"].endswith(" has ended")
    assert f"Destroyed: machine {id_} ({label}), ${row['hourly_usd']:.4f}/h: run " in ended.console
    assert list(stage.rented().values()) == ["somebody else's"]
    again = stage.live(tmp_path / "again", *SWEEP).to_its_end()
    again.passed()
    assert report_of(again) == {
        "looked_at": {MARKET: 1, "the marketplace's volumes": 0, "the CPU cloud": 0},
        "of_others": 1,
        "destroyed": [],
        "left": [],
    }


@pytest.mark.nightly
def test_the_machine_of_a_run_that_goes_on_is_not_touched(stage: Stage, tmp_path: Path) -> None:
    before = stage.rented()
    idle = ("--test", "Idle Machine Is Hibernated By The Product", "--variable", "IDLE_SECONDS:60")
    with stage.sandbox(tmp_path / "lasting", *idle).start() as process:
        ((id_, label),) = wait_until(
            "a machine to be rented", lambda: stage.rented().items() - before.items(), bool, timeout=WITHIN
        ).value
        ended = stage.sandbox(tmp_path / "sweep", *SWEEP).to_its_end()
        ended.passed()
        assert stage.rented()[id_] == label
        (left,) = report_of(ended)["left"]
        assert (left["id"], left["why"]) == (str(id_), "its run goes on")
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=WITHIN)
    wait_until(
        "its guard to clean up", lambda: stage.rented().keys() - before.keys(), lambda left: not left, timeout=10
    )


@pytest.mark.nightly
def test_an_account_that_shows_nothing_at_all_is_no_proof(own_cloud: CloudUnderTest, tmp_path: Path) -> None:
    own_cloud.up()
    stage = Stage(own_cloud)
    ended = stage.sandbox(tmp_path, *SWEEP).to_its_end()
    stage.close()
    (message,) = ended.failures.values()
    assert message == (
        "UNKNOWN: Nothing was looked at: no machine is listed, and none is on the bill of the last 7 days. So nobody "
        "can tell whether this is the account on which the machines of Dumont Cloud are rented. Check VAST_API_KEY, or "
        "rent one: robot --include smoke suites"
    )
    assert json.loads(next(tmp_path.glob("sweep_report_*.json")).read_text())["validation"]["success"] is False


def test_a_wrong_key_for_the_market_is_told_before_anything_else(stage: Stage, tmp_path: Path) -> None:
    ended = stage.live(tmp_path, *SWEEP, VAST_API_KEY="wrong").to_its_end()
    url = stage.cloud.environment["VAST_URL"]
    (message,) = ended.failures.values()
    assert message.startswith(f"Parent suite setup failed:\nThe market at {url} refused the key: ")
    assert message.endswith(" Check VAST_API_KEY.")
