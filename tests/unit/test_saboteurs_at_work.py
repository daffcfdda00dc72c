"""Every saboteur on a small stage: however often it acts, its lie stays."""

from __future__ import annotations

import copy
import io
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandbox.sabotage.saboteur import OWN, Saboteur, saboteurs
from sandbox.sabotage.scene import Answer, Part, Request, Scene
from tests.cloud_under_test import PROJECT_DIR

ROUNDS = 3
SLEEPING, AWAKE = 6, 7  # machines
EMAIL = "me@example.com"

# ── One round: all that the cloud does while a machine is hibernated, woken, lost and replaced ────────────────────────

BEFORE: list[tuple[str, dict[str, Any]]] = [
    ("machine.running", {"instance_id": AWAKE}),
    ("cpu_machine.running", {"machine": "standby-1"}),
    ("snapshot.finished", {"instance_id": SLEEPING, "snapshot_id": "5a5a"}),
    ("machine.destroyed", {"instance_id": SLEEPING}),
    ("machine.preempted", {"instance_id": SLEEPING}),
]
AFTER: list[tuple[str, dict[str, Any]]] = [
    ("migration.phase", {"phase": "copying"}),
    ("restore.finished", {"instance_id": AWAKE}),
    ("failover.phase", {"phase": "complete", "new_instance_id": AWAKE}),
]


def row(instance_id: int) -> dict[str, Any]:
    status = {"actual_status": "running", "intended_status": "running"}
    return {"id": instance_id, "label": "rekindle-x", "dph_total": 0.2, **status}


def charge(kind: str) -> dict[str, Any]:
    times = {"start": 1000.0, "end": 2000.0, "quantity": 1000.0}
    return {"source": f"instance-{AWAKE}", "type": kind, "rate": 0.2, "amount": 0.1, **times}


def failover(phase: str) -> dict[str, Any]:
    phases = [{"phase": name, "entered_at": 5000.0, "seconds": 2.0} for name in ("detecting", "failover_to_cpu", phase)]
    return {
        "failover_id": "f1", "gpu_instance_id": SLEEPING, "new_instance_id": AWAKE, "phase": phase, "phases": phases,
        "phase_timings_ms": {"detecting": 2000.0}, "total_time_ms": 2000.0, "race": {"losers": [8]},
    }  # fmt: skip


def static(name: str) -> str:
    return (PROJECT_DIR / "sandbox" / "console" / "static" / name).read_text()


def calls() -> list[tuple[Part, Request, Any]]:
    """Requests with the answers of an honest cloud."""
    agent = {"status": "busy", "gpu_metrics": {"utilization": 97, "gpu_utilizations": [97]}}
    config = {"auto_hibernation_enabled": True, "idle_timeout_seconds": 3}
    restore = {"snapshot_id": "new", "instance_id": AWAKE, "target_path": "/workspace"}
    snapshots = {"snapshots": [{"id": "5a5a", "short_id": "5a5a"}], "count": 1}
    history = {"history": [{"failover_id": "f1", "total_time_ms": 9.0, "phase_timings_ms": {"detecting": 9.0}}]}
    association = {"state": "ready", "sync_count": 3, "lag_seconds": 9.0}
    product: Callable[..., Request] = lambda method, path, **more: Request(method, path, caller="product", **more)  # noqa: E731
    user: Callable[..., Request] = lambda method, path, **more: Request(method, path, caller="user", **more)  # noqa: E731
    return [
        ("control", Request("POST", "/api/v1/instances/6/wake"), {"id": AWAKE}),
        ("control", Request("POST", "/api/v1/auth/login", body={"username": EMAIL, "password": "x"}), {}),
        ("control", Request("PUT", "/api/v1/instances/7/config", body=config), {}),
        ("control", Request("POST", "/api/agent/status", body=agent), {}),
        ("control", Request("POST", "/api/v1/instances"), {"id": AWAKE}),
        ("control", Request("GET", "/api/v1/instances"), {"instances": [row(AWAKE)]}),
        ("control", Request("GET", "/api/v1/instances/7"), row(AWAKE)),
        ("control", Request("GET", "/api/v1/instances/offers"), {"offers": [row(1)], "count": 1}),
        ("control", Request("DELETE", "/api/v1/instances/7"), {}),
        ("control", Request("POST", "/api/v1/instances/7/migrate"), {}),
        ("control", Request("GET", "/api/v1/instances/migrate/m1"), {"quiet_seconds": 9.0}),
        ("control", Request("GET", "/api/v1/snapshots"), snapshots),
        ("control", Request("POST", "/api/v1/snapshots/restore", body=restore), dict(restore)),
        ("control", Request("DELETE", "/api/v1/snapshots/5a5a"), {}),
        ("control", Request("GET", "/api/v1/standby/associations/7"), association),
        ("market", product("PUT", "/api/v0/asks/1"), {"success": True, "new_contract": AWAKE}),
        ("market", product("DELETE", "/api/v0/instances/8"), {"success": True}),
        ("market", user("GET", "/api/v0/charges"), {"results": [charge("gpu"), charge("upload")]}),
        ("market", user("GET", "/api/v1/instances"), {"instances": [row(AWAKE), row(8)]}),
        ("control", Request("GET", "/api/v1/standby/failover/status/f1"), failover("failed")),
        ("control", Request("GET", "/api/v1/standby/failover/status/f1"), failover("complete")),
        ("control", Request("GET", "/api/v1/standby/failover/report"), history),
        ("control", Request("GET", "/static/machines.js"), static("machines.js")),
        ("control", Request("GET", "/static/view.js"), static("view.js")),
    ]


