"""The pages without a browser: who gets which page, and with which guards."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from sandbox.console import pages, visitors
from sandbox.control import errors
from sandbox.control.auth import COOKIE, Accounts
from sandbox.state import Secrets

STATIC = Path(pages.__file__).parent / "static"


@pytest.fixture
def accounts() -> Accounts:
    return Accounts(Secrets())


@pytest.fixture
def browser(accounts: Accounts, tmp_path: Path) -> Iterator[TestClient]:
    app = FastAPI()
    errors.install(app, tmp_path)
    pages.install(app, accounts)
    with TestClient(app, base_url="http://127.0.0.1:4890", follow_redirects=False) as client:
        yield client


def test_a_stranger_is_led_to_the_login_and_then_where_he_wanted(browser: TestClient, accounts: Accounts) -> None:
    assert browser.get("/app/machines").headers["location"] == "/login?after=/app/machines"
    assert 'data-target="/app/machines"' in browser.get("/login?after=/app/machines").text
    browser.cookies.set(COOKIE, accounts.demo())
    assert browser.get("/login?after=/app/machines").headers["location"] == "/app/machines"
    assert "Minhas Máquinas" in browser.get("/app/machines").text


def test_a_session_that_is_no_good_is_told(browser: TestClient) -> None:
    browser.cookies.set(COOKIE, "stale")
    where = browser.get("/app").headers["location"]
    assert "Sua sessão terminou" in browser.get(where).text


@pytest.mark.parametrize("target", ["//evil.example/", "https://evil.example/", "/api/v1/instances", "/app/../x"])
def test_the_login_leads_to_pages_only(browser: TestClient, target: str) -> None:
    assert f'data-target="{pages.HOME}"' in browser.get("/login", params={"after": target}).text


def test_a_page_says_what_may_run_in_it(browser: TestClient) -> None:
    for answer in (browser.get("/login"), browser.get("/static/console.css"), browser.get("/app/nowhere")):
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert browser.get("/app/nowhere").status_code == 404


def test_what_stands_in_the_address_is_text(browser: TestClient) -> None:
    assert "<script>" not in browser.get("/app/<script>").text


def test_without_a_password_only_the_owner_of_the_cloud_gets_in(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = browser.get("/login?auto_login=demo")
    assert COOKIE not in refused.cookies
    assert "só ao usuário que iniciou esta nuvem" in refused.text
    monkeypatch.setattr(pages, "is_own_user", lambda _: True)
    assert COOKIE in browser.get("/login?auto_login=demo").cookies


def _asked_by(host: str, client: tuple[str, int]) -> Request:
    return Request({
        "type": "http", "path": "/", "query_string": b"", "client": client, "headers": [(b"host", host.encode())],
    })  # fmt: skip


def test_the_kernel_knows_whose_connection_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        mine = client.getsockname()
        assert visitors.is_own_user(_asked_by("127.0.0.1:4890", mine))
        assert visitors.is_own_user(_asked_by("localhost:4890", mine))
        assert not visitors.is_own_user(_asked_by("evil.example", mine)), "a foreign name that leads here"
        assert not visitors.is_own_user(_asked_by("127.0.0.1:4890", ("192.0.2.1", mine[1])))
        monkeypatch.setattr(visitors, "_owner", lambda _: os.getuid() + 1)
        assert not visitors.is_own_user(_asked_by("127.0.0.1:4890", mine))
    monkeypatch.undo()
    assert not visitors.is_own_user(_asked_by("127.0.0.1:4890", ("127.0.0.1", 1)))


def test_pages_ask_for_nothing_from_elsewhere() -> None:
    files = [*STATIC.iterdir(), *(STATIC.parent / "templates").iterdir()]
    assert len(files) > 15
    for file in files:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file
        assert " style=" not in text, file
        assert "onclick" not in text, file
