"""The JSON client: what it repeats, what it never repeats, and the exact words of its errors."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from rekindle.errors import Unknown
from rekindle.http import AnswerLost, JsonClient, NotReachable, RateLimited, Refused, StorageFull

URL = "http://127.0.0.1:8766"
Answer = httpx2.Response | httpx2.TransportError


class Service:
    """Gives the answers of a list, one a request, and keeps the requests and the pauses between them."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = iter(answers)
        self.requests: list[httpx2.Request] = []
        self.pauses: list[float] = []

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx2.TransportError):
            raise answer
        return answer

    def client(self, **options: Any) -> JsonClient:
        return JsonClient(
            "Dumont API",
            URL,
            advice="Is it running?",
            pause=self.pauses.append,
            transport=httpx2.MockTransport(self.handle),
            **options,
        )


def answer(status: int, body: Any = None, **headers: str) -> httpx2.Response:
    if isinstance(body, str):
        return httpx2.Response(status, text=body, headers=headers)
    return httpx2.Response(status, json=body, headers=headers)


REFUSED = httpx2.ConnectError("[Errno 111] Connection refused")
RESET = httpx2.ReadError("[Errno 104] Connection reset by peer")
TOO_LATE = httpx2.ReadTimeout("timed out")


def test_the_answer_is_the_json() -> None:
    service = Service(answer(200, {"a": [1]}))
    assert service.client().get("/x") == {"a": [1]}
    assert service.pauses == []


def test_an_empty_answer_is_none() -> None:
    assert Service(httpx2.Response(204)).client().delete("/x") is None


def test_the_query_carries_lists_as_json_and_leaves_none_out() -> None:
    service = Service(answer(200, {}))
    service.client().get("/x", params={"a": [{"b": 1}], "c": None, "d": True, "e": "f g"})
    assert dict(service.requests[0].url.params) == {"a": '[{"b": 1}]', "d": "true", "e": "f g"}


def test_the_token_travels_as_bearer() -> None:
    service = Service(answer(200, {}), answer(200, {}))
    service.client(token=SecretStr("t0ken")).get("/x")
    assert service.requests[0].headers["authorization"] == "Bearer t0ken"
    service.client().get("/x")
    assert "authorization" not in service.requests[1].headers


@pytest.mark.parametrize("trouble", [answer(429), answer(502), answer(503), answer(504), REFUSED, RESET, TOO_LATE])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_what_can_be_repeated_is_repeated_with_growing_pauses(method: str, trouble: Answer) -> None:
    service = Service(trouble, trouble, trouble, answer(200, "1"))
    assert service.client().request(method, "/x") == 1
    assert service.pauses == [2, 4, 8]


def test_other_errors_are_told_at_once() -> None:
    for status in (400, 401, 403, 404, 409, 422, 500, 501):
        service = Service(answer(status, {"error": "no"}))
        with pytest.raises(Refused) as refused:
            service.client().get("/x")
        assert str(refused.value) == f"Dumont API refused GET /x with {status}: no."
        assert (refused.value.status, refused.value.text) == (status, "no.")
        assert service.pauses == []


def test_a_full_disk_of_the_service_is_unknown_and_told_at_once() -> None:
    service = Service(answer(507, {"error": "The disk of the computer is too full"}))
    with pytest.raises(StorageFull) as full:
        service.client().post("/x", {})
    assert isinstance(full.value, Unknown)
    assert str(full.value) == "UNKNOWN: Dumont API refused POST /x with 507: The disk of the computer is too full."
    assert (full.value.status, service.pauses) == (507, [])


