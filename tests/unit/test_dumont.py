"""The client of the Dumont API: both forms of its answers, and nothing rented twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from rekindle.dumont import AmbiguousCreate, DumontClient
from rekindle.dumont_views import Balance, Executed, InstanceView, Offer, WorkProgress
from rekindle.errors import CapabilityMissing, Misconfigured, Mismatch, Unknown, Weather
from rekindle.http import NotReachable, RateLimited, Refused

URL = "http://127.0.0.1:8766"
LOGIN = "POST /api/v1/auth/login"
RESET = httpx2.ReadError("[Errno 104] Connection reset by peer")

ROW = {
    "id": 29070001,
    "label": "rekindle-1",
    "status": "running",
    "actual_status": "running",
    "ssh_host": "127.0.0.1",
    "ssh_port": 2201,
    "dph_total": 0.32,
    "gpu_name": "RTX A4000",
    "disk_space": 50.0,
}


class Product:
    """Answers by `METHOD /path`: a body (200), a (status, body), an error to raise, or a list of them, one a call."""

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers: dict[str, Any] = {LOGIN: {"success": True, "user": "a@b.c", "token": "t0ken"}, **(answers or {})}
        self.requests: list[httpx2.Request] = []
        self.pauses: list[float] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        what = f"{request.method} {request.url.path}"
        answer = self.answers[what]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx2.Response(status, json=body)

    def client(self) -> DumontClient:
        return DumontClient(
            URL, "a@b.c", "pa55word", pause=self.pauses.append, transport=httpx2.MockTransport(self.handle)
        )

    def asked(self, what: str) -> list[httpx2.Request]:
        return [request for request in self.requests if f"{request.method} {request.url.path}" == what]

    def sent(self, what: str) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.asked(what)[-1].content)
        return body


def openapi(*routes: str) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        method, path = route.split()
        paths.setdefault(path, {})[method.lower()] = {}
    return {"GET /api/v1/openapi.json": {"openapi": "3.1.0", "paths": paths}}


# Login


@pytest.mark.parametrize("answer", [{"token": "t1"}, {"access_token": "t1"}, {"token": "t1", "access_token": "t1"}])
def test_login_reads_either_token_and_happens_once(answer: dict[str, str]) -> None:
    product = Product({LOGIN: answer, "GET /api/v1/instances": {"instances": [], "count": 0}})
    client = product.client()
    client.instances()
    client.instances()
    assert product.sent(LOGIN) == {"email": "a@b.c", "password": "pa55word"}
    assert len(product.asked(LOGIN)) == 1
    assert {request.headers["authorization"] for request in product.asked("GET /api/v1/instances")} == {"Bearer t1"}


def test_the_token_is_there_for_other_clients() -> None:
    product = Product()
    client = product.client()
    assert client.token().get_secret_value() == client.token().get_secret_value() == "t0ken"
    assert len(product.asked(LOGIN)) == 1


def test_a_wrong_password_is_the_users_to_mend() -> None:
    product = Product({LOGIN: (401, {"error": "Invalid email or password"})})
    with pytest.raises(Misconfigured) as error:
        product.client().instances()
    assert str(error.value) == (
        f"Dumont API at {URL} refused the login of a@b.c: Invalid email or password. "
        "Check DUMONT_EMAIL and DUMONT_PASSWORD."
    )


def test_a_login_that_repeats_the_password_does_not_show_it() -> None:
    product = Product({LOGIN: (422, {"error": "Validation error", "details": [{"msg": "pa55word is too short"}]})})
    with pytest.raises(Misconfigured, match=r"Validation error: \*\*\* is too short\. Check DUMONT_EMAIL"):
        product.client().login()


def test_a_login_without_a_token() -> None:
    with pytest.raises(Unknown, match="holds neither `token` nor `access_token`"):
        Product({LOGIN: {"success": True}}).client().login()


def test_an_api_that_does_not_run_is_told_at_once() -> None:
    product = Product({LOGIN: httpx2.ConnectError("[Errno 111] Connection refused")})
    with pytest.raises(NotReachable) as error:
        product.client().instances()
    assert str(error.value) == (
        f"Dumont API at {URL} is not reachable: connection refused. Is it running? Is DUMONT_API_URL its address?"
    )
    assert product.pauses == []


def test_the_name_of_a_client_shows_no_secret() -> None:
    assert repr(Product().client()) == f"DumontClient('{URL}', 'a@b.c')"


# Routes


def test_routes_are_compared_whatever_their_parameters_are_called() -> None:
    product = Product(openapi("POST /api/v1/instances/{instance_id}/wake", "GET /api/v1/instances"))
    client = product.client()
    client.needs("POST", "/api/v1/instances/{id}/wake", "waking")
    client.needs("GET", "/api/v1/instances")
    assert client.routes() == {("POST", "/api/v1/instances/{}/wake"), ("GET", "/api/v1/instances")}
    assert len(product.asked("GET /api/v1/openapi.json")) == 1


def test_a_missing_route_is_named() -> None:
    client = Product(openapi("GET /api/v1/instances/{id}/wake", "POST /api/v1/instances")).client()
    with pytest.raises(CapabilityMissing) as missing:
        client.needs("POST", "/api/v1/instances/{id}/wake", "waking")
    assert str(missing.value) == ("This Dumont Cloud has no POST /instances/{id}/wake: waking cannot be tested on it.")


@pytest.mark.parametrize(
    ("call", "route"),
    [
        (lambda client: client.wake(7, 1.0), "POST /instances/{id}/wake: waking"),
        (lambda client: client.hibernate(7), "POST /instances/{id}/hibernate: hibernating at once"),
        (lambda client: client.exec(7, "id"), "POST /instances/{id}/exec: running a command through the API"),
        (
            lambda client: client.configure_hibernation(7, idle_timeout_seconds=3),
            "PUT /instances/{id}/config: setting a machine's idle time",
        ),
    ],
)
def test_what_a_product_may_lack_is_asked_for_first(call: Callable[[DumontClient], object], route: str) -> None:
    product = Product(openapi("GET /api/v1/instances"))
    with pytest.raises(CapabilityMissing) as missing:
        call(product.client())
    assert str(missing.value) == f"This Dumont Cloud has no {route} cannot be tested on it."


def test_an_openapi_without_paths_is_unknown() -> None:
    with pytest.raises(Unknown, match="names no paths"):
        Product({"GET /api/v1/openapi.json": {"paths": {}}}).client().routes()


# Offers and machines


def test_offers() -> None:
    row = {
        "id": 1000001,
        "gpu_name": "RTX A4000",
        "num_gpus": 1,
        "dph_total": 0.32,
        "geolocation": "Spain, ES",
        "reliability": 0.99,
        "disk_space": 500,
        "machine_id": 44,
    }
    product = Product({"GET /api/v1/instances/offers": {"offers": [row], "count": 1}})
    assert product.client().offers(max_price=0.5, region=None) == [
        Offer(1000001, "RTX A4000", 1, 0.32, "Spain, ES", 0.99, 500.0, "44")
    ]
    assert dict(product.asked("GET /api/v1/instances/offers")[0].url.params) == {"max_price": "0.5"}


def test_an_offer_without_a_price_is_not_free() -> None:
    with pytest.raises(Unknown, match="offer 5 without a price"):
        Product({"GET /api/v1/instances/offers": {"offers": [{"id": 5}]}}).client().offers()


def test_a_machine() -> None:
    product = Product({"GET /api/v1/instances/29070001": ROW})
    view = product.client().instance(29070001)
    assert view == InstanceView(
        29070001, "rekindle-1", "running", "running", "127.0.0.1", 2201, 0.32, "RTX A4000", 50.0
    )
    assert view.ready


@pytest.mark.parametrize("change", [{"actual_status": None}, {"actual_status": "loading"}, {"ssh_port": None}])
def test_the_intended_state_alone_is_not_ready(change: dict[str, Any]) -> None:
    view = Product({"GET /api/v1/instances/7": {**ROW, **change}}).client().instance(7)
    assert view
    assert not view.ready


def test_how_far_work_on_a_machine_has_come() -> None:
    told = {
        "activity": "snapshot",
        "bytes_done": 5,
        "bytes_total": 9,
        "files_done": 1,
        "files_total": 2,
        "seconds": 0.5,
    }
    early = {"activity": "restore", "bytes_done": 0, "bytes_total": None, "files_done": None, "seconds": 0}
    rows = [{**ROW, "progress": progress} for progress in (told, early, None, "half", 50, {"percent": 50})]
    views = Product({"GET /api/v1/instances": {"instances": [*rows, ROW]}}).client().instances()
    assert [view.progress for view in views] == [
        WorkProgress("snapshot", 5, 9, 1, 2, 0.5),
        WorkProgress("restore", 0, None, None, None, 0.0),
        *[None] * 5,
    ]


def test_an_unknown_machine_is_none_and_other_errors_are_errors() -> None:
    product = Product({"GET /api/v1/instances/7": [(404, {"error": "Instance 7 not found"}), (500, {"error": "x"})]})
    client = product.client()
    assert client.instance(7) is None
    with pytest.raises(Refused):
        client.instance(7)


@pytest.mark.parametrize("answer", [{}, {"instances": None}, (200, []), {"error": "x"}])
def test_a_list_that_is_none_is_never_no_machines(answer: Any) -> None:
    with pytest.raises(Unknown):
        Product({"GET /api/v1/instances": answer}).client().instances()


@pytest.mark.parametrize("answer", [{"id": 7}, {"instance_id": 7}, {"id": "7"}, {"id": 7, "instance_id": 7}])
def test_create_reads_either_id(answer: dict[str, Any]) -> None:
    product = Product({"POST /api/v1/instances": (201, answer)})
    assert product.client().create_instance(1000001, "rekindle-1", 50, image="ubuntu") == 7
    assert product.sent("POST /api/v1/instances") == {
        "offer_id": 1000001,
        "label": "rekindle-1",
        "disk_size": 50,
        "skip_standby": True,
        "image": "ubuntu",
    }


@pytest.mark.parametrize(
    "trouble", [RESET, httpx2.ReadTimeout("late"), (500, {"error": "x"}), (503, {"error": "x"}), (504, {"error": "x"})]
)
def test_a_create_whose_end_is_unknown_is_ambiguous_and_not_repeated(trouble: Any) -> None:
    product = Product({"POST /api/v1/instances": trouble})
    with pytest.raises(AmbiguousCreate, match=r"^It is not known whether a machine was rented \(label rekindle-1\): "):
        product.client().create_instance(1, "rekindle-1", 50)
    assert len(product.asked("POST /api/v1/instances")) == 1


@pytest.mark.parametrize(("status", "is_away"), [(503, True), (500, False), (504, False)])
def test_an_ambiguous_create_tells_whether_the_market_was_away(status: int, is_away: bool) -> None:
    with pytest.raises(AmbiguousCreate) as error:
        Product({"POST /api/v1/instances": (status, {"error": "x"})}).client().create_instance(1, "rekindle-1", 50)
    assert error.value.market_is_away == is_away


def test_a_market_that_is_away_at_the_search_is_weather() -> None:
    with pytest.raises(Weather, match=r"WEATHER: The market cannot be searched: Dumont API refused .* with 503 after"):
        Product({"GET /api/v1/instances/offers": (503, {"error": "gone fishing"})}).client().offers()


def test_the_words_of_an_ambiguous_create() -> None:
    with pytest.raises(AmbiguousCreate) as error:
        Product({"POST /api/v1/instances": RESET}).client().create_instance(1, "rekindle-1", 50)
    assert str(error.value) == (
        "It is not known whether a machine was rented (label rekindle-1): The answer of Dumont API at "
        f"{URL} to POST /api/v1/instances was lost: connection reset by peer. It may or may not have been obeyed. "
        "Nothing was sent a second time. Look for the machine before renting another."
    )


@pytest.mark.parametrize("answer", [{}, {"id": None}, {"id": "soon"}, [], None])
def test_a_create_without_an_id_is_ambiguous(answer: Any) -> None:
    with pytest.raises(AmbiguousCreate, match="rekindle-1"):
        Product({"POST /api/v1/instances": (201, answer)}).client().create_instance(1, "rekindle-1", 50)


@pytest.mark.parametrize("status", [400, 402, 404, 409, 422])
def test_a_create_that_was_refused_rented_nothing(status: int) -> None:
    product = Product({"POST /api/v1/instances": (status, {"error": "Oferta 1 indisponível"})})
    with pytest.raises(Refused, match=rf"with {status}: Oferta 1 indisponível\.$"):
        product.client().create_instance(1, "rekindle-1", 50)


def test_a_create_that_was_not_even_sent_rented_nothing() -> None:
    product = Product({"POST /api/v1/instances": httpx2.ConnectError("[Errno 111] Connection refused")})
    with pytest.raises(Unknown, match=r"^UNKNOWN: Dumont API at .* answered before, but not to POST"):
        product.client().create_instance(1, "rekindle-1", 50)


def test_a_create_that_is_rate_limited_is_tried_again_because_nothing_was_rented() -> None:
    busy = (429, {"error": "Too many requests"})
    product = Product({"POST /api/v1/instances": [busy, busy, (201, {"id": 7})]})
    assert product.client().create_instance(1, "rekindle-1", 50) == 7
    assert product.pauses == [2, 4]
    product = Product({"POST /api/v1/instances": busy})
    with pytest.raises(RateLimited, match=r"^WEATHER: rate limited: "):
        product.client().create_instance(1, "rekindle-1", 50)
    assert product.pauses == [2, 4, 8]


def test_destroy() -> None:
    product = Product({"DELETE /api/v1/instances/7": {"success": True, "message": "destroyed"}})
    assert product.client().destroy(7) is True


def test_destroying_an_unknown_machine_on_both_products() -> None:
    assert Product({"DELETE /api/v1/instances/7": (404, {"error": "not found"})}).client().destroy(7) is False
    older = {
        "DELETE /api/v1/instances/7": (500, {"error": "Failed to destroy"}),
        "GET /api/v1/instances/7": (404, {"error": "Instance 7 not found"}),
        "GET /api/v1/instances": {"instances": [], "count": 0},
    }
    assert Product(older).client().destroy(7) is False


def test_a_destroy_that_failed_is_not_taken_for_an_unknown_machine() -> None:
    listed = {
        "DELETE /api/v1/instances/29070001": (500, {"error": "Failed to destroy"}),
        "GET /api/v1/instances/29070001": (404, {"error": "not found"}),
        "GET /api/v1/instances": {"instances": [ROW], "count": 1},
    }
    with pytest.raises(Refused, match="Failed to destroy"):
        Product(listed).client().destroy(29070001)
    with pytest.raises(Mismatch, match="did not destroy machine 7: it is locked"):
        Product({"DELETE /api/v1/instances/7": {"success": False, "message": "it is locked"}}).client().destroy(7)


def test_pause_and_resume_and_exec_and_balance() -> None:
    product = Product(
        {
            "POST /api/v1/instances/7/pause": {"success": True, "message": "x"},
            "POST /api/v1/instances/7/resume": {"success": False, "message": "no such host"},
            "POST /api/v1/instances/7/exec": {"exit_code": 0, "stdout": "hi\n", "stderr": ""},
            "GET /api/v1/instances/balance": {"credit": 10, "balance": -1.5, "balance_threshold": 0, "email": "a@b.c"},
            **openapi("POST /api/v1/instances/{x}/exec"),
        }
    )
    client = product.client()
    client.pause(7)
    with pytest.raises(Mismatch, match="POST /instances/7/resume failed: no such host"):
        client.resume(7)
    assert client.exec(7, "echo hi") == Executed(0, "hi\n", "")
    assert client.balance() == Balance(10.0, -1.5, 0.0, "a@b.c")


# Snapshots

SNAPSHOT = {
    "success": True,
    "snapshot_id": "1a2b3c4d",
    "files_new": 5,
    "files_changed": 1,
    "files_unmodified": 2,
    "total_files_processed": 8,
    "data_added": 1000,
    "total_bytes_processed": 4000,
}


def test_a_snapshot() -> None:
    product = Product({"POST /api/v1/snapshots": (201, SNAPSHOT)})
    result = product.client().snapshot(7, "/workspace", ["run:1"])
    assert product.sent("POST /api/v1/snapshots") == {
        "instance_id": 7,
        "source_path": "/workspace",
        "tags": ["run:1"],
    }
    assert (result.snapshot_id, result.files_new, result.total_files_processed) == ("1a2b3c4d", 5, 8)
    assert (result.data_added, result.total_bytes_processed) == (1000, 4000)
    assert result.seconds >= 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"success": False, "error": "disk full"}, "success is False, snapshot_id '1a2b3c4d', disk full."),
        ({"snapshot_id": ""}, "success is True, snapshot_id '', no reason given."),
        ({"snapshot_id": None}, "success is True, snapshot_id None, no reason given."),
        ({"success": None}, "success is None, snapshot_id '1a2b3c4d', no reason given."),
    ],
)
def test_a_snapshot_is_one_only_with_success_and_an_id(change: dict[str, Any], words: str) -> None:
    product = Product({"POST /api/v1/snapshots": (201, {**SNAPSHOT, **change})})
    with pytest.raises(Mismatch) as error:
        product.client().snapshot(7)
    assert str(error.value) == f"The snapshot of /workspace on machine 7 failed: {words}"


def test_a_snapshot_is_not_repeated() -> None:
    product = Product({"POST /api/v1/snapshots": (503, {"error": "restic: connection refused"})})
    with pytest.raises(Refused, match=r"with 503: restic: connection refused\.$"):
        product.client().snapshot(7)
    assert len(product.asked("POST /api/v1/snapshots")) == 1


def test_snapshots_of_one_machine_also_where_the_filter_is_ignored() -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "instance_id": 7},
        {"id": "b", "instance_id": "7"},
        {"id": "c", "tags": ["instance:7", "x"]},
        {"id": "d", "tags": ["instance:77"]},
        {"id": "e", "instance_id": 8, "tags": None},
    ]
    product = Product({"GET /api/v1/snapshots": {"snapshots": rows, "count": 5}})
    client = product.client()
    assert [row["id"] for row in client.snapshots(7)] == ["a", "b", "c"]
    assert product.asked("GET /api/v1/snapshots")[0].url.params["instance_id"] == "7"
    assert len(client.snapshots()) == 5


def test_a_restore() -> None:
    answer = {"success": True, "snapshot_id": "1a", "target_path": "/workspace", "files_restored": 8, "errors": []}
    product = Product({"POST /api/v1/snapshots/restore": answer})
    result = product.client().restore("1a", 7)
    assert product.asked("POST /api/v1/snapshots/restore")[0].url.params["instance_id"] == "7"
    assert product.sent("POST /api/v1/snapshots/restore")["snapshot_id"] == "1a"
    assert (result.snapshot_id, result.target_path, result.files_restored) == ("1a", "/workspace", 8)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"success": True, "errors": ["no matching ID", "x"]}, "success is True, no matching ID; x."),
        ({"success": False, "errors": []}, "success is False, no reason given."),
        ({"errors": []}, "success is None, no reason given."),
    ],
)
def test_a_restore_is_one_only_with_success_and_without_errors(answer: dict[str, Any], words: str) -> None:
    with pytest.raises(Mismatch) as error:
        Product({"POST /api/v1/snapshots/restore": answer}).client().restore("1a", 7)
    assert str(error.value) == f"The restore of snapshot 1a onto machine 7 failed: {words}"


def test_a_restore_of_another_snapshot_is_told() -> None:
    answer = {"success": True, "snapshot_id": "2b", "errors": []}
    with pytest.raises(Mismatch) as error:
        Product({"POST /api/v1/snapshots/restore": answer}).client().restore("1a", 7)
    assert str(error.value) == "Snapshot 1a was to be restored onto machine 7, not 2b."


@pytest.mark.parametrize(("asked", "told"), [("1a2b", "1a"), ("1a", "1a2b")])
def test_a_snapshot_may_be_told_in_short(asked: str, told: str) -> None:
    answer = {"success": True, "snapshot_id": told, "errors": []}
    assert Product({"POST /api/v1/snapshots/restore": answer}).client().restore(asked, 7).snapshot_id == told


def test_deleting_a_snapshot() -> None:
    product = Product({"DELETE /api/v1/snapshots/1a": [{"success": True}, (404, {"error": "no such snapshot"})]})
    client = product.client()
    client.delete_snapshot("1a")
    with pytest.raises(Refused, match="no such snapshot"):
        client.delete_snapshot("1a")


# Hibernation


def test_hibernation_of_a_machine_that_is_known_and_of_one_that_is_not() -> None:
    idle = {"instance_id": "7", "status": "idle", "idle_since": 1.0}
    product = Product({"GET /api/v1/agent/instances/7": [(404, {"error": "unknown"}), idle]})
    client = product.client()
    assert client.hibernation(7) == {}
    assert client.hibernation(7) == idle


def test_metrics_of_tests_are_kept_and_read() -> None:
    product = Product(
        {
            "POST /api/v1/test-metrics": (201, {"id": "1"}),
            "GET /api/v1/test-metrics": {"metrics": [{"id": "1", "metrics": {"login": 1200}}], "count": 1},
            **openapi("POST /api/v1/test-metrics"),
        }
    )
    client = product.client()
    client.keep_test_metrics("journey", "2026-01-02T03:04:05+00:00", {"login": 1200})
    assert product.sent("POST /api/v1/test-metrics") == {
        "test_name": "journey",
        "timestamp": "2026-01-02T03:04:05+00:00",
        "metrics": {"login": 1200},
    }
    assert client.test_metrics("journey")[0]["metrics"] == {"login": 1200}


def test_configuring_sends_only_what_is_given() -> None:
    product = Product(
        {"PUT /api/v1/instances/7/config": {"success": True}, **openapi("PUT /api/v1/instances/{id}/config")}
    )
    product.client().configure_hibernation(7, idle_timeout_seconds=3)
    assert product.sent("PUT /api/v1/instances/7/config") == {"idle_timeout_seconds": 3}


WOKEN = {
    "success": True,
    "new_instance_id": 8,
    "old_instance_id": 7,
    "snapshot_id": "1a",
    "ssh_host": "127.0.0.1",
    "ssh_port": 2201,
    "time_taken": 3.5,
    "message": "awake",
}


def waking(answer: Any, instances: Any = None) -> Product:
    return Product(
        {
            "POST /api/v1/instances/7/wake": answer,
            "GET /api/v1/instances": {"instances": instances or []},
            **openapi("POST /api/v1/instances/{instance_id}/wake"),
        }
    )


def test_waking() -> None:
    product = waking(WOKEN)
    woken = product.client().wake(7, 0.5)
    assert product.sent("POST /api/v1/instances/7/wake") == {"max_price": 0.5}
    assert (woken.new_instance_id, woken.old_instance_id, woken.snapshot_id) == (8, 7, "1a")
    assert (woken.ssh_host, woken.ssh_port, woken.time_taken, woken.message) == ("127.0.0.1", 2201, 3.5, "awake")
    assert woken.seconds >= 0


def test_a_product_that_does_not_tell_the_new_id() -> None:
    silent = {**WOKEN, "new_instance_id": None, "snapshot_id": None}
    assert waking(silent, [{**ROW, "id": 9}]).client().wake(7, 0.5).new_instance_id == 9
    with pytest.raises(AmbiguousCreate, match=r"and 0 machines listen at 127\.0\.0\.1:2201: compare the list"):
        waking(silent, [{**ROW, "ssh_port": 2202}]).client().wake(7, 0.5)


@pytest.mark.parametrize("trouble", [RESET, (500, {"error": "x"}), {"success": False, "message": "x"}, []])
def test_a_wake_whose_end_is_unknown_is_ambiguous_and_not_repeated(trouble: Any) -> None:
    product = waking(trouble if trouble != [] else (200, []))
    with pytest.raises(AmbiguousCreate):
        product.client().wake(7, 0.5)
    assert len(product.asked("POST /api/v1/instances/7/wake")) == 1


def test_a_wake_that_was_refused_rented_nothing() -> None:
    with pytest.raises(Refused, match=r"with 409: machine 7 is not hibernated\.$"):
        waking((409, {"error": "machine 7 is not hibernated"})).client().wake(7, 0.5)
