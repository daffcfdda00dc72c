"""Dumont Cloud as a client sees it, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import httpx2

DEADLINE = 60.0


def eventually(what: str, look: Callable[[], Any]) -> Any:
    """The first truthy value of `look`; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while not (seen := look()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.05)
    return seen


class ControlApi:
    """Logged in. Each call says which status it expects and returns the JSON."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.root = environment["DUMONT_API_URL"].removesuffix("/api/v1").removesuffix("/api")
        self.market_url = environment["VAST_URL"]
        self.http = httpx2.Client(base_url=f"{self.root}/api/v1", timeout=120, trust_env=False)
        self.admin = httpx2.Client(
            headers={"Authorization": f"Bearer {environment['SANDBOX_CONTROL_TOKEN']}"}, timeout=30, trust_env=False
        )
        login = {"email": environment["DUMONT_EMAIL"], "password": environment["DUMONT_PASSWORD"]}
        self.http.headers["Authorization"] = f"Bearer {self.call('POST', '/auth/login', json=login)['token']}"
        self.http.cookies.clear()

    def close(self) -> None:
        self.http.close()
        self.admin.close()

    def clear(self) -> None:
        """Leaves nothing rented, and nothing wrong."""
        self.admin.delete(f"{self.market_url}/_sandbox/faults")
        self.admin.delete(f"{self.root}/_sandbox/subscriptions")
        for row in self.call("GET", "/instances")["instances"]:
            self.http.delete(f"/instances/{row['id']}")  # a warm machine goes with the one that it is for
        assert self.call("GET", "/instances")["instances"] == []

    def call(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.http.request(method, path, **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def error(self, method: str, path: str, status: int, **options: Any) -> str:
        """The text of an error that is expected, from its envelope."""
        body = self.call(method, path, status, **options)
        assert body["error"] == body["detail"], body
        return str(body["error"])

    def offer(self) -> int:
        offers = self.call("GET", "/instances/offers", params={"min_disk": 10, "min_inet_down": 0, "limit": 1})
        return int(offers["offers"][0]["id"])

    def rent(self, label: str = "test", files: str = "", **wish: Any) -> int:
        """A machine that runs and answers; `files` is a command that fills its workspace."""
        body = {"offer_id": self.offer(), "disk_size": 10, "label": label, "skip_standby": True, **wish}
        instance_id = int(self.call("POST", "/instances", 201, json=body)["id"])
        eventually("machine runs", lambda: self.actual_status(instance_id) == "running")
        self.run(instance_id, f"cd /workspace; {files}")
        return instance_id

    def actual_status(self, instance_id: int) -> str:
        return str(self.call("GET", f"/instances/{instance_id}")["actual_status"])

    def run(self, instance_id: int, command: str) -> str:
        done = self.call("POST", f"/instances/{instance_id}/exec", json={"command": command})
        assert done["exit_code"] == 0, done
        return str(done["stdout"])

    def state(self, instance_id: int) -> dict[str, Any]:
        """What the idle detector knows of a machine; {} before its first heartbeat."""
        answer = self.http.get(f"/agent/instances/{instance_id}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def wait_for(self, instance_id: int, *states: str) -> dict[str, Any]:
        found: dict[str, Any] = eventually(
            f"instance {instance_id} is {' or '.join(states)}",
            lambda: state if (state := self.state(instance_id)).get("status") in states else None,
        )
        return found

    def hibernate_when_idle_for(self, instance_id: int, seconds: float) -> None:
        self.call("PUT", f"/instances/{instance_id}/config", json={"idle_timeout_seconds": seconds})

    @contextmanager
    def fault(self, part: str, **fault: Any) -> Iterator[None]:
        """A fault on the market (`part` is its URL) or on the control plane, for as long as the block lasts."""
        self.admin.post(f"{part}/_sandbox/faults", json={"name": "test", **fault}).raise_for_status()
        try:
            yield
        finally:
            self.admin.delete(f"{part}/_sandbox/faults")

    @contextmanager
    def at(self, event: str, act: Callable[[], object], *, part: str | None = None) -> Iterator[None]:
        """Acts when the event is published, before the cloud goes on. What the act raises, the block raises.

        `part`: the URL of the market, for its events; Dumont Cloud's when None.
        """
        raised: list[Exception] = []

        class Subscriber(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                try:
                    act()
                except Exception as error:  # noqa: BLE001 - raised again in the test's own thread
                    raised.append(error)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                del format, args

        with ThreadingHTTPServer(("127.0.0.1", 0), Subscriber) as server:
            server.daemon_threads = False  # closing it waits for an act that is under way
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            url = f"http://127.0.0.1:{server.server_port}/"
            subscriptions = f"{part or self.root}/_sandbox/subscriptions"
            self.admin.post(subscriptions, json={"event": event, "url": url}).raise_for_status()
            try:
                yield
            finally:
                with suppress(httpx2.TransportError):  # the act may have killed it
                    self.admin.delete(subscriptions, params={"url": url})
                server.shutdown()
                thread.join()
        for error in raised:
            raise error


class Probe:
    """Asks for /health all the time and keeps how long each answer took, in seconds."""

    def __init__(self, url: str) -> None:
        self.seconds: list[float] = []
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        with httpx2.Client(timeout=60, trust_env=False) as http:
            while not self._over.wait(0.02):
                begun = time.perf_counter()
                http.get(f"{self._url}/health").raise_for_status()
                self.seconds.append(time.perf_counter() - begun)
