"""A run that rents machines and then dies at a chosen step. Started by the tests as a process of its own.

    python -m tests.cloud.doomed_run STEP <orders.json

It prints `guard PID` as soon as it has a guard, and `there` when it has come to the step at which it is to be killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rekindle.budget import Budget
from rekindle.destruction import Destroyer
from rekindle.dumont import DumontClient
from rekindle.errors import Mismatch
from rekindle.guard import Guard
from rekindle.guard_snapshots import Bucket
from rekindle.ledger import Ledger
from rekindle.market import MarketClient
from rekindle.rented import RentedMachine
from rekindle.renting import Renter
from rekindle.settings import Settings
from rekindle.snapshot_records import SnapshotRecord, SnapshotRecords
from rekindle.waiting import wait_until

RUN_ID = "doomed"


def die(*_: object, **__: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed processes do not come here")


def wait_to_be_killed() -> NoReturn:
    print("there", flush=True)
    while True:
        time.sleep(60)


def after(function: Callable[..., Any], then: Callable[[], NoReturn]) -> Callable[..., Any]:
    """The function, and death behind it."""

    def call(*arguments: Any, **options: Any) -> NoReturn:
        function(*arguments, **options)
        then()

    return call


def during(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """The function, and death while it runs."""

    def call(*arguments: Any, **options: Any) -> Any:
        threading.Timer(seconds, die).start()
        return function(*arguments, **options)

    return call


class Doomed:
    """The run, with everything that it needs to rent. Its steps end in death, or in waiting for it."""

    def __init__(self, orders: dict[str, Any]) -> None:
        folder = Path(orders["folder"])
        settings = Settings.from_mapping(orders["environment"])
        assert settings.vast_url
        assert settings.vast_api_key
        self.dumont: Any = DumontClient(
            settings.dumont_api_url, settings.dumont_email, settings.dumont_password.get_secret_value()
        )
        market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
        self.ledger: Any = Ledger(folder / "ledger.db", "the cloud under test")
        budget = Budget(100)
        private_files = folder / "private"
        private_files.mkdir()
        (private_files / "credentials").write_text("of the run")
        self.guard = Guard(settings, self.ledger, RUN_ID, private_files, bucket=Bucket.of(settings))
        self.snapshots = SnapshotRecords(self.ledger)
        self.destroyer = Destroyer(self.dumont, market, self.ledger, budget)
        self.renter = Renter(
            self.dumont,
            market,
            self.ledger,
            self.guard,
            budget,
            self.destroyer,
            RUN_ID,
            folder / "known_hosts",
            settings.ssh_key_path,
        )
        self.guard.ensure_ready()
        self.tell_guard()

    def tell_guard(self) -> int:
        print(f"guard {self.guard.pid}", flush=True)
        assert self.guard.pid
        return self.guard.pid

    def rent(self, **wishes: Any) -> RentedMachine:
        return self.renter.rent(max_price=1, disk_gb=20, **wishes)

    def with_a_machine(self) -> None:
        self.rent()
        wait_to_be_killed()

    def with_five_machines(self) -> None:
        for _ in range(5):
            self.rent()
        wait_to_be_killed()

    def intend_snapshot(self) -> SnapshotRecord:
        machine = self.rent()
        machine.machine.run("head -c 30000000 /dev/urandom > /workspace/file")
        return self.snapshots.intend(RUN_ID, machine.id, 30)

    def with_a_snapshot(self) -> None:
        record = self.intend_snapshot()
        self.snapshots.made(record.intent, self.dumont.snapshot(record.instance_id, tags=[record.tag]).snapshot_id)
        wait_to_be_killed()

    def during_the_snapshot(self) -> None:
        record = self.intend_snapshot()
        self.dumont.snapshot = during(self.dumont.snapshot, 0.3)
        self.dumont.snapshot(record.instance_id, tags=[record.tag])

    def after_the_snapshot_call(self) -> None:
        record = self.intend_snapshot()
        self.dumont.snapshot(record.instance_id, tags=[record.tag])
        die()

    def after_a_hibernation(self) -> None:
        machine = self.rent()
        machine.machine.run("echo precious > /workspace/file")
        self.dumont.hibernate(machine.id)
        self.destroyer.prove_gone(machine)
        wait_to_be_killed()

    def with_a_volume(self) -> None:
        self.rent(failover_strategy="regional_volume")
        wait_to_be_killed()

    def after_the_intent(self) -> None:
        self.dumont.create_instance = die
        self.rent()

    def during_the_create_call(self) -> None:
        self.dumont.create_instance = during(self.dumont.create_instance, 0.5)
        self.rent()

    def after_the_create_call(self) -> None:
        self.dumont.create_instance = after(self.dumont.create_instance, die)
        self.rent()

    def while_it_boots(self) -> None:
        self.ledger.created = after(self.ledger.created, wait_to_be_killed)
        self.rent()

    def in_the_wait_for_its_boot(self) -> None:
        threading.Timer(1, lambda: print("there", flush=True)).start()
        self.rent()

    def during_destroy(self) -> None:
        self.dumont.destroy = during(self.dumont.destroy, 0.5)
        self.destroyer.destroy_and_prove(self.rent())

    def during_the_wake(self) -> None:
        machine = self.rent()
        machine.machine.run("echo precious > /workspace/file")
        self.dumont.hibernate(machine.id)
        self.destroyer.prove_gone(machine)
        print("there", flush=True)
        self.renter.adopt(
            machine.label,
            lambda: int(self.dumont.wake(machine.id, 1).new_instance_id),
            what="a machine to wake",
            max_price=1,
        )
        wait_to_be_killed()

    def after_its_guard_died(self) -> None:
        os.kill(self.tell_guard(), signal.SIGKILL)
        self.rent()
        self.tell_guard()
        wait_to_be_killed()

    def after_its_guard_hung(self) -> None:
        os.kill(self.tell_guard(), signal.SIGSTOP)
        self.rent()
        self.tell_guard()
        wait_to_be_killed()

    def for_too_long(self) -> None:
        print(self.rent(minutes=0.1).id, flush=True)
        wait_until("the guard to end the machine", self.ledger.open_rents, lambda rents: not rents, timeout=60)
        print("there", flush=True)
        try:
            self.guard.stand_down()
        except Mismatch as told:
            print(told, flush=True)

    def at_an_orderly_end(self) -> None:
        self.destroyer.destroy_and_prove(self.rent())
        print(self.guard.stand_down(), flush=True)


def main() -> None:
    run = Doomed(json.loads(sys.stdin.readline()))
    getattr(run, sys.argv[1].replace(" ", "_"))()


if __name__ == "__main__":
    main()
