"""What a person reads after a sweep on a computer whose clock is wrong."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rekindle import target
from rekindle.clearing import MARKET
from rekindle.errors import Unknown
from rekindle.snapshot_sweeping import SweptSnapshots
from rekindle.sweeping import Swept
from SweepLibrary import SweepLibrary

CLOCKS = "The age of what other runs have left cannot be judged, so it stays: clocks differ."


@pytest.mark.parametrize("store_refuses", [True, False])
def test_a_wrong_clock_is_the_first_thing_that_is_told(monkeypatch: pytest.MonkeyPatch, store_refuses: bool) -> None:
    def sweep() -> SweptSnapshots:
        if store_refuses:
            raise Unknown("the store refuses requests whose time is skewed")
        return SweptSnapshots()

    opened = SimpleNamespace(
        sweeper=SimpleNamespace(sweep=lambda: Swept({MARKET: 1}, clocks=CLOCKS)),
        snapshot_sweeper=SimpleNamespace(sweep=sweep),
        swept=None,
        swept_snapshots=None,
    )
    monkeypatch.setattr(target, "current", lambda: opened)
    monkeypatch.setattr("SweepLibrary.tell", lambda _: None)
    with pytest.raises(Unknown) as raised:
        SweepLibrary().sweep_leftovers()
    assert str(raised.value) == f"UNKNOWN: {CLOCKS} Set the clock right, or sweep from another computer."
