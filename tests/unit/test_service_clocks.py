"""Clocks of services: read from their answers, carried on by monotonic time, compared with this computer's."""

from __future__ import annotations

import time
from email.utils import formatdate

import httpx2
import pytest

from rekindle.clocks import TOLERANCE, ServiceClock, disagreement
from rekindle.market import MarketClient
from tests.unit.fake_cloud import clock_of

HOUR = 3600.0


def test_a_clock_that_agrees_is_not_mentioned() -> None:
    assert clock_of("the market", TOLERANCE - 5).disagreement() is None
    assert disagreement([clock_of("the market"), ServiceClock("the product")]) is None


@pytest.mark.parametrize("ahead", [-2 * HOUR, -TOLERANCE - 5, TOLERANCE + 5, 2 * HOUR])
def test_one_that_differs_is_named_with_both_times(monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    clock = ServiceClock("the market")
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    clock.read(formatdate(1_800_000_000 + ahead, usegmt=True))
    theirs = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(1_800_000_000 + ahead))
    assert disagreement([ServiceClock("another"), clock]) == (
        f"this computer's clock shows 2027-01-15 08:00:00 UTC, but that of the market {theirs}"
    )


@pytest.mark.parametrize("date", [None, "", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_an_answer_without_a_readable_date_shows_nothing(date: str | None) -> None:
    clock = ServiceClock("the market")
    clock.read(date)
    assert not clock.is_known
    assert abs(clock.now() - time.time()) < 1


def test_a_service_keeps_its_time_when_this_computers_clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_of("the market")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * HOUR)
    assert abs(clock.now() - now) < 5
    assert abs(clock.at(time.monotonic() - 100) - (now - 100)) < 5


@pytest.mark.parametrize(("headers", "known"), [({}, False), ({"age": "7000"}, False), (None, True)])
def test_answers_show_the_clock_except_cached_ones(headers: dict[str, str] | None, known: bool) -> None:
    dated = {"date": formatdate(usegmt=True)} | (headers or {}) if headers != {} else {}

    def handle(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"credit": 1}, headers=dated)

    with MarketClient("http://127.0.0.1:1", "key", transport=httpx2.MockTransport(handle)) as market:
        market.balance()
        assert (market.clock.owner, market.clock.is_known) == ("the market", known)


def test_a_bill_is_asked_for_in_the_markets_days(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.params.get("select_filters", ""))
        return httpx2.Response(200, json={"credit": 1, "results": []}, headers={"date": formatdate(usegmt=True)})

    with MarketClient("http://127.0.0.1:1", "key", transport=httpx2.MockTransport(handle)) as market:
        market.balance()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 10 * 24 * HOUR)
        market.statement(time.time() - 60)
    expected = int(now - 60 - 24 * HOUR)
    assert any(f'"gte": {second}' in asked[-1] for second in range(expected - 3, expected + 3)), asked[-1]
