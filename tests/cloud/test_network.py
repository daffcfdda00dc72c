"""A cloud whose network can be broken and whose clocks can be set: everything passes the network, and only there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import jwt
import pytest

from sandbox.hosts.host import PORTS
from sandbox.state import StateDir
from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi, eventually


class Network:
    """Its HTTP API, as clients of Toxiproxy use it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._client = httpx2.Client(
            base_url=environment["TOXIPROXY_URL"],
            headers={"Authorization": f"Bearer {environment['SANDBOX_CONTROL_TOKEN']}"},
            trust_env=False,
        )

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = self._client.request(method, path, json=body).raise_for_status()
        return answer.json() if answer.content else None

    def proxies(self) -> dict[str, Any]:
        proxies: dict[str, Any] = self.ask("GET", "/proxies")
        return proxies

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest(tmp_path_factory.mktemp("network") / "cloud")
    cloud.up("--proxied", "--settable-clocks")
    yield cloud
    cloud.down()


@pytest.fixture
def network(cloud: CloudUnderTest) -> Iterator[Network]:
    network = Network(cloud.environment)
    yield network
    network.ask("POST", "/reset")
    network.close()


def test_every_address_is_the_beginning_of_a_way(cloud: CloudUnderTest, network: Network) -> None:
    listening = {proxy["listen"] for proxy in network.proxies().values()}
    addresses = {
        urlsplit(value.removeprefix("s3:")).netloc for value in cloud.environment.values() if "http://" in value
    }
    assert addresses - {urlsplit(cloud.environment["TOXIPROXY_URL"]).netloc} <= listening
    product = StateDir(cloud.state_dir).config().for_product
    ways = {urlsplit(url).netloc for url in product.model_dump().values()}
    assert ways <= listening
    assert not ways & addresses  # what is broken for the product goes well for its users, and the other way round


def test_a_way_that_is_cut_refuses_its_users_alone(cloud: CloudUnderTest, network: Network) -> None:
    network.ask("POST", "/proxies/market", {"enabled": False})
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{cloud.environment['VAST_URL']}/health", trust_env=False)
    offers = httpx2.get(f"{cloud.environment['DUMONT_API_URL']}/api/v1/instances/offers", trust_env=False)
    assert offers.json()["count"]


def test_ssh_of_a_machine_has_a_way_as_long_as_it_runs(cloud: CloudUnderTest, network: Network) -> None:
    control = ControlApi(cloud.environment)
    machine_id = control.rent()
    shown = control.call("GET", f"/instances/{machine_id}")
    assert shown["ssh_port"] in PORTS  # there its traffic is counted
    assert network.proxies()[f"ssh-{machine_id}"]["listen"] == f"{shown['ssh_host']}:{shown['ssh_port']}"
    control.call("DELETE", f"/instances/{machine_id}")
    assert f"ssh-{machine_id}" not in network.proxies()
    control.close()


def test_a_clock_that_is_set_changes_what_its_part_says(cloud: CloudUnderTest) -> None:
    done = cloud.run("clock", "control", "86400")
    assert done.stdout == "The clock of the control is +86400 s from the right time within 1 s.\n"
    url = f"{cloud.environment['DUMONT_API_URL']}/api/v1/auth/login"
    login = {"email": cloud.environment["DUMONT_EMAIL"], "password": cloud.environment["DUMONT_PASSWORD"]}

    def is_ahead() -> bool:
        token = httpx2.post(url, json=login, trust_env=False).json()["token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        return bool(claims["iat"] > time.time() + 86000)

    eventually("the product dates a token a day ahead", is_ahead)
    assert "answers" in cloud.run("status").stdout  # asking for the status does not set it right again


def test_a_cloud_without_them_refuses(tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = CloudUnderTest(tmp_path_factory.mktemp("plain") / "cloud")
    plain.up()
    try:
        for option, what in (("--proxied", "proxies"), ("--settable-clocks", "clocks that can be set")):
            done = plain.run("up", "--detach", option)
            assert (done.returncode, f"already up, without {what}" in done.stderr) == (2, True)
        done = plain.run("clock", "control", "1")
        assert (done.returncode, "cannot be set" in done.stderr) == (2, True)
        assert "TOXIPROXY_URL" not in plain.environment
    finally:
        plain.down()
