"""The clients of the product, the market and the machines, on an embedded cloud: what fits on the wire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from rekindle.dumont import AmbiguousCreate, DumontClient
from rekindle.errors import CapabilityMissing, Misconfigured
from rekindle.http import JsonClient, RateLimited, Refused
from rekindle.market import PAGE, MarketClient
from rekindle.settings import Settings
from rekindle.ssh import Machine, SshRefused
from rekindle.waiting import wait_until
from tests.cloud_under_test import CloudUnderTest

PATIENCE = 60


@pytest.fixture
def settings(cloud: CloudUnderTest) -> Settings:
    return Settings.from_mapping(cloud.environment)


@pytest.fixture
def dumont(settings: Settings) -> Iterator[DumontClient]:
    password = settings.dumont_password.get_secret_value()
    with DumontClient(settings.dumont_api_url, settings.dumont_email, password, pauses=(0, 0, 0)) as client:
        yield client


@pytest.fixture
def market(settings: Settings) -> Iterator[MarketClient]:
    """The market, with nothing rented in it afterwards."""
    assert settings.vast_url
    assert settings.vast_api_key
    with MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value()) as client:
        yield client
        for machine in client.instances():
            client.destroy(machine.id)


@pytest.fixture
def control(cloud: CloudUnderTest) -> Iterator[httpx2.Client]:
    """The troubles that a person may put on Dumont Cloud; none is left."""
    token = cloud.environment["SANDBOX_CONTROL_TOKEN"]
    url = cloud.environment["DUMONT_API_URL"]
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        yield client
        client.delete("/_sandbox/faults")


@contextmanager
def rents_held_up(cloud: CloudUnderTest) -> Iterator[None]:
    """The market has rented a machine out, and does not come to say so while this lasts."""
    held = threading.Event()

    class Subscriber(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            held.wait(PATIENCE)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    subscriptions = "/_sandbox/subscriptions"
    headers = {"Authorization": f"Bearer {cloud.environment['SANDBOX_CONTROL_TOKEN']}"}
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Subscriber) as server,
        httpx2.Client(base_url=cloud.environment["VAST_URL"], headers=headers, trust_env=False) as market,
    ):
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        market.post(subscriptions, json={"event": "machine.created", "url": address}).raise_for_status()
        try:
            yield
        finally:
            held.set()
            market.delete(subscriptions)
            server.shutdown()


def put_fault(control: httpx2.Client, **fault: object) -> None:
    control.post("/_sandbox/faults", json={"name": "trouble", **fault}).raise_for_status()


def test_a_machine_from_its_rent_to_its_end(
    settings: Settings, dumont: DumontClient, market: MarketClient, tmp_path: Path
) -> None:
    offer = min(dumont.offers(), key=lambda each: each.dph_total)
    before = market.balance()
    machine_id = dumont.create_instance(offer.id, "clients", 20)
    view = wait_until(
        "the machine to be ready", lambda: dumont.instance(machine_id), lambda v: bool(v and v.ready), timeout=PATIENCE
    ).value
    assert view
    assert (view.label, view.gpu_name) == ("clients", offer.gpu_name)
    assert [row.id for row in dumont.instances() if row.label == "clients"] == [machine_id]
    seen = market.instance(machine_id)
    assert seen
    assert (seen.label, seen.actual_status, seen.ssh_port) == ("clients", "running", view.ssh_port)

    assert view.ssh_host
    assert view.ssh_port
    with Machine(view.ssh_host, view.ssh_port, settings.ssh_key_path, tmp_path / "hosts", "clients") as machine:
        wait_until("SSH", machine.pin, bool, timeout=PATIENCE, tolerate=(SshRefused,))
        assert machine.run('echo "$1" > /workspace/word; cat /workspace/word', "a 'b'\n").text == "a 'b'\n"
        assert dumont.exec(machine_id, "cat /workspace/word; exit 3").exit_code == 3

        made = dumont.snapshot(machine_id, "/workspace", ["run:clients"])
        assert made.files_new == 1
        listed = [row for row in dumont.snapshots(machine_id) if row["id"].startswith(made.snapshot_id)]
        assert len(listed) == 1
        assert "run:clients" in listed[0]["tags"]
        machine.run("rm /workspace/word")
        dumont.restore(made.snapshot_id, machine_id)
        assert machine.run("cat /workspace/word").text == "a 'b'\n"

        growing = market.charges(machine_id)
        assert {charge.kind for charge in growing} == {"gpu", "disk"}
        assert {charge.end for charge in growing} == {None}
        assert dumont.destroy(machine_id) is True
        wait_until("SSH to be gone", machine.answers, lambda answers: not answers, timeout=PATIENCE)
    assert dumont.instance(machine_id) is None
    assert market.instance(machine_id) is None
    final = market.charges(machine_id)
    assert None not in {charge.end for charge in final}
    assert before - market.balance() == pytest.approx(sum(charge.usd for charge in final), abs=1e-4)
    assert dumont.destroy(machine_id) is False
    dumont.delete_snapshot(made.snapshot_id)
    with pytest.raises(Refused, match="not found"):
        dumont.delete_snapshot(made.snapshot_id)


def test_hibernating_and_waking(dumont: DumontClient, market: MarketClient) -> None:
    offer = min(dumont.offers(), key=lambda each: each.dph_total)
    old = dumont.create_instance(offer.id, "sleeper", 20)
    wait_until("the machine", lambda: dumont.instance(old), lambda v: bool(v and v.ready), timeout=PATIENCE)
    dumont.configure_hibernation(old, auto_hibernation_enabled=False)
    dumont.exec(old, "echo asleep > /workspace/word")
    dumont.hibernate(old)
    asleep = dumont.hibernation(old)
    assert (asleep["status"], bool(asleep["snapshot_id"])) == ("hibernated", True)
    assert market.instance(old) is None
    woken = dumont.wake(old, offer.dph_total * 2)
    assert woken.new_instance_id != old
    assert (woken.old_instance_id, woken.snapshot_id) == (old, asleep["snapshot_id"])
    assert dumont.exec(woken.new_instance_id, "cat /workspace/word").stdout == "asleep\n"


def test_every_page_of_the_listing(dumont: DumontClient, market: MarketClient) -> None:
    rented = {dumont.create_instance(offer.id, "many", 10) for offer in dumont.offers(limit=PAGE + 3)}
    assert len(rented) > PAGE
    assert {machine.id for machine in market.instances()} == rented
    assert {machine.id for machine in dumont.instances()} == rented


def test_the_routes_that_the_product_has(dumont: DumontClient) -> None:
    dumont.needs("POST", "/api/v1/instances/{any_name}/wake")
    with pytest.raises(CapabilityMissing) as missing:
        dumont.needs("POST", "/api/v1/instances/{id}/teleport", "teleporting")
    assert str(missing.value) == (
        "This Dumont Cloud has no POST /instances/{id}/teleport: teleporting cannot be tested on it."
    )


def test_wrong_keys_are_told_by_name(settings: Settings) -> None:
    words = r"refused the login of .* Check DUMONT_EMAIL and DUMONT_PASSWORD\.$"
    with (
        DumontClient(settings.dumont_api_url, settings.dumont_email, "wrong") as client,
        pytest.raises(Misconfigured, match=words),
    ):
        client.login()
    assert settings.vast_url
    with MarketClient(settings.vast_url, "wrong") as client:
        for use in (client.instances, client.balance, lambda: client.instance(1), lambda: client.charges(1)):
            with pytest.raises(Misconfigured, match=r"refused the key: .* Check VAST_API_KEY\.$"):
                use()


def test_a_wrong_address_is_told(settings: Settings) -> None:
    assert settings.vast_url
    with DumontClient(settings.b2_endpoint, "a@b.c", "x") as client, pytest.raises(Refused, match="with 4"):
        client.login()
    with JsonClient("Dumont API", settings.vast_url, advice="") as client, pytest.raises(Refused, match="404"):
        client.get("/api/v1/snapshots")


def test_offers_that_are_gone(dumont: DumontClient, market: MarketClient) -> None:
    offer = dumont.offers()[0]
    dumont.create_instance(offer.id, "first", 10)
    for offer_id, status in ((offer.id, 409), (5, 404)):
        with pytest.raises(Refused) as refused:
            dumont.create_instance(offer_id, "second", 10)
        assert refused.value.status == status
    assert [machine.label for machine in market.instances()] == ["first"]


def test_a_create_whose_answer_comes_too_late_is_ambiguous_and_its_machine_is_found_by_label(
    dumont: DumontClient, market: MarketClient, cloud: CloudUnderTest
) -> None:
    offer = dumont.offers()[0]
    with rents_held_up(cloud), pytest.raises(AmbiguousCreate, match=r"no answer within 0\.5 s"):
        dumont.create_instance(offer.id, "lost", 10, timeout=0.5)
    assert [machine.label for machine in market.instances()] == ["lost"]


def test_a_connection_that_is_reset_rents_nothing_twice(
    dumont: DumontClient, market: MarketClient, control: httpx2.Client
) -> None:
    offer = dumont.offers()[0]
    dumont.login()
    put_fault(control, kind="reset", match="^(POST|GET) /api/v1/instances$", times=2)
    with pytest.raises(AmbiguousCreate, match="It may or may not have been obeyed"):
        dumont.create_instance(offer.id, "reset", 10)
    assert dumont.instances() == []  # the second reset was got over
    assert market.instances() == []


def test_rate_limits_are_waited_for_and_told(
    dumont: DumontClient, market: MarketClient, control: httpx2.Client
) -> None:
    offer = dumont.offers()[0]
    body = "API requests too frequent"
    put_fault(control, kind="answer", match="^POST /api/v1/instances$", status=429, body=body, times=3)
    dumont.create_instance(offer.id, "patient", 10)
    put_fault(control, kind="answer", match="^GET /api/v1/instances$", status=429, body=body)
    with pytest.raises(RateLimited) as limited:
        dumont.instances()
    assert str(limited.value) == (
        "WEATHER: rate limited: Dumont API refused GET /api/v1/instances with 429 after 4 tries: "
        "API requests too frequent. Wait some minutes, or run fewer machines at once."
    )
    assert [machine.label for machine in market.instances()] == ["patient"]