# ── The stage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Store:
    """As much of an S3 client as saboteurs use."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.rules: list[Any] = []

    def receive_snapshot(self) -> None:
        self.objects |= {"restic/data/01": b"pack" * 500, "restic/index/1": b"index"}
        self.objects |= {"restic/snapshots/5a5a": b"snapshot", "rekindle/manifests/5a5a": b"manifest" * 9}

    def get_object(self, **wanted: Any) -> Any:
        return {"Body": io.BytesIO(self.objects[wanted["Key"]])}

    def put_object(self, **given: Any) -> None:
        self.objects[given["Key"]] = given["Body"]

    def delete_object(self, **unwanted: Any) -> None:
        self.objects.pop(unwanted["Key"], None)

    def put_bucket_policy(self, **rule: Any) -> None:
        self.rules.append(rule)

    def put_bucket_versioning(self, **rule: Any) -> None:
        self.rules.append(rule)


class Stage(Scene):
    """A scene without a cloud: two machines, a bucket, and answers that the test gives."""

    bucket = "bucket"
    _address = ""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        account = SimpleNamespace(dumont_email=EMAIL, dumont_password="right")  # noqa: S106
        self.state = SimpleNamespace(secrets=lambda: account)  # type: ignore[assignment]
        self.store = Store()
        self.acts: list[str] = []
        self.obstacles: list[str] = []
        self.orders: list[tuple[Any, ...]] = []  # what the saboteur had the cloud do
        self._saved = False
        self._handlers = []
        self._events: dict[str, list[Callable[[dict[str, Any]], Any]]] = {}
        self._lies: list[tuple[Part, str, str, Callable[[dict[str, Any]], Any]]] = []
        for machine in (SLEEPING, AWAKE):
            _fill(folder / str(machine), machine)

    def machine_dir(self, instance_id: int) -> Path:
        return self._folder / str(instance_id)

    def objects(self, prefix: str = "restic/data/") -> dict[str, int]:
        return {key: len(data) for key, data in self.store.objects.items() if key.startswith(prefix)}

    def admin(self, part: Part, method: str, path: str, body: Any = None) -> Any:
        if path == "/subscriptions" and part == "control":
            self._events.setdefault(body["event"], []).append(self._handlers[int(body["url"].removeprefix("/"))])
        elif path != "/subscriptions":
            self.orders.append((part, method, path, body))

    def ask(self, part: Part, method: str, path: str, body: Any = None) -> Any:
        if path == "/api/v0/search/asks/":
            return {"offers": [{"id": 1, "dph_total": 0.2}, {"id": 2, "dph_total": 0.9}]}
        if method == "GET" and path == "/api/v1/snapshots":
            return {"snapshots": [{"short_id": "new"}, {"short_id": "old"}]}
        if method == "GET":
            return {"instances": row(AWAKE)}
        self.orders.append((part, method, path, body))
        return {"new_contract": 99}

    def acted(self, text: str) -> None:
        self.acts.append(text)

    def could_not_act(self, reason: str) -> None:
        self.obstacles.append(reason)

    def round(self) -> Any:
        """What the world is after one round: files, objects, rules, orders to the cloud, and its answers.

        The snapshot is made in the first round only, so that in later ones the same damage could be done again.
        """
        if not self._saved:
            self._saved = True
            self.store.receive_snapshot()
        self.orders.clear()
        self._fire(BEFORE)
        answers = [self._answer(*call) for call in calls()]
        self._fire(AFTER)
        return [_tree(self._folder), copy.deepcopy(vars(self.store)), list(self.orders), answers]

    def _fire(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        for event, data in events:
            for handle in self._events.get(event, ()):
                handle({"data": data})

    def _answer(self, part: Part, request: Request, body: Any) -> Any:
        """What the honest handler got (None: it was not called), and what the caller gets."""
        named = f"{request.method} {request.path}"
        asked, answer = vars(request), {"body": body, "status": 200, "headers": {}}
        for kind in ("instead", "rewrite"):
            for its_part, its_kind, match, handle in self._lies:
                if (its_part, its_kind) == (part, kind) and re.search(match, named):
                    said = handle(copy.deepcopy({"request": asked, "answer": answer})) or {}
                    asked = said.get("request", asked)
                    answer = said.get("answer", answer)
                    if kind == "instead" and "answer" in said:
                        return None, answer
        return asked, answer

    def _add_fault(self, part: Part, kind: str, match: str, handle: Callable[[dict[str, Any]], Any]) -> None:
        self._lies.append((part, kind, match, handle))


def _fill(disk: Path, seed: int) -> None:
    """A machine's disk: modes, read-only, hidden and empty entries, links, odd names, another owner if we are root."""
    for name in ("root", "tmp", "etc", "workspace/empty", "workspace/.hidden", "workspace/ticks-1"):
        (disk / name).mkdir(parents=True)
    (disk / "etc" / "gpu").write_text("1|24564|RTX 4090\n")
    workspace = disk / "workspace"
    for number, name in enumerate(("a.txt", "maçã.txt", "model.bin", "z.sh", ".hidden/b", "ticks-1/1.txt")):
        (workspace / name).write_bytes(sha256(bytes([seed, number])).digest() * (number % 3 + 1))
    (workspace / "nothing.txt").touch()
    (workspace / "z.sh").chmod(0o755)
    (workspace / "model.bin").chmod(0o444)
    (workspace / "link").symlink_to("a.txt")
    with suppress(PermissionError):
        os.chown(workspace / "a.txt", 1234, 1234)
    for path in (disk, *disk.rglob("*")):
        os.utime(path, ns=(10**18, 10**18), follow_symlinks=False)
    (workspace / ".hidden").chmod(0o500)


