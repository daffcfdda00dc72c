"""The API without anything behind it: login, tokens, the one envelope of all errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from fastapi import FastAPI

from sandbox.console import pages
from sandbox.control.app import build
from sandbox.control.auth import COOKIE
from sandbox.state import CloudConfig, Ports, Secrets, StateDir


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> StateDir:
    made = StateDir(tmp_path_factory.mktemp("cloud"))
    made.create()
    made.write_config(CloudConfig(cloud_id="unit-test", ports=Ports(control=1, market=2, store=3)))
    return made


@pytest.fixture(scope="module")
def app(state: StateDir) -> FastAPI:
    return build(state, pages.install)


@pytest.fixture
def secrets(state: StateDir) -> Secrets:
    return state.secrets()


Ask = Callable[..., httpx2.Response]


@pytest.fixture
def ask(app: FastAPI) -> Ask:
    def ask(method: str, path: str, **options: Any) -> httpx2.Response:
        async def run() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx2.AsyncClient(transport=transport, base_url="http://api", trust_env=False) as client:
                return await client.request(method, path, **options)

        return asyncio.run(run())

    return ask


def token(secrets: Secrets, **claims: Any) -> str:
    whole = {"sub": "a@b.c", "exp": int(time.time()) + 60} | claims
    return jwt.encode({name: value for name, value in whole.items() if value is not None}, secrets.jwt_secret, "HS256")


def test_health_names_the_cloud(ask: Ask) -> None:
    answer = ask("GET", "/health")
    assert answer.json() == {"status": "healthy", "version": "3.0.0", "service": "dumont-cloud"}
    assert answer.headers["X-Sandbox-Id"] == "unit-test"


def test_a_token_lasts_45_days(ask: Ask, secrets: Secrets) -> None:
    for name in ("email", "username"):
        body = {name: secrets.dumont_email, "password": secrets.dumont_password}
        given = ask("POST", "/api/v1/auth/login", json=body).json()["token"]
    claims = jwt.decode(given, secrets.jwt_secret, ["HS256"])
    assert claims["sub"] == secrets.dumont_email
    assert claims["exp"] - claims["iat"] == 45 * 24 * 3600


@pytest.mark.parametrize(
    "claims", [{"exp": 1}, {"exp": None}, {"sub": None}], ids=["expired", "without end", "without account"]
)
def test_a_bad_token_is_no_token(ask: Ask, secrets: Secrets, claims: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {token(secrets, **claims)}"}
    answer = ask("GET", "/api/v1/auth/me", headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"error": "Not authenticated", "detail": "Not authenticated"})


def test_somebody_elses_token_is_refused(ask: Ask, secrets: Secrets) -> None:
    stranger = secrets.model_copy(update={"jwt_secret": "0" * 64})
    assert ask("GET", "/api/v1/auth/me", headers={"Authorization": f"Bearer {token(stranger)}"}).status_code == 401
    unsigned = jwt.encode({"sub": "a@b.c", "exp": int(time.time()) + 60}, "", "none")
    assert ask("GET", "/api/v1/auth/me", headers={"Authorization": f"Bearer {unsigned}"}).status_code == 401


def test_bearer_or_cookie(ask: Ask, secrets: Secrets) -> None:
    good = token(secrets)
    for headers in ({"Authorization": f"Bearer {good}"}, {"Cookie": f"{COOKIE}={good}"}):
        assert ask("GET", "/api/v1/auth/me", headers=headers).json()["user"]["email"] == "a@b.c"


def test_every_route_but_the_public_ones_needs_login(ask: Ask, app: FastAPI) -> None:
    public = {"/health", "/api/v1/auth/login", "/api/v1/instances/offers"}
    asked = 0
    for path, methods in app.openapi()["paths"].items():
        if path in public or path.startswith("/api/v1/agent"):
            continue
        for method in methods:
            answer = ask(method.upper(), path.replace("{instance_id}", "1").replace("{reference}", "x"))
            assert answer.status_code == 401, f"{method} {path}"
            asked += 1
    assert asked > 20


@pytest.mark.parametrize(("method", "status"), [("GET", 404), ("POST", 405), ("DELETE", 405)])
def test_unknown_routes(ask: Ask, method: str, status: int) -> None:
    answer = ask(method, "/api/v1/no/such/route")
    assert answer.status_code == status
    assert answer.json()["error"] == answer.json()["detail"]


def test_an_invalid_body_is_described_without_its_password(ask: Ask) -> None:
    for body in ({"email": "a@b.c", "password": ["hunter2"]}, {"password": "hunter2"}):
        answer = ask("POST", "/api/v1/auth/login", json=body)
        assert answer.status_code == 422
        assert answer.json()["error"] == "Validation error"
        assert {"type", "loc", "msg", "input"} <= answer.json()["details"][0].keys()
        assert "hunter2" not in answer.text


def test_agents_speak_of_numbered_machines(ask: Ask) -> None:
    beat = {"version": "1", "instance_id": "vast_29070001", "status": "idle", "timestamp": "now"}
    answer = ask("POST", "/api/agent/status", json=beat)
    assert answer.json() == {
        "received": True,
        "instance_id": "29070001",
        "action": "none",
        "message": "Status received",
    }
    assert ask("GET", "/api/v1/agent/instances/29070001").json()["status"] == "running"
    assert ask("POST", "/api/agent/status", json={**beat, "instance_id": "../1"}).status_code == 422
    assert ask("POST", "/api/agent/status", json={**beat, "instance_id": 7}).status_code == 422
    assert ask("GET", "/api/v1/agent/instances/7").status_code == 404


def test_credentials_for_restic_are_private(state: StateDir, app: FastAPI) -> None:
    del app
    files = [file for file in Path(state.root / "control").iterdir() if file.is_file()]
    assert len(files) == 2
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
