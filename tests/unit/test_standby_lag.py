"""A standby that is said to be in step must hold what was written before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rekindle.budget import Reservation
from rekindle.errors import Mismatch, Unknown
from rekindle.failover_views import StandbyView, standby_view
from rekindle.rented import RentedMachine
from rekindle.standby import Standby, Standbys
from rekindle.waiting import Clock, Timeout

READY = standby_view({"gpu_instance_id": 7, "cpu_standby": {"name": "dumont-a-1"}, "state": "ready", "sync_count": 3})


class Place:
    """A GPU machine, its standby and the product, on a clock of their own. What is written arrives after `syncs`."""

    def __init__(self, claim: Callable[[float], float | None], syncs: float = 60.0) -> None:
        self.now, self.written_at, self.nonce = 1000.0, 0.0, ""
        self.claim, self.syncs = claim, syncs

    def run(self, _: str, *args: str, **__: Any) -> Any:
        if len(args) == 2:  # on the GPU machine
            self.written_at, self.nonce = self.now, args[1]
        arrived = self.now >= self.written_at + self.syncs
        return type("Ran", (), {"text": self.nonce if arrived else ""})

    def standby(self, _: int) -> StandbyView:
        return replace(READY, lag_seconds=self.claim(self.now - self.written_at))

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, timeout: float = 120.0) -> float:
        clock, anything, here = Clock(lambda: self.now, self.pause), None, Path()
        machine = RentedMachine(7, "rekindle-r1-1", "RTX A4000", 0.36, 0.0, 7, Reservation("", 0.0))
        machine.ssh = self  # type: ignore[assignment] # all that is asked of it
        standby = Standby(machine, "dumont-a-1", "z", 0.01, 0.0, 1, ssh=machine.ssh)
        standbys = Standbys(self, anything, anything, here, here, clock)  # type: ignore[arg-type]
        return standbys.wait_until_synced(standby, "/workspace", timeout).seconds


def test_one_that_says_how_old_it_is() -> None:
    assert Place(lambda since: since + 3.0 if since < 60 else 0.5).wait() == pytest.approx(60, abs=2)
    assert Place(lambda since: since - 0.9 if since < 60 else 0.5).wait() == pytest.approx(60, abs=2)


def test_one_that_is_older_than_it_says() -> None:
    with pytest.raises(Mismatch) as raised:
        Place(lambda _: 0.1).wait()
    assert re.fullmatch(
        r"Dumont Cloud says that standby dumont-a-1 of machine 7 is 0\.10 s behind, but /workspace/sync-test-\w{8}"
        r"\.txt, which was written 1\.1\d s before, was not on it\.",
        str(raised.value),
    )


def test_one_of_which_nothing_is_told() -> None:
    with pytest.raises(Timeout, match="a whole sync of standby dumont-a-1 of machine 7 that began after"):
        Place(lambda _: None, syncs=5.0).wait(timeout=10)


def test_a_product_that_is_away_while_it_syncs() -> None:
    def away(since: float) -> float:
        if since < 5:
            raise Unknown("Dumont API does not answer.")
        return 0.5

    assert Place(away, syncs=5.0).wait() == pytest.approx(5, abs=1)