def _tree(folder: Path) -> dict[str, tuple[Any, ...]]:
    return {
        str(path.relative_to(folder)): (
            (seen := path.lstat()).st_mode, seen.st_uid, seen.st_mtime_ns,
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }  # fmt: skip


# ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("saboteur", saboteurs(OWN), ids=lambda one: one.name)
def test_a_lie_stays_however_often_it_is_told(
    saboteur: Saboteur, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    own_folder = SimpleNamespace(name=str(tmp_path / "own"))  # of a saboteur that keeps files of its own
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda prefix: own_folder)
    honest, stage = Stage(tmp_path / "honest"), Stage(tmp_path / "stage")
    truth = honest.round()
    saboteur.sabotage(stage)
    for number in range(1, ROUNDS + 1):
        world = stage.round()
        if stage.obstacles and not stage.acts:
            pytest.skip(stage.obstacles[0])
        assert stage.acts, "the stage has nothing that this saboteur could touch"
        assert world != truth, f"nothing is left of the lie after it was told {number} times: {stage.acts}"


def test_damage_that_undoes_itself_is_found(tmp_path: Path) -> None:
    """The measure itself: a flipped bit that is flipped back."""
    stage = Stage(tmp_path / "stage")
    truth = Stage(tmp_path / "honest").round()

    @stage.on("restore.finished")
    def flip(data: dict[str, Any]) -> None:
        file = stage.machine_dir(data["instance_id"]) / "workspace" / "a.txt"
        file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
        os.utime(file, ns=(10**18, 10**18))

    assert stage.round() != truth
    assert stage.round() == truth


def test_answers_pass_through_the_stage(tmp_path: Path) -> None:
    """The measure itself: an answer that is changed is another world."""
    stage = Stage(tmp_path / "stage")
    truth = Stage(tmp_path / "honest").round()

    @stage.rewrite("control", r"^GET /api/v1/snapshots$")
    def empty(_: Request, answer: Answer) -> None:
        answer.body["count"] = 0

    assert stage.round() != truth