@pytest.mark.parametrize("trouble", [RESET, TOO_LATE, httpx2.WriteError("broken pipe")])
def test_a_post_whose_answer_was_lost_is_never_repeated(trouble: httpx2.TransportError) -> None:
    service = Service(trouble)
    with pytest.raises(AnswerLost, match=r"It may or may not have been obeyed\.$"):
        service.client().post("/x", {})
    assert len(service.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_post_that_failed_in_the_service_is_never_repeated(status: int) -> None:
    service = Service(answer(status, {"error": "no"}))
    with pytest.raises(Refused, match=rf"^Dumont API refused POST /x with {status}: no\.$"):
        service.client().post("/x", {})
    assert len(service.requests) == 1


def test_a_post_that_was_refused_for_its_rate_is_repeated() -> None:
    service = Service(answer(429), answer(201, {"id": 7}))
    assert service.client().post("/x", {}) == {"id": 7}
    assert service.pauses == [2]


@pytest.mark.parametrize(
    ("asked", "pause"), [("5", 5), ("0", 0), ("0.5", 0.5), ("3600", 60), ("-1", 2), ("soon", 2), ("nan", 2)]
)
def test_the_service_may_ask_for_another_pause(asked: str, pause: float) -> None:
    service = Service(answer(429, **{"retry-after": asked}), answer(200, {}))
    service.client().get("/x")
    assert service.pauses == [pause]


def test_rate_limited_to_the_end_is_weather() -> None:
    service = Service(*[answer(429, "API requests too frequent", **{"content-type": "text/plain"})] * 4)
    with pytest.raises(RateLimited) as limited:
        service.client().post("/x", {})
    assert str(limited.value) == (
        "WEATHER: rate limited: Dumont API refused POST /x with 429 after 4 tries: API requests too frequent. "
        "Wait some minutes, or run fewer machines at once."
    )


def test_gateway_trouble_to_the_end_says_how_often() -> None:
    with pytest.raises(Refused, match=r"^Dumont API refused GET /x with 503 after 4 tries: busy\.$"):
        Service(*[answer(503, {"error": "busy"})] * 4).client().get("/x")


def test_nobody_there_from_the_beginning_is_the_users_to_mend() -> None:
    with pytest.raises(NotReachable) as gone:
        Service(REFUSED).client().post("/login", {})
    assert str(gone.value) == f"Dumont API at {URL} is not reachable: connection refused. Is it running?"
    with pytest.raises(NotReachable, match=r"not reachable: connection refused \(4 tries\)\. Is it running\?$"):
        Service(*[REFUSED] * 4).client().get("/x")


def test_nobody_there_any_more_is_unknown() -> None:
    service = Service(answer(200, {}), *[REFUSED] * 4)
    client = service.client()
    client.get("/x")
    with pytest.raises(Unknown) as gone:
        client.get("/y")
    assert str(gone.value) == (
        f"UNKNOWN: Dumont API at {URL} answered before, but not to GET /y: connection refused (4 tries). "
        "Is it still running?"
    )


def test_a_lost_answer_says_for_how_long_it_was_waited() -> None:
    with pytest.raises(AnswerLost) as lost:
        Service(TOO_LATE).client().post("/x", {}, timeout=300)
    assert str(lost.value) == (
        f"UNKNOWN: The answer of Dumont API at {URL} to POST /x was lost: no answer within 300 s. "
        "It may or may not have been obeyed."
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "no such offer"}, "no such offer."),
        ({"error": "no such offer", "detail": "no such offer"}, "no such offer."),
        ({"detail": "no such offer"}, "no such offer."),
        ({"success": False, "msg": "Invalid key!"}, "Invalid key!"),
        ({"error": True, "msg": "Invalid key"}, "Invalid key."),
        ({"success": False, "error": "auth_error", "msg": "Invalid key."}, "auth_error: Invalid key."),
        ({"error": {"failover_id": "f1", "error": "snapshot failed"}}, "snapshot failed."),
        ({"error": "Internal server error", "details": "no table"}, "Internal server error: no table."),
        ({"error": "gone", "details": {}}, "gone."),
        (
            {"error": "Validation error", "details": [{"loc": ["body", "email"], "msg": "bad", "input": "s3cret"}]},
            "Validation error: body.email: bad.",
        ),
        ({"detail": [{"loc": ["query", "id"], "msg": "missing"}, {"msg": "x"}]}, "query.id: missing; x."),
        ("API requests too frequent", "API requests too frequent."),
        ("<h1>\n  Bad   gateway</h1>", "<h1> Bad gateway</h1>."),
        ("", "an empty body."),
        ({}, "no reason given."),
        ("x" * 2000, "x" * 600 + "…"),
    ],
)
def test_every_form_of_error_is_read(body: Any, words: str) -> None:
    with pytest.raises(Refused) as refused:
        Service(answer(400, body)).client().get("/x")
    assert refused.value.text == words


