"""What a saboteur sees of a cloud, and what it can do to it."""

from __future__ import annotations

import copy
import functools
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import httpx2

from sandbox.admin import PREFIX
from sandbox.cloud import Cloud
from sandbox.loopback import NO_TLS
from sandbox.state import StateDir

Part = Literal["control", "market"]
PARTS: tuple[Part, ...] = ("control", "market")


@dataclass
class Request:
    """A request that a part of the cloud has received. It carries no credentials.

    Attributes:
        caller: on the market `user` or `product`, by the key; None when it carries neither, and on other parts.
        headers: by their names in lower case.
        body: its JSON value; text when it is not JSON; None when it is empty.
    """

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    caller: str | None = None
    body: Any = None


@dataclass
class Answer:
    """An answer to a request. A body that is a string is sent as it is, everything else as JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class CUT:
    """Returned in place of an answer: the connection is closed without one."""


Event = Callable[[dict[str, Any]], object]
Rewrite = Callable[[Request, Answer], Answer | type[CUT] | None]
Instead = Callable[[Request], Answer | Request | type[CUT] | None]


class Scene:
    """A running cloud, as a saboteur meets it.

    Handlers run in threads of their own, several at a time: the cloud may do the next thing because of what one does.
    """

    def __init__(self, state: StateDir, tell: Callable[[dict[str, str]], None]) -> None:
        """Begins to listen. `tell` takes the messages: {"acted": …}, {"could_not_act": …} or {"trouble": …}."""
        self.state = state
        self._tell = tell
        self._config, self._secrets = state.config(), state.secrets()
        self._urls = {"control": self._config.control_url, "market": self._config.market_url}
        self._client = httpx2.Client(trust_env=False, verify=NO_TLS, timeout=30)
        self._handlers: list[Callable[[dict[str, Any]], dict[str, Any] | None]] = []
        self._faults: list[tuple[Part, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._listener())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    # ── When to act ─────────────────────────────────────────────────────────────────────────────────────────────────

    def on(self, event: str) -> Callable[[Event], Event]:
        """Calls the function with the event's data whenever the cloud has done that; the cloud waits (10 s at most)."""

        def decorate(act: Event) -> Event:
            def handle(message: dict[str, Any]) -> None:
                act(message["data"])

            url = self._url_of(handle)
            for part in PARTS:
                self.admin(part, "POST", "/subscriptions", {"event": event, "url": url})
            return act

        return decorate

    def rewrite(self, part: Part, match: str) -> Callable[[Rewrite], Rewrite]:
        """Answers of a part pass through the function, after the honest handler has done its work.

        It may change the answer in place, return another one, or CUT; None sends the answer that it was given.
        `match` is a regular expression, searched in `METHOD /path` (without the query).
        """

        def decorate(change: Rewrite) -> Rewrite:
            def handle(message: dict[str, Any]) -> dict[str, Any] | None:
                request, answer = Request(**message["request"]), Answer(**message["answer"])
                before = copy.deepcopy(answer)
                changed = change(request, answer) or answer
                return None if changed == before else _said(changed)

            self._add_fault(part, "rewrite", match, handle)
            return change

        return decorate

    def instead(self, part: Part, match: str) -> Callable[[Instead], Instead]:
        """The function decides on a request before the honest handler is called.

        It returns an Answer (it is sent, no handler is called), a Request (the handler gets that one, with the
        caller's credentials), CUT, or None (nothing happens).
        """

        def decorate(decide: Instead) -> Instead:
            def handle(message: dict[str, Any]) -> dict[str, Any] | None:
                decided = decide(Request(**message["request"]))
                return None if decided is None else _said(decided)

            self._add_fault(part, "instead", match, handle)
            return decide

        return decorate

    # ── What to act on ──────────────────────────────────────────────────────────────────────────────────────────────

    def machine_dir(self, instance_id: int) -> Path:
        """Where the disk of a machine is: `workspace`, `root`, `tmp`."""
        return self.state.machines / str(instance_id)

    @functools.cached_property
    def store(self) -> Any:
        """The object store, as its administrator: an S3 client of boto3."""
        import boto3  # noqa: PLC0415 - takes half a second
        from botocore.config import Config  # noqa: PLC0415

        return boto3.client(
            "s3",
            endpoint_url=self._config.store_url,
            aws_access_key_id=self._secrets.store_admin_key_id,
            aws_secret_access_key=self._secrets.store_admin_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )

    @property
    def bucket(self) -> str:
        """The bucket of the snapshots; the restic repository is under `restic/`."""
        return self._secrets.b2_bucket

    def objects(self, prefix: str = "restic/data/") -> dict[str, int]:
        """Keys and sizes of the objects in the bucket."""
        pages = self.store.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {one["Key"]: one["Size"] for page in pages for one in page.get("Contents", [])}

    def largest_since(self, before: Container[str]) -> str | None:
        """The key of the largest pack that has come since `before` was noted; None when none has."""
        added = {key: size for key, size in self.objects().items() if key not in before}
        return max(added, key=lambda key: added[key], default=None)

    def kill(self, part: Literal["control", "marketplace", "store"]) -> None:
        """Kills a part of the cloud with SIGKILL. The cloud stops then, as after a crash."""
        standing = Cloud(self.state).standing()
        process = standing.parts.get(part) if standing else None
        if process is None:
            raise LookupError(f"The {part} does not run.")
        process.kill(signal.SIGKILL)

    def admin(self, part: Part, method: str, path: str, body: Any = None) -> Any:
        """Asks for something under `/_sandbox`, such as ("market", "POST", "/instances/7/preempt"); returns JSON."""
        return self._ask(part, method, f"{PREFIX}{path}", body, self._secrets.admin_token)

    def ask(self, part: Part, method: str, path: str, body: Any = None) -> Any:
        """Asks a part past all rewriting, with the product's key on the market and as the user on the control API.

        Returns its JSON; an error status raises httpx2.HTTPStatusError.
        """
        key = self._secrets.dumont_vast_api_key if part == "market" else self._login
        return self._ask(part, method, path, body, key)

    # ── What to say ─────────────────────────────────────────────────────────────────────────────────────────────────

    def acted(self, text: str) -> None:
        """Notes that the lie was told. A run in which no saboteur acted proves nothing."""
        self._tell({"acted": text})

    def could_not_act(self, reason: str) -> None:
        """Report that this account cannot create the condition that the saboteur needs, and why.

        Such a run counts as "not touched" and does not fail the experiment. Call it only for lack of privileges: a
        saboteur that found nothing to change is a defect of the saboteur or of its list of suites.
        """
        self._tell({"could_not_act": reason})

    def close(self) -> None:
        """Takes back all subscriptions and faults. What was done to files and objects stays done."""
        with suppress(httpx2.HTTPError):  # a cloud that is gone has forgotten them
            for part, name in self._faults:
                self.admin(part, "DELETE", f"/faults/{name}")
            for part in PARTS:
                for number in range(len(self._handlers)):
                    self.admin(part, "DELETE", f"/subscriptions?url={self._address}/{number}")
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    # ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @functools.cached_property
    def _login(self) -> str:
        body = {"username": self._secrets.dumont_email, "password": self._secrets.dumont_password}
        return str(self._ask("control", "POST", "/api/v1/auth/login", body, "")["token"])

    def _ask(self, part: Part, method: str, path: str, body: Any, key: str) -> Any:
        headers = {"X-Sandbox-Admin": self._secrets.admin_token} | ({"Authorization": f"Bearer {key}"} if key else {})
        answer = self._client.request(method, self._urls[part] + path, json=body, headers=headers)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _add_fault(
        self, part: Part, kind: str, match: str, handle: Callable[[dict[str, Any]], dict[str, Any] | None]
    ) -> None:
        url = self._url_of(handle)
        name = f"sabotage-{self._server.server_port}-{len(self._faults)}"
        self.admin(part, "POST", "/faults", {"name": name, "kind": kind, "match": match, "url": url})
        self._faults.append((part, name))

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _url_of(self, handle: Callable[[dict[str, Any]], dict[str, Any] | None]) -> str:
        self._handlers.append(handle)
        return f"{self._address}/{len(self._handlers) - 1}"

    def _listener(self) -> type[BaseHTTPRequestHandler]:
        scene = self

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                try:
                    said = scene._handlers[int(self.path[1:])](message)
                    status = 204 if said is None else 200
                except Exception as error:  # noqa: BLE001 - whatever it is: the cloud goes on, and the trouble is told
                    traceback.print_exc(file=sys.stderr)
                    scene._tell({"trouble": f"{type(error).__name__}: {error}"})
                    said, status = None, 500
                content = b"" if said is None else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        return Listener


def _said(decision: Answer | Request | type[CUT]) -> dict[str, Any]:
    if isinstance(decision, Request):
        return {"request": asdict(decision)}
    return {"answer": asdict(decision) if isinstance(decision, Answer) else None}
