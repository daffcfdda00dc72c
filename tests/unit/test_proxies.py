"""A proxy of the user: our clients go through it to the world, and never to this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests

from rekindle.access import check_page
from rekindle.errors import RekindleError
from rekindle.guard import ENVIRONMENT
from rekindle.http import JsonClient, proxies_for
from rekindle.objects import ObjectStore
from sandbox.environment import proxy_exceptions
from tests.recording_proxy import EXCEPTIONS, NAMES, RecordingProxy

WORLD, HERE = "http://product.example", "http://127.0.0.1:9"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingProxy]:
    for name in EXCEPTIONS:
        monkeypatch.delenv(name, raising=False)
    with RecordingProxy() as proxy:
        for name, value in proxy.environment.items():
            monkeypatch.setenv(name, value)
        yield proxy


def by_http(url: str) -> None:
    with JsonClient("it", url, advice="", pauses=()) as client:
        client.get("/x")


def by_page(url: str) -> None:
    check_page(url)


def by_requests(url: str) -> None:
    session = requests.Session()
    session.trust_env = False
    session.proxies = proxies_for(url)
    with session, suppress(requests.ConnectionError):
        session.get(f"{url}/x")


def by_s3(url: str) -> None:
    store = ObjectStore(url, "bucket", "id", "secret")
    store.list("x")


@pytest.mark.parametrize("ask", [by_http, by_page, by_requests, by_s3])
def test_the_proxy_is_used_for_the_world_and_not_for_this_machine(proxy: RecordingProxy, ask: object) -> None:
    assert callable(ask)
    with suppress(RekindleError):
        ask(HERE)
    assert proxy.requests == []
    with suppress(RekindleError):
        ask(WORLD)
    assert proxy.requests
    assert all(WORLD in request for request in proxy.requests)


def test_the_watchdog_reaches_the_world_in_the_same_way() -> None:
    assert {*NAMES, *EXCEPTIONS} <= set(ENVIRONMENT)


@pytest.mark.parametrize(
    ("environment", "added"),
    [
        ({}, None),
        ({"NO_PROXY": "a"}, None),
        ({"http_proxy": "http://p"}, "127.0.0.1,localhost"),
        ({"ALL_PROXY": "http://p", "NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost"),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "localhost,127.0.0.1"}, None),
        ({"HTTPS_PROXY": "http://p", "no_proxy": "*"}, None),
    ],
)
def test_other_clients_of_the_embedded_cloud_are_given_an_exception(
    environment: dict[str, str], added: str | None
) -> None:
    """Such as `vastai`, which would go to 127.0.0.1 through the proxy."""
    assert proxy_exceptions(environment) == ({} if added is None else dict.fromkeys(EXCEPTIONS, added))
