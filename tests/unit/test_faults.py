"""Faults and events, on a small application behind a real server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from starlette.middleware.base import RequestResponseEndpoint
from starlette.responses import JSONResponse, Response, StreamingResponse

from sandbox.events import Events
from sandbox.faults import Faults

TOKEN = "the-admin-token"  # noqa: S105 - of this test


class Part:
    """A part of a cloud as the real ones are built, with one route that counts its calls."""

    def __init__(self) -> None:
        self.app = FastAPI()
        self.calls = 0
        self.heard: list[object] = []
        self.decide: Callable[[Any], Any] = lambda _: None
        self.faults = Faults(TOKEN, {"of-the-user": "user"})
        self.events = Events(TOKEN)

        @self.app.middleware("http")
        async def label(request: Request, call_next: RequestResponseEndpoint) -> Response:
            answer = await call_next(request)
            answer.headers["X-Sandbox-Id"] = "me"
            return answer

        @self.app.get("/api/things")
        @self.app.post("/api/things")
        async def things() -> dict[str, int]:
            self.calls += 1
            return {"calls": self.calls}

        @self.app.post("/api/echo")
        async def echo(request: Request, q: str) -> dict[str, Any]:
            return {"body": await request.json(), "q": q, "authorization": request.headers["authorization"]}

        @self.app.get("/api/stream")
        async def stream() -> StreamingResponse:
            return StreamingResponse(iter(["data: 1\n\n", "data: 2\n\n"]), media_type="text/event-stream")

        @self.app.get("/api/picture")
        async def picture() -> Response:
            return Response(b"\x89\xff", media_type="image/png")

        @self.app.get("/api/page")
        async def page() -> Response:
            return Response("<html>", media_type="text/html")

        @self.app.post("/decide")
        async def decide(request: Request) -> Response:
            said = self.decide(await request.json())
            return Response(status_code=204) if said is None else JSONResponse(said)

        @self.app.post("/hear")
        async def hear(request: Request) -> None:
            self.heard.append(await request.json())

        self.events.install(self.app)
        self.faults.install(self.app)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Part, httpx2.Client]]:
    part = Part()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(part.app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False) as client:
        yield part, client
    server.should_exit = True
    thread.join()


@pytest.fixture
def client(served: tuple[Part, httpx2.Client]) -> Iterator[httpx2.Client]:
    _, client = served
    yield client
    client.delete("/_sandbox/faults").raise_for_status()
    client.delete("/_sandbox/subscriptions").raise_for_status()


@pytest.fixture
def part(served: tuple[Part, httpx2.Client]) -> Part:
    part, _ = served
    part.calls = 0
    part.heard.clear()
    return part


def put(client: httpx2.Client, **fault: object) -> None:
    assert client.post("/_sandbox/faults", json=fault).status_code == 201


def test_an_answer_stands_in_for_the_handler_and_ends_by_itself(part: Part, client: httpx2.Client) -> None:
    put(
        client,
        name="storm",
        kind="answer",
        match="^GET /api",
        status=429,
        body={"detail": "slow down"},
        headers={"Retry-After": "2"},
        times=2,
    )
    for _ in range(2):
        answer = client.get("/api/things")
        assert (answer.status_code, answer.json()) == (429, {"detail": "slow down"})
        assert answer.headers["retry-after"] == "2"
    assert part.calls == 0
    assert client.get("/api/things").json() == {"calls": 1}
    assert client.get("/_sandbox/faults").json() == []


@pytest.mark.parametrize(
    ("body", "text", "kind"),
    [(None, "", None), ("<html>", "<html>", "text/plain; charset=utf-8"), ([1], "[1]", "application/json")],
)
def test_bodies_of_an_answer(client: httpx2.Client, body: object, text: str, kind: str | None) -> None:
    put(client, name="broken", kind="answer", status=502, body=body)
    answer = client.get("/api/things")
    assert (answer.status_code, answer.text, answer.headers.get("content-type")) == (502, text, kind)


def test_only_what_matches_is_hit(part: Part, client: httpx2.Client) -> None:
    put(client, name="posts", kind="answer", match="^POST /api/things$", status=503)
    assert client.get("/api/things").status_code == 200
    assert client.post("/api/things").status_code == 503
    assert part.calls == 1


def test_reset_gives_no_answer_and_the_next_request_lives(part: Part, client: httpx2.Client) -> None:
    put(client, name="cut", kind="reset", match="^POST", times=1)
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        client.post("/api/things", json={"some": "body"})
    assert part.calls == 0
    assert client.post("/api/things").json() == {"calls": 1}


def test_a_delay_waits_then_goes_on(part: Part, client: httpx2.Client) -> None:
    put(client, name="slow", kind="delay", match="/api/things", seconds=1)
    with pytest.raises(httpx2.ReadTimeout):
        client.get("/api/things", timeout=0.2)
    assert part.calls == 0
    put(client, name="slow", kind="delay", match="/api/things", seconds=0.01)
    assert client.get("/api/things").json() == {"calls": 1}


def test_a_delay_and_an_answer_combine(part: Part, client: httpx2.Client) -> None:
    put(client, name="slow", kind="delay", seconds=0.01, times=1)
    put(client, name="down", kind="answer", status=500, times=1)
    assert client.get("/api/things").status_code == 500
    assert client.get("/_sandbox/faults").json() == []
    assert part.calls == 0


def test_faults_never_lock_their_own_door(client: httpx2.Client) -> None:
    put(client, name="all", kind="answer", status=500)
    assert client.get("/api/things").status_code == 500
    assert [fault["name"] for fault in client.get("/_sandbox/faults").json()] == ["all"]
    assert client.delete("/_sandbox/faults/all").json()["name"] == "all"
    assert client.get("/api/things").status_code == 200


def test_removing_what_is_not_there_is_404(client: httpx2.Client) -> None:
    answer = client.delete("/_sandbox/faults/ghost")
    assert answer.status_code == 404
    assert "no fault named ghost" in answer.text


def test_all_are_removed_at_once(client: httpx2.Client) -> None:
    put(client, name="one", kind="reset")
    put(client, name="two", kind="answer")
    assert len(client.delete("/_sandbox/faults").json()) == 2
    assert client.get("/api/things").status_code == 200


def test_a_machine_fault_is_used_up_by_the_machines(part: Part, client: httpx2.Client) -> None:
    put(client, name="tiny", kind="machine", machine="small_disk", megabytes=8, times=1)
    assert client.get("/api/things").status_code == 200
    assert part.faults.machine("ssh_refused") is None
    fault = part.faults.machine("small_disk")
    assert fault is not None
    assert fault.megabytes == 8
    assert part.faults.machine("small_disk") is None


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"name": "x", "kind": "answer", "match": "("}, "is not a regular expression"),
        ({"name": "x", "kind": "machine"}, "give both or neither"),
        ({"name": "x", "kind": "answer", "machine": "no_restic"}, "give both or neither"),
        ({"name": "a/b", "kind": "reset"}, "name"),
        ({"name": "x", "kind": "reset", "oops": 1}, "oops"),
        ({"name": "x", "kind": "answer", "status": 99}, "status"),
        ({"name": "x", "kind": "reset", "times": 0}, "times"),
        ({"name": "x", "kind": "rewrite"}, "give both or neither"),
        ({"name": "x", "kind": "reset", "url": "http://127.0.0.1:1/"}, "give both or neither"),
        ({"name": "x", "kind": "instead", "url": "http://example.com/"}, "must be on this machine"),
    ],
)
def test_a_wrong_fault_is_refused(client: httpx2.Client, fault: dict[str, object], says: str) -> None:
    answer = client.post("/_sandbox/faults", json=fault)
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
@pytest.mark.parametrize("route", ["faults", "subscriptions"])
def test_the_door_needs_the_token(client: httpx2.Client, header: str, route: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = client.request(method, f"/_sandbox/{route}", headers={"Authorization": header})
        assert answer.status_code == 401
        assert TOKEN not in answer.text


def test_the_door_is_not_in_the_product_s_openapi(client: httpx2.Client) -> None:
    assert list(client.get("/openapi.json").json()["paths"]) == [
        "/api/things", "/api/echo", "/api/stream", "/api/picture", "/api/page", "/decide", "/hear",
    ]  # fmt: skip


def subscribe(client: httpx2.Client, event: str, url: str) -> httpx2.Response:
    return client.post("/_sandbox/subscriptions", json={"event": event, "url": url})


def test_subscribers_hear_their_event_before_publish_returns(part: Part, client: httpx2.Client) -> None:
    assert subscribe(client, "snapshot.finished", f"{client.base_url}/hear").status_code == 201
    asyncio.run(part.events.publish("snapshot.finished", instance_id=7))
    asyncio.run(part.events.publish("restore.finished", instance_id=7))
    assert part.heard == [{"event": "snapshot.finished", "data": {"instance_id": 7}}]


def test_a_subscription_ends_when_it_is_removed(part: Part, client: httpx2.Client) -> None:
    url = f"{client.base_url}/hear"
    subscribe(client, "a", url)
    subscribe(client, "a", url)
    subscribe(client, "b", url)
    assert client.delete("/_sandbox/subscriptions", params={"event": "a"}).json() == [{"event": "a", "url": url}]
    assert client.get("/_sandbox/subscriptions").json() == [{"event": "b", "url": url}]
    asyncio.run(part.events.publish("a"))
    assert part.heard == []
    assert len(client.delete("/_sandbox/subscriptions").json()) == 1


def test_a_subscriber_that_fails_does_not_stop_the_cloud(
    part: Part, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    subscribe(client, "a", gone)
    subscribe(client, "a", f"{client.base_url}/no-such-route")
    subscribe(client, "a", f"{client.base_url}/hear")
    asyncio.run(part.events.publish("a"))
    assert len(part.heard) == 1
    assert caplog.text.count("did not take it") == 2


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/", "http://example.com/", "http://0.0.0.0/", "https://127.0.0.1/", "file:///etc/passwd"]
)
def test_events_stay_on_this_machine(client: httpx2.Client, url: str) -> None:
    assert subscribe(client, "a", url).status_code == 422


def test_loopback_by_any_name_is_this_machine(client: httpx2.Client) -> None:
    for url in ("http://localhost:1/", "http://127.0.0.9:1/", "http://[::1]:1/"):
        assert subscribe(client, "a", url).status_code == 201


# ── Programs outside that decide ────────────────────────────────────────────────────────────────────────────────────


def asked(part: Part, client: httpx2.Client, kind: str, decide: Callable[[Any], Any], **fault: object) -> None:
    """Puts a fault on whose program is this function: what it returns is said, None is nothing."""
    part.decide = decide
    put(client, name=f"ask-{kind}", kind=kind, match="^(GET|POST) /api", url=f"{client.base_url}/decide", **fault)


def test_an_answer_is_rewritten_after_the_handler(part: Part, client: httpx2.Client) -> None:
    seen = []

    def one_more(asked: Any) -> Any:
        seen.append(asked)
        return {"answer": asked["answer"] | {"body": {"calls": asked["answer"]["body"]["calls"] + 1}, "status": 203}}

    asked(part, client, "rewrite", one_more)
    answer = client.post(
        "/api/things?limit=3&api_key=k", json={"a": [1]}, headers={"Authorization": "Bearer of-the-user"}
    )
    assert (answer.status_code, answer.json(), part.calls) == (203, {"calls": 2}, 1)
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-type"] == "application/json"
    ((request, honest),) = [(one["request"], one["answer"]) for one in seen]
    assert (request["method"], request["path"], request["query"]) == ("POST", "/api/things", {"limit": "3"})
    assert (request["caller"], request["body"]) == ("user", {"a": [1]})
    assert (honest["status"], honest["body"]) == (200, {"calls": 1})
    assert "of-the-user" not in repr(seen)


def test_nothing_said_leaves_the_answer_as_it_is(part: Part, client: httpx2.Client) -> None:
    asked(part, client, "rewrite", lambda _: None)
    assert client.get("/api/things").json() == {"calls": 1}
    client.delete("/_sandbox/faults").raise_for_status()
    asked(part, client, "instead", lambda _: None)
    assert client.post("/api/things", json={"a": 1}).json() == {"calls": 2}


def test_an_answer_can_be_cut_short_or_off(part: Part, client: httpx2.Client) -> None:
    asked(part, client, "rewrite", lambda asked: {"answer": asked["answer"] | {"body": '{"cal'}})
    answer = client.get("/api/things")
    assert (answer.text, answer.headers["content-type"]) == ('{"cal', "application/json")
    asked(part, client, "rewrite", lambda _: {"answer": None}, times=1)
    with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
        client.get("/api/things")
    assert part.calls == 2
    assert client.get("/api/things").json() == {"calls": 3}


def test_what_is_answered_instead_reaches_no_handler(part: Part, client: httpx2.Client) -> None:
    asked(part, client, "instead", lambda _: {"answer": {"status": 202, "body": {"success": True}}})
    answer = client.post("/api/things")
    assert (answer.status_code, answer.json(), part.calls) == (202, {"success": True}, 0)


def test_the_handler_can_be_given_another_request(part: Part, client: httpx2.Client) -> None:
    other = {"method": "POST", "path": "/api/echo", "query": {"q": "ü &"}, "body": {"another": ["body", "longer"]}}
    asked(part, client, "instead", lambda asked: {"request": asked["request"] | other}, times=1)
    answer = client.get("/api/things", headers={"Authorization": "Bearer of-the-user"})
    assert answer.json() == {"body": other["body"], "q": "ü &", "authorization": "Bearer of-the-user"}
    assert part.calls == 0


def test_a_program_that_is_gone_does_not_stop_the_cloud(
    part: Part, client: httpx2.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    put(client, name="before", kind="instead", url=gone)
    put(client, name="after", kind="rewrite", url=gone)
    assert client.post("/api/things", json={}).json() == {"calls": 1}
    assert caplog.text.count("did not say what to do") == 2


def test_streams_and_files_are_not_rewritten(part: Part, client: httpx2.Client) -> None:
    asked(part, client, "rewrite", lambda _: {"answer": {"body": "rewritten"}})
    assert client.get("/api/stream").text == "data: 1\n\ndata: 2\n\n"
    assert client.get("/api/picture").content == b"\x89\xff"
    assert client.get("/api/page").text == "rewritten"


def test_who_has_the_admin_token_sees_how_it_really_is(part: Part, client: httpx2.Client) -> None:
    put(client, name="down", kind="answer", status=500)
    assert client.get("/api/things", headers={"X-Sandbox-Admin": TOKEN}).json() == {"calls": 1}
    assert client.get("/api/things", headers={"X-Sandbox-Admin": "wrong"}).status_code == 500
