"""However a run dies, no machine of it is left on the cloud 10 s later; and nothing of anybody else is touched."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from rekindle.dumont import DumontClient
from rekindle.labels import Label, label_prefix, new_run_id
from rekindle.ledger import Ledger, State
from rekindle.market import MarketClient
from rekindle.objects import ObjectStore
from rekindle.repository_settings import repository_prefix
from rekindle.settings import Settings
from rekindle.sweeping import Sweeper, Swept
from rekindle.waiting import wait_until
from tests.cloud.doomed_run import RUN_ID
from tests.cloud_under_test import CloudUnderTest
from tests.nightly import nightly_but

LEFT_AFTER = 10.0
PATIENCE = 60.0
PREFIX = label_prefix(RUN_ID)


class Doomed:
    """A run in a process of its own, and the view of somebody who looks on."""

    def __init__(self, cloud: CloudUnderTest, folder: Path) -> None:
        self.folder = folder
        self._cloud = cloud
        settings = Settings.from_mapping(cloud.environment)
        assert settings.vast_url
        assert settings.vast_api_key
        self.market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
        self.dumont = DumontClient(
            settings.dumont_api_url, settings.dumont_email, settings.dumont_password.get_secret_value()
        )
        self.ledger = Ledger(folder / "ledger.db", "the cloud under test")
        self._store = ObjectStore(
            settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, settings.b2_application_key.get_secret_value()
        )
        self._repository = repository_prefix(settings)
        self._process: subprocess.Popen[str] | None = None
        self.guard = 0

    def start(self, step: str) -> None:
        with (self.folder / "errors").open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.cloud.doomed_run", step],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdin
        orders = {"environment": self._cloud.environment, "folder": str(self.folder)}
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        self.guard = int(self.line().removeprefix("guard "))

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process
        return self._process

    def line(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert line, (self.folder / "errors").read_text()
        return line

    def comes_there(self) -> None:
        assert self.line() == "there"

    def kill(self, signal_: int = signal.SIGKILL) -> None:
        self.process.send_signal(signal_)

    def dead(self) -> int:
        return self.process.wait(PATIENCE)

    def labels(self) -> list[str]:
        return [row.label or "" for row in self.market.instances()]

    def of_ours(self) -> list[str]:
        return [label for label in self.labels() if label.startswith(PREFIX)]

    def stored(self, folder: str = "snapshots") -> set[str]:
        return {one.key for one in self._store.list(f"{self._repository}/{folder}/")}

    def nothing_is_left(self) -> None:
        wait_until("the machines of the dead run to be gone", self.of_ours, lambda left: not left, timeout=LEFT_AFTER)

    def guard_has_ended(self) -> None:
        wait_until("the guard to end", lambda: psutil.pid_exists(self.guard), lambda there: not there, timeout=PATIENCE)

    def states(self) -> list[State]:
        return [rent.state for rent in self.ledger.rents(RUN_ID)]

    def sweep(self) -> Swept:
        return Sweeper(self.dumont, self.market, None, self.ledger).sweep()

    def close(self) -> None:
        if self._process:
            self._process.kill()
            with self._process:
                pass
        with contextlib.suppress(ProcessLookupError):
            if self.guard:
                os.kill(self.guard, signal.SIGKILL)
        for row in self.market.instances():
            self.market.destroy(row.id)
        self.market.close()
        self.dumont.close()


@pytest.fixture
def run(cloud: CloudUnderTest, tmp_path: Path) -> Iterator[Doomed]:
    doomed = Doomed(cloud, tmp_path)
    yield doomed
    doomed.close()


@pytest.fixture
def put_fault(cloud: CloudUnderTest) -> Iterator[Callable[..., None]]:
    """Puts a trouble on a part of the cloud, `VAST_URL` or `DUMONT_API_URL`; none is left."""
    headers = {"Authorization": f"Bearer {cloud.environment['SANDBOX_CONTROL_TOKEN']}"}
    with httpx2.Client(headers=headers, trust_env=False) as client:

        def put(part: str, **fault: object) -> None:
            url = f"{cloud.environment[part]}/_sandbox/faults"
            client.post(url, json={"name": f"trouble{id(fault)}", **fault}).raise_for_status()

        yield put
        for part in ("VAST_URL", "DUMONT_API_URL"):
            client.delete(f"{cloud.environment[part]}/_sandbox/faults").raise_for_status()


def test_killed_after_the_intent(run: Doomed) -> None:
    run.start("after the intent")
    assert run.dead() == -signal.SIGKILL
    assert run.states() == [State.INTENDED]
    run.nothing_is_left()


def test_killed_during_the_create_call(run: Doomed, put_fault: Callable[..., None]) -> None:
    put_fault("VAST_URL", kind="delay", match="^PUT /api/v0/asks/", seconds=2)
    run.start("during the create call")
    assert run.dead() == -signal.SIGKILL
    wait_until("the machine to come after its run's death", run.of_ours, bool, timeout=PATIENCE)
    run.nothing_is_left()


def test_killed_after_the_create_call(run: Doomed) -> None:
    run.start("after the create call")
    assert run.dead() == -signal.SIGKILL
    run.nothing_is_left()


def test_killed_while_it_boots(run: Doomed, put_fault: Callable[..., None]) -> None:
    put_fault("VAST_URL", kind="machine", machine="boot_hangs")
    run.start("while it boots")
    run.comes_there()
    run.kill()
    run.nothing_is_left()
    run.guard_has_ended()
    assert run.states() == [State.DESTROYED]


def test_killed_while_machines_run(run: Doomed) -> None:
    run.start("with five machines")
    run.comes_there()
    run.kill()
    assert len(run.of_ours()) == 5
    run.nothing_is_left()
    run.guard_has_ended()
    assert run.states() == [State.DESTROYED] * 5
    assert not (run.folder / "private").exists()


def test_killed_during_destroy(run: Doomed, put_fault: Callable[..., None]) -> None:
    put_fault("DUMONT_API_URL", kind="delay", match="^DELETE /api/v1/instances/", seconds=4)
    run.start("during destroy")
    assert run.dead() == -signal.SIGKILL
    run.nothing_is_left()


def test_killed_while_the_product_wakes_a_machine(run: Doomed, put_fault: Callable[..., None]) -> None:
    run.start("during the wake")
    run.comes_there()
    put_fault("VAST_URL", kind="machine", machine="boot_hangs")
    wait_until("the new machine to be rented", run.of_ours, bool, timeout=PATIENCE)
    run.kill()
    run.nothing_is_left()


@pytest.mark.parametrize(
    ("step", "comes_there"),
    [
        ("with a snapshot", True),
        ("after the snapshot call", False),
        ("during the snapshot", False),
        ("after a hibernation", True),
    ],
)
def test_a_killed_run_leaves_no_snapshot(run: Doomed, step: str, comes_there: bool) -> None:
    before, packs = run.stored(), run.stored("data")
    run.start(step)
    if comes_there:
        run.comes_there()
        assert len(run.stored() - before) == 1
        run.kill()
    else:
        assert run.dead() == -signal.SIGKILL
    run.nothing_is_left()
    run.guard_has_ended()
    assert run.stored() == before
    # The product prunes what a backup that was cut off had stored.
    wait_until("all data to be gone", lambda: run.stored("data") - packs, lambda left: not left, timeout=PATIENCE)


@pytest.mark.nightly
def test_interrupted_while_it_boots(run: Doomed, put_fault: Callable[..., None]) -> None:
    put_fault("VAST_URL", kind="machine", machine="boot_hangs")
    run.start("in the wait for its boot")
    run.comes_there()
    run.kill(signal.SIGINT)
    assert run.dead() != 0
    run.nothing_is_left()
    run.guard_has_ended()
    assert run.states() == [State.DESTROYED]


@pytest.mark.parametrize("ending", nightly_but(signal.SIGTERM, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
def test_ended_by_a_signal_while_a_machine_runs(run: Doomed, ending: signal.Signals) -> None:
    run.start("with a machine")
    run.comes_there()
    run.kill(ending)
    assert run.dead() != 0
    run.nothing_is_left()


def test_the_guard_outlives_the_signals_of_a_terminal(run: Doomed) -> None:
    run.start("with a machine")
    run.comes_there()
    assert os.getsid(run.guard) == run.guard
    for ending in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        os.kill(run.guard, ending)
    run.kill()
    run.nothing_is_left()


def test_a_product_that_refuses_everything_does_not_save_the_machine(
    run: Doomed, put_fault: Callable[..., None]
) -> None:
    run.start("with a machine")
    run.comes_there()
    put_fault("DUMONT_API_URL", kind="answer", match="", status=503)
    run.kill()
    run.nothing_is_left()


def test_a_storm_of_429_does_not_save_the_machine(run: Doomed, put_fault: Callable[..., None]) -> None:
    run.start("with a machine")
    run.comes_there()
    for part in ("DUMONT_API_URL", "VAST_URL"):
        put_fault(part, kind="answer", match="", status=429, times=5)
    run.kill()
    # The storm also meets the onlooker, whose client waits it out.
    run.guard_has_ended()
    assert run.of_ours() == []
    assert run.states() == [State.DESTROYED]


def test_the_next_run_destroys_what_is_left_when_the_guard_was_killed_too(run: Doomed) -> None:
    strangers = ["rekindle-doomed2-1", "somebody else's"]
    for offer, label in zip(run.dumont.offers(max_price=1), strangers, strict=False):
        run.dumont.create_instance(offer.id, label, 20)
    run.start("with a machine")
    run.comes_there()
    os.kill(run.guard, signal.SIGKILL)
    run.kill()
    run.dead()
    assert len(run.of_ours()) == 1
    assert [*run.sweep().cleared.destroyed.values()] == [f"{PREFIX}1-30m"]
    assert sorted(run.labels()) == strangers
    assert run.sweep().ended_nothing


def test_what_a_computer_has_left_that_lost_its_power_is_found_in_its_ledger(run: Doomed) -> None:
    """The ledger is as it stood on the disk, beside a journal that ends in the middle of a write."""
    left = run.folder / "disk"
    left.mkdir()
    run.start("with a machine")
    run.comes_there()
    for name in ("ledger.db", "ledger.db-journal"):
        shutil.copy(run.folder / name, left / name)
    with (left / "ledger.db-journal").open("ab") as journal:
        assert journal.tell() > 0
        journal.write(b"\xff" * 1000)
    os.kill(run.guard, signal.SIGKILL)
    run.kill()
    run.dead()
    assert len(run.of_ours()) == 1
    ledger = Ledger(left / "ledger.db", "the cloud under test")
    swept = Sweeper(run.dumont, run.market, None, ledger).sweep()
    assert [*swept.cleared.destroyed.values()] == [f"{PREFIX}1-30m"]
    assert run.of_ours() == []
    assert ledger.open_rents() == []


def test_another_computer_destroys_what_is_older_than_its_label_allows(
    run: Doomed, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = (Label(new_run_id(), 1, minutes) for minutes in (0, 30))
    for offer, label in zip(run.dumont.offers(max_price=1), (old, young, "rekindle-mine"), strict=False):
        run.dumont.create_instance(offer.id, str(label), 20)
    monkeypatch.setattr("rekindle.sweeping.SLACK", 0)
    sweeper = Sweeper(run.dumont, run.market, None, Ledger(run.folder / "empty.db", "the cloud under test"))
    swept = sweeper.sweep()
    assert [one.seen.label for one in swept.found] == [str(old)]
    assert sorted(one.seen.label for one in swept.kept) == [str(young), "rekindle-mine"]
    assert sorted(run.labels()) == [str(young), "rekindle-mine"]
    assert sweeper.sweep().ended_nothing
    (cost,) = sweeper.account(swept).usd.values()
    assert cost is not None


@pytest.mark.parametrize("what", nightly_but("died", ["died", "hung"]))
def test_a_guard_that_is_no_more_is_replaced_before_the_next_rent(run: Doomed, what: str) -> None:
    run.start(f"after its guard {what}")
    assert run.line() == f"guard {run.guard}"
    first, run.guard = run.guard, int(run.line().removeprefix("guard "))
    assert run.guard != first
    assert not psutil.pid_exists(first)
    run.comes_there()
    run.kill()
    run.nothing_is_left()


def test_a_machine_that_outlives_its_minutes_is_destroyed_while_its_run_lives(run: Doomed) -> None:
    run.start("for too long")
    machine = run.line()
    run.comes_there()
    assert run.of_ours() == []
    assert run.line() == (
        f"Run doomed kept machines for longer than money was reserved, and the guard destroyed them while it went on: "
        f"{machine} ({PREFIX}1-1m, 0.1 min). Allow more: --variable MACHINE_MINUTES:60. "
        f"Log: {run.folder / 'ledger.guard.log'}."
    )
    assert run.dead() == 0
    assert run.states() == [State.DESTROYED]


@pytest.mark.nightly
def test_a_volume_goes_with_its_machine_although_the_product_does_nothing(
    run: Doomed, put_fault: Callable[..., None]
) -> None:
    run.start("with a volume")
    run.comes_there()
    assert [volume.label for volume in run.market.volumes()] == [f"{PREFIX}1-30m"]
    put_fault("DUMONT_API_URL", kind="answer", match="^DELETE ", status=200, body={"success": True})
    # Its background work deletes the volume too, but for this.
    put_fault("VAST_URL", kind="answer", match="^DELETE /api/v0/volumes/", status=503, times=3)
    run.kill()
    run.nothing_is_left()
    wait_until("the volume to be gone", run.market.volumes, lambda there: not there, timeout=LEFT_AFTER)


def test_an_orderly_end_leaves_neither_machine_nor_guard(run: Doomed) -> None:
    run.start("at an orderly end")
    assert run.line() == "nothing was left"
    assert run.dead() == 0
    assert not psutil.pid_exists(run.guard)
    assert run.states() == [State.DESTROYED]


def test_no_credential_is_shown_by_the_guard(run: Doomed, cloud: CloudUnderTest) -> None:
    run.start("with a machine")
    run.comes_there()
    guard = psutil.Process(run.guard)
    shown = " ".join([*guard.cmdline(), *(f"{name}={value}" for name, value in guard.environ().items())])
    run.kill()
    run.guard_has_ended()
    shown += (run.folder / "ledger.guard.log").read_text()
    assert "destroyed" in shown
    for name in ("DUMONT_PASSWORD", "VAST_API_KEY", "B2_APPLICATION_KEY", "RESTIC_PASSWORD"):
        assert cloud.environment[name] not in shown