def test_a_redirect_is_not_followed_but_told() -> None:
    with pytest.raises(Refused, match=r"with 301: it wants us to go to https://elsewhere/x\.$"):
        Service(answer(301, {}, location="https://elsewhere/x")).client().get("/x")


def test_a_web_page_is_not_an_answer() -> None:
    with pytest.raises(Unknown) as unknown:
        Service(answer(200, "<!doctype html>")).client().get("/x")
    assert str(unknown.value) == (
        "UNKNOWN: Dumont API answered GET /x with 200, but not with JSON: <!doctype html>. "
        f"Is {URL} the address of the API?"
    )


def test_secrets_stay_out_of_errors_and_names() -> None:
    client = Service(answer(401, {"error": "key t0ken or pa55 is wrong"})).client(token=SecretStr("t0ken"))
    client.hide(SecretStr("pa55"))
    with pytest.raises(Refused) as refused:
        client.get("/x")
    assert str(refused.value) == "Dumont API refused GET /x with 401: key *** or *** is wrong."
    assert repr(client) == f"JsonClient('Dumont API', '{URL}')"
    named = JsonClient("Dumont API", "http://user:pa55@host", advice="")
    assert "pa55" not in repr(named)


def test_a_proxy_of_the_environment_is_not_used_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with (
        serving(lambda handler: reply(handler, 200, {"ok": True})) as url,
        JsonClient("it", url, advice="") as client,
    ):
        assert client.get("/x") == {"ok": True}


# With real sockets


class serving:  # noqa: N801 - reads as a context
    """An HTTP server on a free port, that answers as told."""

    def __init__(self, handle: Callable[[BaseHTTPRequestHandler], None]) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                handle(self)

            do_POST = do_GET  # noqa: N815 - the names that http.server looks for

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    handler.rfile.read(int(handler.headers.get("content-length") or 0))
    text = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("content-length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens, kept from others while the test runs."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_closed_port(nobody: str) -> None:
    client = JsonClient("Dumont API", nobody, advice="Is it running?", pauses=())
    with pytest.raises(NotReachable) as gone:
        client.get("/x")
    assert str(gone.value) == f"Dumont API at {nobody} is not reachable: connection refused. Is it running?"


def test_a_server_that_hangs_up() -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    with serving(hang_up) as url, pytest.raises(AnswerLost, match=r"to POST /x was lost: .*disconnected"):
        JsonClient("Dumont API", url, advice="").post("/x", {"a": 1})


def test_a_server_that_does_not_answer() -> None:
    release = threading.Event()
    with serving(lambda _: (release.wait(10), None)[1]) as url:
        with pytest.raises(AnswerLost, match=r"was lost: no answer within 0\.2 s\."):
            JsonClient("Dumont API", url, advice="").post("/x", {}, timeout=0.2)
        release.set()


def test_no_header_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    def login(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("set-cookie", "session=canary-1")
        handler.send_header("content-length", "2")
        handler.end_headers()
        handler.wfile.write(b"{}")

    with caplog.at_level(1), serving(login) as url, JsonClient("it", url, advice="", token=SecretStr("canary-2")) as it:
        it.get("/x", params={"a": "canary-3"})
    assert "canary" not in caplog.text


def test_a_garbled_answer_is_a_lost_answer() -> None:
    def garble(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", "5")
        handler.end_headers()
        handler.wfile.write(b"plain")

    with serving(garble) as url, JsonClient("it", url, advice="") as it, pytest.raises(AnswerLost):
        it.post("/x", {})


def test_many_threads_share_one_client() -> None:
    with (
        serving(lambda handler: reply(handler, 200, handler.path)) as url,
        JsonClient("it", url, advice="") as client,
    ):
        seen: list[Any] = []
        threads = [threading.Thread(target=lambda n=n: seen.append(client.get(f"/{n}"))) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(seen) == sorted(f"/{n}" for n in range(20))
