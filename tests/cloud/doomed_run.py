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
from rekindle.guard import Guard
from rekindle.ledger import Ledger
from rekindle.market import MarketClient
from rekindle.renting import Renter
from rekindle.settings import Settings

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


def main() -> None:
    step = sys.argv[1]
    orders = json.loads(sys.stdin.readline())
    folder = Path(orders["folder"])
    settings = Settings.from_mapping(orders["environment"])
    assert settings.vast_url
    assert settings.vast_api_key
    dumont: Any = DumontClient(
        settings.dumont_api_url, settings.dumont_email, settings.dumont_password.get_secret_value()
    )
    market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
    ledger: Any = Ledger(folder / "ledger.db", "the cloud under test")
    budget = Budget(100)
    private_files = folder / "private"
    private_files.mkdir()
    (private_files / "credentials").write_text("of the run")
    guard = Guard(settings, ledger, RUN_ID, private_files)
    destroyer = Destroyer(dumont, market, ledger, budget)
    renter = Renter(
        dumont, market, ledger, guard, budget, destroyer, RUN_ID, folder / "known_hosts", settings.ssh_key_path
    )
    guard.ensure_ready()
    print(f"guard {guard.pid}", flush=True)

    if step == "after the intent":
        dumont.create_instance = die
    elif step == "during the create call":
        dumont.create_instance = during(dumont.create_instance, 0.5)
    elif step == "after the create call":
        dumont.create_instance = after(dumont.create_instance, die)
    elif step == "while it boots":
        ledger.created = after(ledger.created, wait_to_be_killed)
    elif step == "in the wait for its boot":
        threading.Timer(1, lambda: print("there", flush=True)).start()
    elif step == "during destroy":
        dumont.destroy = during(dumont.destroy, 0.5)
    elif step == "during the wake":
        machine = renter.rent(max_price=1, disk_gb=20)
        machine.machine.run("echo precious > /workspace/file")
        dumont.hibernate(machine.id)
        destroyer.prove_gone(machine)
        print("there", flush=True)
        renter.adopt(
            machine.label,
            lambda: int(dumont.wake(machine.id, 1).new_instance_id),
            what="a machine to wake",
            max_price=1,
        )
        wait_to_be_killed()
    machines = [renter.rent(max_price=1, disk_gb=20) for _ in range(5 if step == "with five machines" else 1)]
    if step == "during destroy":
        destroyer.destroy_and_prove(machines[0])
    if step == "at an orderly end":
        destroyer.destroy_and_prove(machines[0])
        print(guard.stand_down(), flush=True)
        return
    wait_to_be_killed()


if __name__ == "__main__":
    main()
