"""The market's client: patient, honest, and never renting twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest

from sandbox.control.market_client import TOKEN, MarketClient, MarketError, OfferGone, Rent
from sandbox.control.offers import OfferQuery, search

T = TypeVar("T")
Answer = httpx2.Response | Exception
KEY = "ssh-ed25519 AAAA control"


class Market:
    """Answers with what the test has prepared; keeps what was asked."""

    def __init__(self, handle: Callable[[httpx2.Request], Answer]) -> None:
        self.asked: list[str] = []
        self._handle = handle

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        if request.url.path == "/api/v0/ssh/":
            return httpx2.Response(200, json=[{"public_key": KEY}])
        answer = self._handle(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def use(self, act: Callable[[MarketClient], Awaitable[T]]) -> T:
        async def run() -> T:
            client = MarketClient("http://market", "key", KEY, pause=0, transport=httpx2.MockTransport(self))
            try:
                return await act(client)
            finally:
                await client.close()

        return asyncio.run(run())


def row(instance_id: int, **fields: Any) -> dict[str, Any]:
    return {"id": instance_id, "actual_status": "running", "extra_env": [], **fields}


def in_turn(*answers: Answer) -> Callable[[httpx2.Request], Answer]:
    left = list(answers)
    return lambda _: left.pop(0)


RENT = Rent(image="image", disk=10)


def test_trouble_is_waited_out() -> None:
    busy = httpx2.Response(429, text="Too Many Requests", headers={"Retry-After": "0"})
    market = Market(in_turn(busy, httpx2.ConnectError("refused"), httpx2.Response(502), httpx2.Response(200, json={})))
    assert market.use(lambda client: client.account()) == {}
    assert len(market.asked) == 4


def test_trouble_that_stays_is_an_error_with_the_markets_words() -> None:
    market = Market(lambda _: httpx2.Response(500, json={"success": False, "msg": "the disk is on fire"}))
    with pytest.raises(MarketError, match=r"failed 4 times at the market; at last: 500: the disk is on fire") as raised:
        market.use(lambda client: client.instance(7))
    assert raised.value.status == 503


@pytest.mark.parametrize("work", ["account", "rent"])
@pytest.mark.parametrize(("asked", "told"), [({"Retry-After": "0"}, 0), ({}, None), ({"Retry-After": "?"}, None)])
def test_a_rate_limit_that_stays_is_told_as_one(work: str, asked: dict[str, str], told: float | None) -> None:
    def handle(request: httpx2.Request) -> Answer:
        if request.method == "GET" and work == "rent":
            return httpx2.Response(200, json={"instances": []})
        return httpx2.Response(429, headers=asked)

    market = Market(handle)
    with pytest.raises(MarketError, match="failed 4 times") as raised:
        market.use(lambda client: client.rent(1, RENT) if work == "rent" else client.account())
    assert (raised.value.status, raised.value.retry_after) == (429, told)


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(404),
        httpx2.Response(200, json={"instances": None}),
        httpx2.Response(200, json={"instances": []}),
    ],
)
def test_missing_is_none(answer: httpx2.Response) -> None:
    assert Market(lambda _: answer).use(lambda client: client.instance(7)) is None


def test_a_refusal_is_not_missing() -> None:
    with pytest.raises(MarketError, match="403"):
        Market(lambda _: httpx2.Response(403)).use(lambda client: client.instance(7))


def test_all_pages_or_an_error() -> None:
    pages = {None: {"instances": [row(1)], "next_token": "b"}, "b": {"instances": [row(2)], "next_token": None}}
    market = Market(lambda request: httpx2.Response(200, json=pages[request.url.params.get("after_token")]))
    assert [one.id for one in market.use(lambda client: client.instances())] == [1, 2]
    broken = Market(
        lambda request: (
            httpx2.Response(500) if request.url.params.get("after_token") else httpx2.Response(200, json=pages[None])
        )
    )
    with pytest.raises(MarketError):
        broken.use(lambda client: client.instances())


@pytest.mark.parametrize("lost", [httpx2.ReadError("cut"), httpx2.Response(503)])
def test_a_rent_whose_answer_is_lost_is_found_not_repeated(lost: Answer) -> None:
    found = row(5, extra_env=[["-p 8080:8080", "1"], [TOKEN, RENT.token]])

    def handle(request: httpx2.Request) -> Answer:
        return lost if request.method == "PUT" else httpx2.Response(200, json={"instances": [row(4), found]})

    market = Market(handle)
    assert market.use(lambda client: client.rent(1, RENT)) == 5
    assert market.asked.count("PUT /api/v0/asks/1/") == 1


def test_a_rent_that_never_came_is_repeated() -> None:
    answers: list[Answer] = [
        httpx2.ReadError("cut"),
        httpx2.Response(429),
        httpx2.Response(200, json={"new_contract": 6}),
    ]

    def handle(request: httpx2.Request) -> Answer:
        return answers.pop(0) if request.method == "PUT" else httpx2.Response(200, json={"instances": []})

    market = Market(handle)
    assert market.use(lambda client: client.rent(1, RENT)) == 6
    kinds = [asked.split()[0] for asked in market.asked if "ssh" not in asked]
    assert kinds == ["PUT", "GET", "PUT", "GET", "PUT"]  # looked for it before each repetition


@pytest.mark.parametrize(
    ("status", "words", "error", "told"),
    [
        (404, "no such ask", OfferGone, 404),
        (400, "ask is not available", OfferGone, 409),
        (410, "no longer available", OfferGone, 409),
        (400, "insufficient credit", MarketError, 402),
        (402, "pay first", MarketError, 402),
        (403, "who are you", MarketError, 502),
    ],
)
def test_why_a_rent_is_refused(status: int, words: str, error: type[MarketError], told: int) -> None:
    market = Market(lambda _: httpx2.Response(status, json={"success": False, "msg": words}))
    with pytest.raises(error, match=words) as raised:
        market.use(lambda client: client.rent(1, RENT))
    assert type(raised.value) is error
    assert raised.value.status == told
    assert market.asked.count("PUT /api/v0/asks/1/") == 1


def test_destroyed_means_no_longer_there() -> None:
    answers: list[Answer] = [
        httpx2.Response(200, json={"success": True}),
        httpx2.Response(200, json={"instances": row(7)}),
        httpx2.Response(200, json={"instances": None}),
    ]
    market = Market(in_turn(*answers))
    market.use(lambda client: client.destroy(7))
    assert [asked.split()[0] for asked in market.asked] == ["DELETE", "GET", "GET"]


def test_destroyed_in_words_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.control.market_client.GONE_WITHIN", 0)
    market = Market(lambda _: httpx2.Response(200, json={"success": True, "instances": row(7)}))
    with pytest.raises(
        MarketError, match=r"accepted to destroy instance 7, but 0 s later it still lists it as running"
    ):
        market.use(lambda client: client.destroy(7))


def test_offers_are_asked_for_in_the_markets_language() -> None:
    offers = [
        {"id": 1, "num_gpus": 1, "gpu_ram": 24576, "disk_space": 100, "dph_total": 0.3, "geolocation": "Sweden, SE"},
        {"id": 2, "num_gpus": 1, "gpu_ram": 24576, "disk_space": 100, "dph_total": 0.4, "geolocation": "Texas, US"},
    ]
    asked: list[dict[str, Any]] = []

    def handle(request: httpx2.Request) -> Answer:
        asked.append(json.loads(request.url.params["q"]))
        return httpx2.Response(200, json={"offers": offers})

    query = OfferQuery(gpu_name="RTX_4090", min_gpu_ram=16, max_price=0.5, region="eu", min_disk=20, min_inet_down=0)
    found = Market(handle).use(lambda client: search(client, query))
    assert [(offer.id, offer.gpu_ram) for offer in found] == [(1, 24)]
    assert asked == [
        {
            "rentable": {"eq": True},
            "num_gpus": {"eq": 1},
            "disk_space": {"gte": 20},
            "dph_total": {"lte": 0.5},
            "gpu_ram": {"gte": 16 * 1024},
            "gpu_name": {"eq": "RTX 4090"},
        }
    ]
    for region, expected in (("US", [2]), ("SE", [1]), ("Texas", [2]), ("MOON", [])):
        query.region = region
        assert [offer.id for offer in Market(handle).use(lambda client: search(client, query))] == expected
