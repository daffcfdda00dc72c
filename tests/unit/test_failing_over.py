"""What becomes of a failover that found no machine: weather, unless the market has some."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from library_parts import failing_over
from rekindle import target
from rekindle.errors import Mismatch, RekindleError, Weather
from rekindle.failover import Failover

TOLD = "Failover f1 failed in searching_gpu: no offers."


def judged(
    monkeypatch: pytest.MonkeyPatch,
    *,
    phase: str | None = "searching_gpu",
    shown: Sequence[int] = (),
    hidden: str | None = None,
) -> RekindleError:
    opened = SimpleNamespace(
        dumont=SimpleNamespace(offers=lambda **_: shown), renter=SimpleNamespace(hidden_offers=lambda *_: hidden)
    )
    monkeypatch.setattr(target, "current", lambda: opened)
    failover: Any = SimpleNamespace(
        claim=SimpleNamespace(failed_phase=phase),
        expected=SimpleNamespace(wish=SimpleNamespace(price=0.5, disk_gb=100)),
    )
    return failing_over._or_weather(cast(Failover, failover), Mismatch(TOLD))


def test_nothing_offered_is_weather(monkeypatch: pytest.MonkeyPatch) -> None:
    error = judged(monkeypatch)
    assert (type(error), str(error)) == (Weather, f"WEATHER: {TOLD}")


def test_offers_that_the_product_hides_are_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    error = judged(monkeypatch, hidden="asked twice, but the market has offers that fit: 1, 2, 3.")
    assert type(error) is Mismatch
    assert str(error) == (
        f"{TOLD} No offer is shown in Dumont Cloud, asked twice, but the market has offers that fit: 1, 2, 3."
    )


def test_what_failed_otherwise_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(judged(monkeypatch, shown=[1])) == TOLD
    assert str(judged(monkeypatch, phase="restoring")) == TOLD
