"""The client of the market: the whole listing or an error, and a bill that is not guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from rekindle.errors import Misconfigured, Unknown
from rekindle.http import NotReachable, RateLimited
from rekindle.market import MOST_PAGES, Charge, MarketClient, MarketInstance

URL = "http://127.0.0.1:9000"
USER = "/api/v0/users/current/"
LIST = "/api/v1/instances/"
BILL = "/api/v0/charges/"

Handle = Callable[[httpx2.Request], httpx2.Response]


def market(handle: Handle) -> MarketClient:
    return MarketClient(URL, "k3y", pause=lambda _: None, transport=httpx2.MockTransport(handle))


def answering(answers: dict[str, Any]) -> MarketClient:
    def handle(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == "Bearer k3y"
        answer = answers[request.url.path]
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx2.Response(status, text=body) if isinstance(body, str) else httpx2.Response(status, json=body)

    return market(handle)


def row(instance_id: int, **more: Any) -> dict[str, Any]:
    return {
        "id": instance_id,
        "label": "rekindle-1",
        "intended_status": "running",
        "actual_status": "loading",
        "status_msg": "pulling",
        "gpu_name": "RTX A4000",
        "dph_total": 0.32,
        "disk_space": 50.0,
        "ssh_host": "127.0.0.1",
        "ssh_port": 2201,
        "machine_id": 44,
        "start_date": 1700000000.5,
        **more,
    }


def paged(rows: list[Any], size: int, key: str, **more: Any) -> tuple[Handle, list[httpx2.QueryParams]]:
    """A listing of `rows`, `size` a page; and the queries it was asked."""
    queries: list[httpx2.QueryParams] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        queries.append(request.url.params)
        begin = int(request.url.params.get("after_token", "0"))
        end = begin + size
        token = str(end) if end < len(rows) else None
        return httpx2.Response(200, json={key: rows[begin:end], "next_token": token, **more})

    return handle, queries


def test_one_machine() -> None:
    client = answering({"/api/v0/instances/7/": {"instances": row(7)}})
    assert client.instance(7) == MarketInstance(
        7,
        "rekindle-1",
        "running",
        "loading",
        "pulling",
        "RTX A4000",
        0.32,
        50.0,
        "127.0.0.1",
        2201,
        44,
        1700000000.5,
    )


def test_one_machine_in_a_list() -> None:
    machine = answering({"/api/v0/instances/7/": {"instances": [row(6), row(7)]}}).instance(7)
    assert machine
    assert machine.id == 7


@pytest.mark.parametrize("answer", [{"instances": None}, {"instances": []}, (404, {"msg": "no such instance"})])
def test_a_machine_that_does_not_exist(answer: Any) -> None:
    assert answering({"/api/v0/instances/7/": answer, USER: {"credit": 5, "balance": 0}}).instance(7) is None


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_is_not_a_missing_machine(status: int) -> None:
    refusal = (status, {"success": False, "msg": "Invalid user key"})
    client = answering({"/api/v0/instances/7/": refusal, USER: refusal})
    for use in (lambda: client.instance(7), lambda: client.destroy(7), client.balance):
        with pytest.raises(Misconfigured) as error:
            use()
        assert str(error.value) == f"The market at {URL} refused the key: Invalid user key. Check VAST_API_KEY."


def test_a_machine_that_cannot_be_asked_for_is_unknown() -> None:
    with pytest.raises(Unknown) as error:
        answering({"/api/v0/instances/7/": (500, {"msg": "oops"})}).instance(7)
    assert str(error.value) == (
        "UNKNOWN: It cannot be told whether machine 7 exists: "
        "Market API refused GET /api/v0/instances/7/ with 500: oops."
    )
    with pytest.raises(Unknown, match="has no `instances`"):
        answering({"/api/v0/instances/7/": {"success": True}}).instance(7)


# The listing


@pytest.mark.parametrize("count", [0, 1, 25, 26, 60])
def test_every_page_is_read(count: int) -> None:
    handle, queries = paged([row(n) for n in range(count)], 25, "instances", total_instances=count)
    assert [machine.id for machine in market(handle).instances()] == list(range(count))
    assert [query.get("after_token") for query in queries] == [None, "25", "50"][: len(queries)]
    assert json.loads(queries[0]["order_by"]) == [{"col": "id", "dir": "asc"}]
    assert (queries[0]["select_filters"], queries[0]["limit"]) == ("{}", "25")


def test_a_missing_page_is_unknown() -> None:
    handle, _ = paged([row(n) for n in range(25)], 25, "instances", total_instances=26)
    with pytest.raises(Unknown) as error:
        market(handle).instances()
    assert str(error.value) == (
        "UNKNOWN: It cannot be told which machines exist: the market counts 26 and lists 25 on 1 pages."
    )


def test_a_machine_that_ended_between_two_pages_is_no_trouble() -> None:
    handle, _ = paged([row(n) for n in range(30)], 25, "instances", total_instances=29)
    assert len(market(handle).instances()) == 30


def test_pages_that_go_in_circles_are_unknown() -> None:
    with pytest.raises(Unknown, match=r"the market's pages of GET /api/v1/instances/ go in circles\.$"):
        answering({LIST: {"instances": [row(1)], "next_token": "again"}}).instances()


def test_pages_without_end_are_unknown() -> None:
    count = iter(range(10 * MOST_PAGES))
    endless = market(lambda _: httpx2.Response(200, json={"instances": [], "next_token": str(next(count))}))
    with pytest.raises(Unknown, match=rf"more than {MOST_PAGES} pages"):
        endless.instances()


def test_a_machine_on_two_pages_is_unknown() -> None:
    handle, _ = paged([row(1), row(2), row(2)], 2, "instances")
    with pytest.raises(Unknown, match="lists one on two pages"):
        market(handle).instances()


@pytest.mark.parametrize(
    "answer", [{}, [], {"instances": None}, (410, {"error": "deprecated_endpoint"}), (500, "oops")]
)
def test_an_error_is_never_no_machines(answer: Any) -> None:
    with pytest.raises(Unknown, match=r"^UNKNOWN: It cannot be told which machines exist: "):
        answering({LIST: answer}).instances()


def test_an_error_on_a_later_page_is_never_a_short_list() -> None:
    handle, queries = paged([row(n) for n in range(30)], 25, "instances")
    failing = market(lambda request: httpx2.Response(500) if queries else handle(request))
    with pytest.raises(Unknown, match="which machines exist"):
        failing.instances()


def test_rate_limited_to_the_end_is_weather_and_nobody_there_is_told() -> None:
    with pytest.raises(RateLimited, match=r"Market API refused GET /api/v1/instances/ with 429 after 4 tries"):
        answering({LIST: (429, "API requests too frequent")}).instances()

    def nobody(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("[Errno 111] Connection refused")

    with pytest.raises(NotReachable) as error:
        market(nobody).instances()
    assert str(error.value) == (
        f"Market API at {URL} is not reachable: connection refused (4 tries). Is it running? Is VAST_URL its address?"
    )


def test_a_machine_without_an_id_is_unknown() -> None:
    with pytest.raises(Unknown, match="a machine without an id"):
        answering({LIST: {"instances": [{"label": "x"}]}}).instances()


# The bill


def charge(source: str, **more: Any) -> dict[str, Any]:
    return {
        "source": source,
        "type": "gpu",
        "start": 100,
        "end": 160,
        "quantity": 60,
        "rate": 0.6,
        "amount": 0.01,
        **more,
    }


def test_the_bill_of_one_machine_from_all_pages() -> None:
    rows = [charge("instance-8")] * 100 + [charge("instance-7"), charge("instance-7", type="disk", end=None)]
    handle, queries = paged(rows, 100, "results", count=100, total=102)
    assert market(handle).charges(7, since=1_000_000) == [
        Charge(start=100.0, end=160.0, seconds=60.0, usd=0.01, rate=0.6, kind="gpu", source="instance-7"),
        Charge(start=100.0, end=None, seconds=60.0, usd=0.01, rate=0.6, kind="disk", source="instance-7"),
    ]
    assert len(queries) == 2
    filters = json.loads(queries[0]["select_filters"])
    assert filters["day"]["gte"] <= 1_000_000
    assert filters["type"] == {"in": ["instance"]}


@pytest.mark.parametrize("answer", [{}, {"results": None}, (500, "oops"), (404, {"msg": "no"})])
def test_an_error_is_never_an_empty_bill(answer: Any) -> None:
    with pytest.raises(Unknown, match=r"^UNKNOWN: It cannot be told what machine 7 costs: "):
        answering({BILL: answer}).charges(7)


@pytest.mark.parametrize("change", [{"amount": None}, {"start": None}, {"quantity": "x"}])
def test_a_charge_that_is_not_told_is_not_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(Unknown, match="A charge of machine 7 cannot be read"):
        answering({BILL: {"results": [charge("instance-7", **change)]}}).charges(7)


def test_the_bill_of_everything() -> None:
    rows = [charge("instance-8", description="mine"), charge("volume-9", type="volume")]
    told = answering({BILL: {"results": rows}}).statement()
    assert [(row.source, row.kind, row.description) for row in told] == [
        ("instance-8", "gpu", "mine"),
        ("volume-9", "volume", ""),
    ]
    with pytest.raises(Unknown, match=r"^UNKNOWN: It cannot be told what the account is charged for: "):
        answering({BILL: (500, "oops")}).statement()
    with pytest.raises(Unknown, match="A charge of volume 9 cannot be read"):
        answering({BILL: {"results": [charge("volume-9", rate=None)]}}).statement()


# Volumes

VOLUMES = "/api/v0/volumes/"


def test_volumes_tell_for_whom_they_were_made() -> None:
    rows = [
        {"id": 5, "name": "dumont-rekindle-r1-1-30m-0123456789ab", "instance_id": 7, "dph_total": 0.01},
        {"id": 6, "name": "my photos"},
    ]
    volumes = answering({VOLUMES: {"volumes": rows}}).volumes()
    assert [(volume.id, volume.label) for volume in volumes] == [(5, "rekindle-r1-1-30m"), (6, None)]


def test_a_market_without_volumes_has_none_and_a_wrong_key_is_still_told() -> None:
    assert answering({VOLUMES: (404, {"msg": "not found"}), USER: {"credit": 1}}).volumes() == []
    with pytest.raises(Misconfigured, match="Check VAST_API_KEY"):
        answering({VOLUMES: (404, {"msg": "not found"}), USER: (404, {"msg": "no such user"})}).volumes()


@pytest.mark.parametrize("answer", [{}, {"volumes": None}, (500, "oops")])
def test_an_error_is_never_an_empty_list_of_volumes(answer: Any) -> None:
    with pytest.raises(Unknown, match=r"^UNKNOWN: It cannot be told which volumes exist: "):
        answering({VOLUMES: answer}).volumes()


def test_a_volume_is_deleted() -> None:
    assert answering({f"{VOLUMES}5/": {"success": True}}).delete_volume(5) is True
    gone = {f"{VOLUMES}5/": (404, {"msg": "no such volume"}), USER: {"credit": 1}}
    assert answering(gone).delete_volume(5) is False
    with pytest.raises(Unknown, match=r"whether volume 5 was deleted: .* is used by instance 7"):
        answering({f"{VOLUMES}5/": (400, {"msg": "Volume 5 is used by instance 7."})}).delete_volume(5)


# Destroying, money


def test_destroy() -> None:
    assert answering({"/api/v0/instances/7/": {"success": True}}).destroy(7) is True
    gone = {"/api/v0/instances/7/": (404, {"msg": "no such instance"}), USER: {"credit": 1}}
    assert answering(gone).destroy(7) is False


@pytest.mark.parametrize("answer", [{"success": False, "msg": "locked"}, (500, {"msg": "oops"})])
def test_a_destroy_that_failed_is_unknown(answer: Any) -> None:
    with pytest.raises(Unknown, match="machine 7"):
        answering({"/api/v0/instances/7/": answer}).destroy(7)


def test_balance_is_what_can_be_spent() -> None:
    assert answering({USER: {"credit": 10, "balance": -2.5}}).balance() == 7.5
    with pytest.raises(Unknown, match="neither credit nor balance"):
        answering({USER: {"success": True}}).balance()


def test_the_name_of_a_client_shows_no_key() -> None:
    assert repr(answering({})) == f"MarketClient('{URL}')"


def test_what_is_offered() -> None:
    asked: list[dict[str, Any]] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(request.url.params["q"]))
        return httpx2.Response(200, json={"offers": [{"id": 7}, {"id": 8}, {}]})

    client = market(handle)
    assert client.offers(0.5, 20) == [7, 8]
    assert client.offers(0.5, 20, "RTX 3060") == [7, 8]
    assert (asked[0]["dph_total"], asked[0]["disk_space"]) == ({"lte": 0.5}, {"gte": 20})
    assert asked[1]["gpu_name"] == {"eq": "RTX 3060"}
    with pytest.raises(Unknown, match="what the market offers: its answer to GET /api/v0/bundles/ has no list `offe"):
        answering({"/api/v0/bundles/": {}}).offers(0.5, 20)
