"""The address of the web page: the port that it actually has, and the login."""

from __future__ import annotations

import pytest

from sandbox.page import login_address, show
from sandbox.state import CloudConfig, Ports, Proxies

ADDRESS = "http://127.0.0.1:5001/login?auto_login=demo"


def config(console: int | None, proxies: Proxies | None = None) -> CloudConfig:
    ports = Ports(control=5000, market=5002, store=5003, console=console)
    return CloudConfig(cloud_id="1", ports=ports, proxies=proxies)


@pytest.mark.parametrize(("console", "port"), [(5001, 5001), (None, 5000)])
def test_the_address_has_the_actual_port_and_the_login(console: int | None, port: int) -> None:
    assert login_address(config(console)) == f"http://127.0.0.1:{port}/login?auto_login=demo"


def test_a_proxied_cloud_shows_its_page_through_the_network() -> None:
    ways = Proxies(api=1, control=2, market=3, store=4, agents=5, product_market=6, product_store=7)
    assert login_address(config(5001, ways)) == "http://127.0.0.1:2/login?auto_login=demo"


@pytest.mark.parametrize("display", ["DISPLAY", "WAYLAND_DISPLAY"])
def test_a_display_gets_a_browser(display: str) -> None:
    opened: list[str] = []

    def browser(address: str) -> bool:
        opened.append(address)
        return True

    assert show(ADDRESS, {display: ":0"}, browser) == f"Opened in your browser: {ADDRESS}"
    assert opened == [ADDRESS]


@pytest.mark.parametrize("environment", [{}, {"DISPLAY": ""}, {"DISPLAY": ":0"}])
def test_without_display_or_browser_the_address_is_printed(environment: dict[str, str]) -> None:
    assert show(ADDRESS, environment, lambda _: False).endswith(f"The page with its login: {ADDRESS}")
