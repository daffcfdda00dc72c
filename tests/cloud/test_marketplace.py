"""The market as a process: what its clients see over HTTP, and what is true of the machines behind it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rekindle.waiting import wait_until
from sandbox.marketplace.traffic import connections
from tests.market_under_test import (
    PATIENCE,
    MarketUnderTest,
    host_key,
    make_key,
    processes_about,
    ssh,
    ssh_command,
    wait_until_none_is_about,
)
from tests.nightly import nightly_but


@pytest.fixture
def market(market: MarketUnderTest) -> Iterator[MarketUnderTest]:
    """A market in which nothing is rented and nothing is wrong, before and after."""
    yield market
    market.admin.delete("/_sandbox/faults")
    market.admin.delete("/_sandbox/subscriptions")
    market.admin.put("/_sandbox/account", json={"balance": 1000})
    while rows := market.http.get("/api/v1/instances/").json()["instances"]:
        for row in rows:
            market.destroy(row["id"])


@pytest.fixture
def own(tmp_path: Path) -> Iterator[MarketUnderTest]:
    """A market for one test, which may kill it. It is not started yet."""
    market = MarketUnderTest(tmp_path / "cloud")
    yield market
    market.close()
    wait_until_none_is_about(market.state.machines)


def said(answer: httpx2.Response, status: int) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["success"] is False
    assert body["error"]
    return str(body["msg"])


def test_health_tells_whose_it_is(market: MarketUnderTest) -> None:
    with market.client(None) as http:
        answer = http.get("/health")
    assert answer.json() == {"status": "healthy", "service": "marketplace"}
    assert answer.headers["X-Sandbox-Id"] == "under-test"


def test_keys(market: MarketUnderTest) -> None:
    machine = market.rent()
    for key in (market.secrets.vast_api_key, market.secrets.dumont_vast_api_key):
        with market.client(key) as http:
            assert http.get("/api/v0/users/current/").json()["email"]
            assert http.get(f"/api/v0/instances/{machine}/").json()["instances"]["id"] == machine
    for wrong in ("wrong", None, market.secrets.admin_token):
        with market.client(wrong) as http:
            assert said(http.get("/api/v0/users/current/"), 401)
            assert said(http.get("/api/v1/instances/"), 401)
            assert said(http.put(f"/api/v0/asks/{market.offers()[0]['id']}/", json={}), 401)
            assert said(http.get("/api/v0/ssh/"), 401)
            assert said(http.get("/api/v0/charges/"), 401)
            assert said(http.get(f"/api/v0/instances/{machine}/"), 404)
            assert said(http.put(f"/api/v0/instances/{machine}/", json={"state": "stopped"}), 404)
            assert said(http.delete(f"/api/v0/instances/{machine}/"), 404)
    assert market.there(machine)["intended_status"] == "running"


def test_offers_are_shown_to_anybody_but_not_to_a_wrong_key(market: MarketUnderTest) -> None:
    with market.client(None) as http:
        query = {"gpu_name": {"eq": "RTX A4000"}, "num_gpus": {"eq": 1}}
        by_url = http.get("/api/v0/bundles", params={"q": json.dumps(query), "order": "dph_total"}).json()["offers"]
        by_body = http.post("/api/v0/bundles/", json={**query, "order": [["dph_total", "asc"]]}).json()["offers"]
        asks = http.put("/api/v0/search/asks/", json={"select_cols": ["*"], "q": {**query, "order": "dph_total"}})
        assert by_url == by_body == asks.json()["offers"] != []
        assert "RTX A4000" in http.get("/api/v0/gpu_names/unique/").json()["gpu_names"]
        assert "there is no column 'gpu'" in said(http.post("/api/v0/bundles/", json={"gpu": {"eq": 1}}), 400)
    with market.client("wrong") as http:
        assert said(http.post("/api/v0/bundles/", json={}), 401)


def test_a_machine_from_rent_to_end(market: MarketUnderTest) -> None:
    before = market.balance()
    offer = market.offers(gpu_name={"eq": "RTX 4090"}, num_gpus={"eq": 1})[0]
    machine = market.rent(offer["id"], label="mine", disk=40, env={"A": "1", "-p 8080:8080": "1"})
    assert machine >= 29070001
    row = market.until(machine)
    assert {
        "label": "mine",
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "disk_space": 40,
        "intended_status": "running",
        "cur_state": "running",
        "public_ipaddr": "127.0.0.1",
        "ssh_host": "127.0.0.1",
        "machine_id": offer["machine_id"],
        "geolocation": offer["geolocation"],
        "extra_env": [["A", "1"], ["-p 8080:8080", "1"]],
        "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(row["ssh_port"])}]},  # noqa: S104 - their wording
    }.items() <= row.items()
    assert row["dph_total"] == pytest.approx(offer["dph_base"] + offer["storage_cost"] * 40 / 720, abs=1e-5)
    script = "echo $A-$CONTAINER_ID-$GPU_NAME; echo 55 >/tmp/gpu-utilisation; nvidia-smi | grep -c 4090"
    assert market.ssh(machine, script).stdout == f"1-{machine}-RTX 4090\n1\n"
    assert market.there(machine)["gpu_util"] == 55
    growing = by_the_second(market.charges(machine))
    assert {charge["type"] for charge in growing} == {"gpu", "disk"}
    assert {charge["end"] for charge in growing} == {None}

    market.destroy(machine)
    assert market.instance(machine) is None
    assert market.http.get("/api/v1/instances/").json()["instances"] == []
    assert ssh(row["ssh_port"], market.state.user_key, "true").returncode == 255
    assert not (market.state.machines / str(machine)).exists()
    assert processes_about(market.state.machines / str(machine)) == []
    assert "not found" in said(market.http.delete(f"/api/v0/instances/{machine}/"), 404)

    final = market.charges(machine)
    assert all(charge["end"] is not None for charge in final)
    assert {charge["type"]: charge["rate"] for charge in final} == {
        "gpu": offer["dph_base"],
        "disk": pytest.approx(offer["storage_cost"] * 40 / 720),
        "upload": offer["inet_up_cost"],
        "download": offer["inet_down_cost"],
    }
    for charge in by_the_second(final):
        assert charge["quantity"] == pytest.approx(charge["end"] - charge["start"], abs=0.001)
        assert charge["amount"] == pytest.approx(charge["rate"] * charge["quantity"] / 3600, abs=1e-6)
    assert before - market.balance() == pytest.approx(sum(charge["amount"] for charge in final), abs=1e-8)


def by_the_second(charges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What of a bill was paid for time, and not for traffic."""
    return [charge for charge in charges if charge["type"] not in {"upload", "download"}]


def test_traffic_is_charged_by_the_byte_in_both_directions(market: MarketUnderTest) -> None:
    offer = market.offers(limit=1)[0]
    machine = market.rent(offer["id"])
    port = market.until(machine)["ssh_port"]
    assert {charge["type"] for charge in market.charges(machine)} == {"disk", "gpu"}, "nobody has talked to it yet"

    assert market.ssh(machine, "head -c 3000000 /dev/zero").returncode == 0
    told = wait_until("the traffic", lambda: traffic(market, machine), lambda row: row["upload"][0] > 0.003, timeout=10)
    assert 0.003 < told.value["upload"][0] < 0.0033
    assert 0 < told.value["download"][0] < 0.0005

    command = ssh_command(port, market.state.user_key, "cat >/dev/null")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as open_one:
        assert open_one.stdin is not None
        open_one.stdin.write(bytes(2_000_000))
        open_one.stdin.flush()
        before = traffic(market, machine)
        assert before["download"][0] < 0.0005, "it is charged when the connection ends"
        wait_until("the bytes to be there", lambda: received(port), lambda count: count > 2_000_000, timeout=10)
        market.destroy(machine)
    after = traffic(market, machine)
    assert 0.002 < after["download"][0] < 0.0025
    for kind, price in (("upload", offer["inet_up_cost"]), ("download", offer["inet_down_cost"])):
        assert after[kind][1] == pytest.approx(after[kind][0] * price, abs=1e-9)


def received(port: int) -> int:
    return sum(one.traffic.down for one in connections(port))


def traffic(market: MarketUnderTest, machine: int) -> dict[str, tuple[float, float]]:
    """GB and USD of each direction."""
    found = {row["type"]: (row["quantity"], row["amount"]) for row in market.charges(machine)}
    return {kind: found.get(kind, (0.0, 0.0)) for kind in ("upload", "download")}


def test_an_offer_is_sold_once(market: MarketUnderTest) -> None:
    offer = market.offers(limit=1)[0]["id"]

    def buy(_: int) -> httpx2.Response:
        with market.client(market.secrets.dumont_vast_api_key) as http:
            return http.put(f"/api/v0/asks/{offer}/", json={"disk": 10})

    with ThreadPoolExecutor(8) as buyers:
        answers = list(buyers.map(buy, range(8)))
    sold = [answer for answer in answers if answer.is_success]
    assert len(sold) == 1
    for answer in answers:
        if answer is not sold[0]:
            assert "not available" in said(answer, 400)
    assert offer not in {row["id"] for row in market.offers()}
    market.destroy(sold[0].json()["new_contract"])
    assert offer in {row["id"] for row in market.offers()}


def test_what_cannot_be_rented(market: MarketUnderTest) -> None:
    offer = market.offers(limit=1)[0]

    def refused(status: int, offer_id: Any = offer["id"], **order: Any) -> str:
        return said(market.http.put(f"/api/v0/asks/{offer_id}/", json=order), status)

    assert "no such offer" in refused(404, 5)
    assert refused(400, "five")
    assert "at most" in refused(400, disk=offer["disk_space"] + 1)
    assert "more than 0" in refused(400, disk=0)
    assert "below the least" in refused(400, price=offer["min_bid"] / 2)
    assert "one line" in refused(400, env={"A": "x\nPermitRootLogin no"})
    assert refused(400, disk="large")
    market.admin.put("/_sandbox/account", json={"balance": 0})
    assert "insufficient" in refused(400, disk=10)
    assert market.http.get("/api/v1/instances/").json()["total_instances"] == 0


def test_a_bid_is_what_is_paid(market: MarketUnderTest) -> None:
    offer = market.offers(type="bid", limit=1)[0]
    machine = market.rent(offer["id"], price=offer["min_bid"])
    row = market.until(machine)
    assert (row["is_bid"], row["dph_base"]) == (True, offer["min_bid"])


def test_stopping_keeps_the_disk_and_its_price(market: MarketUnderTest) -> None:
    machine = market.rent()
    row = market.until(machine)
    key = host_key(row["ssh_port"])
    assert market.ssh(machine, "echo kept >/workspace/x").returncode == 0
    market.change(machine, state="stopped")
    row = market.there(machine)
    assert (row["intended_status"], row["cur_state"], row["actual_status"]) == ("stopped", "stopped", "exited")
    assert row["ports"] == {}
    assert market.ssh(machine, "true").returncode == 255
    ended = {charge["type"]: charge["end"] for charge in market.charges(machine)}
    assert ended["disk"] is None
    assert ended["gpu"] is not None
    assert "start it instead" in said(market.http.put(f"/api/v0/instances/reboot/{machine}/", json={}), 400)
    market.change(machine, state="running")
    row = market.until(machine)
    assert host_key(row["ssh_port"]) == key
    assert market.ssh(machine, "cat /workspace/x").stdout == "kept\n"
    assert [charge["type"] for charge in by_the_second(market.charges(machine))] == ["disk", "gpu", "gpu"]


def test_a_reboot_is_a_new_boot_of_the_same_machine(market: MarketUnderTest) -> None:
    machine = market.rent(onstart="echo booted >>/workspace/boots")
    market.until(machine)
    market.ssh(machine, "nohup sleep 600 >/dev/null 2>&1 &")
    assert market.http.put(f"/api/v0/instances/reboot/{machine}/", json={}).json() == {"success": True}
    market.until(machine)
    wait_for_two_boots = "until [ $(wc -l </workspace/boots) = 2 ]; do sleep 0.05; done; pgrep -c sleep"
    assert market.ssh(machine, wait_for_two_boots).stdout == "0\n"


def test_labels_and_the_second_dialect(market: MarketUnderTest) -> None:
    machine = market.rent(label="first")
    market.change(machine, label="second")
    assert market.there(machine)["label"] == "second"
    market.change(machine, label=None)
    assert market.there(machine)["label"] is None
    key = market.secrets.dumont_vast_api_key
    with market.client(None) as http:
        for paused, state in ((True, "stopped"), (False, "running")):
            url = f"/api/v0/instances/{machine}/"
            assert http.put(url, params={"api_key": key}, json={"paused": paused}).json() == {"success": True}
            assert market.there(machine)["intended_status"] == state
    assert "Nothing to change" in said(market.http.put(f"/api/v0/instances/{machine}/", json={}), 400)
    assert "must be running or stopped" in said(market.http.put(url, json={"state": "gone"}), 400)
    assert "not found" in said(market.http.put("/api/v0/instances/5/", json={"label": "x"}), 404)
    assert market.instance(5) is None


def test_every_page_of_the_listing(market: MarketUnderTest) -> None:
    market.put_fault(kind="machine", machine="boot_hangs")  # the machines need not come up for this
    rented = [market.rent(label=f"m{number % 3}") for number in range(27)]
    first = market.http.get("/api/v1/instances/").json()
    assert [row["id"] for row in first["instances"]] == rented[:25]
    assert first["total_instances"] == 27
    assert first["label_counts"] == {"m0": 9, "m1": 9, "m2": 9}
    late = market.rent()  # comes while somebody reads
    market.destroy(rented[3])  # goes
    second = market.http.get("/api/v1/instances/", params={"after_token": first["next_token"], "limit": 100}).json()
    assert [row["id"] for row in second["instances"]] == [*rented[25:], late]
    assert second["next_token"] is None
    parameters = {
        "select_filters": json.dumps({"label": {"in": ["m1"]}}),
        "select_cols": '["id", "label"]',
        "order_by": '[{"col": "id", "dir": "desc"}]',
        "limit": "5",
    }
    chosen = market.http.get("/api/v1/instances/", params=parameters).json()
    assert chosen["instances"] == [{"id": one, "label": "m1"} for one in sorted(rented[1::3], reverse=True)[:5]]
    for wrong in ({"order_by": "id"}, {"select_filters": "[]"}, {"after_token": "x"}, {"limit": "many"}):
        assert said(market.http.get("/api/v1/instances/", params=wrong), 400)
    filters = market.http.get("/api/v0/instances/filters/").json()["filters"]
    assert {one["label"] for one in filters} == {"m0", "m1", "m2", None}


def test_the_old_listing_is_retired(market: MarketUnderTest) -> None:
    answer = market.http.get("/api/v0/instances/", params={"owner": "me"})
    assert answer.status_code == 410
    assert answer.json()["error"] == "deprecated_endpoint"
    assert "/api/v1/instances/" in said(answer, 410)


def test_several_at_once(market: MarketUnderTest) -> None:
    offers = [row["id"] for row in market.offers(limit=2)]
    answer = market.http.post("/api/v0/asks/bulk/", json={"ids": [*offers, 5], "disk": 10}).json()
    assert [result["success"] for result in answer["results"]] == [True, True, False]
    machines = [result["new_contract"] for result in answer["results"][:2]]
    assert market.http.put("/api/v0/instances/", json={"ids": machines, "state": "stopped"}).json()["success"]
    assert {market.there(machine)["intended_status"] for machine in machines} == {"stopped"}
    body = {"instance_ids": [*machines, 5]}
    answer = market.http.request("DELETE", "/api/v0/instances/", json=body).json()
    assert [result["success"] for result in answer["results"]] == [True, True, False]
    assert market.http.get("/api/v1/instances/").json()["instances"] == []


def test_ssh_keys_of_the_account_and_of_one_machine(market: MarketUnderTest, tmp_path: Path) -> None:
    assert [key["key"] for key in market.http.get("/api/v0/ssh/").json()] == [
        market.state.user_key.with_suffix(".pub").read_text().strip()
    ]
    account, attached = make_key(tmp_path / "account"), make_key(tmp_path / "attached")
    for _ in range(2):
        added = market.http.post("/api/v0/ssh/", json={"ssh_key": account}).json()["key"]
    assert len(market.http.get("/api/v0/ssh/").json()) == 2
    assert "Invalid SSH key" in said(market.http.post("/api/v0/ssh/", json={"ssh_key": f"a\n{account}"}), 400)
    machine = market.rent()
    port = market.until(machine)["ssh_port"]
    assert ssh(port, tmp_path / "account", "true").returncode == 0
    assert ssh(port, tmp_path / "attached", "true").returncode == 255
    assert market.http.post(f"/api/v0/instances/{machine}/ssh/", json={"ssh_key": attached}).is_success
    assert ssh(port, tmp_path / "attached", "true").returncode == 0
    assert market.http.delete(f"/api/v0/ssh/{added['id']}/").json() == {"success": True}
    assert said(market.http.delete(f"/api/v0/ssh/{added['id']}/"), 404)


def test_charges_are_paged_and_chosen(market: MarketUnderTest) -> None:
    market.put_fault(kind="machine", machine="boot_hangs")
    machines = [market.rent() for _ in range(3)]

    def charges(**parameters: str) -> Any:
        answer = market.http.get("/api/v0/charges/", params=parameters)
        assert answer.is_success, answer.text
        return answer.json()

    mine = json.dumps({"instance_id": {"in": machines}, "type": {"in": ["instance"]}})
    page = charges(select_filters=mine, limit="2")
    assert (page["count"], page["total"]) == (2, 3)
    rest = charges(select_filters=mine, limit="2", after_token=page["next_token"])
    assert [row["instance_id"] for row in page["results"] + rest["results"]] == machines
    assert rest["next_token"] is None
    assert charges(select_filters=mine, latest_first="True")["results"][0]["instance_id"] == machines[-1]
    start = page["results"][0]["start"]
    assert (
        charges(select_filters=json.dumps({"day": {"lte": int(start) - 1}, "instance_id": {"in": machines}}))["total"]
        == 0
    )
    assert (
        charges(select_filters=json.dumps({"day": {"gte": start + 9}, "instance_id": {"in": machines}}))["total"] == 3
    )
    assert charges(select_filters=json.dumps({"type": {"in": ["volume"]}}))["total"] == 0


def test_a_boot_that_hangs_and_is_destroyed(market: MarketUnderTest) -> None:
    market.put_fault(kind="machine", machine="boot_hangs", times=1)
    machine = market.rent()
    row = market.until(machine, "loading")
    assert row["intended_status"] == "running"
    other = market.rent()
    market.until(other)
    assert market.there(machine)["actual_status"] == "loading"
    assert [charge["type"] for charge in market.charges(machine)] == ["disk"]
    market.destroy(machine)
    assert market.instance(machine) is None


@pytest.mark.parametrize("trouble", ["ssh_refused", "no_restic", "small_disk"])
def test_troubles_of_machines(market: MarketUnderTest, trouble: str) -> None:
    market.put_fault(kind="machine", machine=trouble, megabytes=4 if trouble == "small_disk" else 0)
    machine = market.rent()
    market.until(machine)
    script = {
        "ssh_refused": "true",
        "no_restic": "restic version",
        "small_disk": "head -c 5000000 /dev/zero >/workspace/x",
    }[trouble]
    expected = {"ssh_refused": "refused", "no_restic": "command not found", "small_disk": "No space left"}[trouble]
    assert expected in market.ssh(machine, script).stderr


def test_a_machine_that_is_killed_is_noticed_and_can_be_started_again(market: MarketUnderTest) -> None:
    machine = market.rent()
    market.until(machine)
    market.ssh(machine, "echo kept >/workspace/x")
    os.kill(min(processes_about(market.state.machines / str(machine))), signal.SIGKILL)
    row = market.until(machine, "exited")
    assert "ended by itself" in row["status_msg"]
    assert row["intended_status"] == "running"
    assert {charge["type"] for charge in market.charges(machine) if charge["end"] is None} == {"disk"}
    market.change(machine, state="running")
    market.until(machine)
    assert market.ssh(machine, "cat /workspace/x").stdout == "kept\n"


def preempt(market: MarketUnderTest, machine: int) -> httpx2.Response:
    return market.admin.post(f"/_sandbox/instances/{machine}/preempt")


def test_a_machine_that_is_taken_away(market: MarketUnderTest) -> None:
    machine = market.rent()
    row = market.until(machine)
    key = host_key(row["ssh_port"])
    market.ssh(machine, "echo lost >/workspace/x")
    assert preempt(market, machine).json() == {"success": True}
    row = market.there(machine)
    assert (row["intended_status"], row["cur_state"], row["actual_status"]) == ("stopped", "stopped", "exited")
    assert "Interrupted" in row["status_msg"]
    assert row["ports"] == {}
    assert market.ssh(machine, "true").returncode == 255
    assert processes_about(market.state.machines / str(machine)) == []
    assert not (market.state.machines / str(machine)).exists()
    ends = {charge["type"]: charge["end"] is None for charge in by_the_second(market.charges(machine))}
    assert ends == {"gpu": False, "disk": True}
    assert preempt(market, machine).is_success
    market.change(machine, state="running")
    row = market.until(machine)
    assert host_key(row["ssh_port"]) != key
    assert market.ssh(machine, "ls /workspace").stdout == ""
    market.change(machine, state="stopped")
    assert "the disk is kept" in market.there(machine)["status_msg"]
    preempt(market, machine)
    market.destroy(machine)
    assert all(charge["end"] for charge in market.charges(machine))
    assert "not found" in said(preempt(market, machine), 404)
    assert market.http.post(f"/_sandbox/instances/{machine}/preempt").status_code == 401


def test_a_machine_is_taken_away_in_the_middle_of_a_boot(market: MarketUnderTest) -> None:
    for _ in range(5):
        machine = market.rent()
        preempt(market, machine)
        assert market.there(machine)["actual_status"] == "exited"
        assert processes_about(market.state.machines / str(machine)) == []
        assert not (market.state.machines / str(machine)).exists()


@contextmanager
def subscribed(market: MarketUnderTest, events: list[str], hear: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Hears of events for as long as the block lasts. The market goes on when the hearer returns."""

    class Subscriber(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hear(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with suppress(OSError):  # when a machine's life ends, the market ends its call
                self.send_response(204)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Subscriber) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for event in events:
            subscription = {"event": event, "url": f"http://127.0.0.1:{server.server_port}/"}
            assert market.admin.post("/_sandbox/subscriptions", json=subscription).is_success
        try:
            yield
        finally:
            server.shutdown()


@pytest.mark.parametrize("event", ["machine.created", "machine.running", "machine.preempted", "machine.destroyed"])
def test_a_subscriber_takes_a_machine_away(market: MarketUnderTest, event: str) -> None:
    answers: list[int] = []

    def take_away(heard: dict[str, Any]) -> None:
        if not answers:
            answers.append(0)
            answers[0] = preempt(market, heard["data"]["instance_id"]).status_code

    with subscribed(market, [event], take_away):
        machine = market.rent()
        if event == "machine.preempted":
            preempt(market, machine)
        if event == "machine.destroyed":
            market.destroy(machine)
        else:
            assert "Interrupted" in market.until(machine, "exited")["status_msg"]
        wait_until("the answer", lambda: answers, lambda seen: seen[:1] not in ([], [0]), timeout=PATIENCE)
    assert answers == [404 if event == "machine.destroyed" else 200]


def test_a_machine_that_cannot_boot_says_why(market: MarketUnderTest) -> None:
    machine = market.rent()
    market.until(machine)
    market.change(machine, state="stopped")
    key = market.state.machines / str(machine) / "etc" / "hostkey"
    key.write_text("broken")
    market.change(machine, state="running")
    row = market.until(machine, "exited")
    assert "did not boot" in row["status_msg"]
    assert "console.log" in row["status_msg"]


def test_destroying_in_the_middle_of_a_boot(market: MarketUnderTest) -> None:
    for _ in range(10):
        machine = market.rent()
        market.destroy(machine)
        assert market.instance(machine) is None
        assert processes_about(market.state.machines / str(machine)) == []
    assert list(market.state.machines.iterdir()) == []


def test_a_subscriber_acts_between_two_steps(market: MarketUnderTest) -> None:
    heard: list[Any] = []
    hold = threading.Event()

    def hold_up(event: dict[str, Any]) -> None:
        heard.append(event)
        hold.wait(PATIENCE)

    with subscribed(market, ["machine.created", "machine.running", "machine.destroyed"], hold_up):
        with ThreadPoolExecutor(1) as buyer:
            rent = buyer.submit(market.rent, label="watched")
            wait_until("the event", lambda: len(heard), bool, timeout=PATIENCE)
            created = heard[0]["data"]
            assert created["label"] == "watched"
            assert market.there(created["instance_id"])["actual_status"] == "created"
            assert not rent.done()
            hold.set()
            machine = rent.result(PATIENCE)
        assert created == {
            "instance_id": machine,
            "label": "watched",
            "machine_dir": str(market.state.machines / str(machine)),
        }
        # The listing may show it running an instant before the subscribers are told.
        wait_until("the event", lambda: heard[-1]["event"], "machine.running".__eq__, timeout=PATIENCE)
        market.destroy(machine)
        assert [one["event"] for one in heard] == ["machine.created", "machine.running", "machine.destroyed"]


@pytest.mark.nightly
def test_delays_and_rate_limits_of_a_realistic_market(tmp_path: Path) -> None:
    market = MarketUnderTest(tmp_path / "cloud", profile="realistic")
    market.start()
    try:
        machine = market.rent()
        assert market.there(machine)["actual_status"] == "created"
        answers = [market.http.get("/api/v0/users/current/") for _ in range(200)]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert limited
        assert answers[0].is_success
        assert "too frequent" in limited[0].text
        assert limited[0].headers["content-type"].startswith("text/plain")
        assert market.there(machine)["id"] == machine  # another endpoint
        market.destroy(machine)
    finally:
        market.close()


@pytest.mark.parametrize("how", nightly_but(signal.SIGKILL, [signal.SIGKILL, signal.SIGTERM]))
def test_a_market_that_ends_comes_back_with_everything(own: MarketUnderTest, how: signal.Signals) -> None:
    own.start()
    running, stopped = own.rent(label="running"), own.rent(label="stopped")
    row = own.until(running)
    own.until(stopped)
    key = host_key(row["ssh_port"])
    for machine in (running, stopped):
        assert own.ssh(machine, f"echo {machine} >/workspace/x").returncode == 0
    own.change(stopped, state="stopped")
    wait_until(
        "a second of both to be charged",
        lambda: min(charge["quantity"] for charge in by_the_second(own.charges(running))),
        lambda seconds: seconds > 2.2,
        timeout=PATIENCE,
    )
    before = own.balance()
    code = own.end(how)
    assert code == -how
    wait_until_none_is_about(own.state.machines)

    own.start()
    again = own.until(running)
    assert (again["label"], again["ssh_port"], again["start_date"]) == ("running", row["ssh_port"], row["start_date"])
    assert host_key(again["ssh_port"]) == key
    assert own.ssh(running, "cat /workspace/x").stdout == f"{running}\n"
    row = own.there(stopped)
    assert (row["intended_status"], row["actual_status"]) == ("stopped", "exited")
    charges = by_the_second(own.charges(running))
    assert [charge["type"] for charge in charges] == ["disk", "gpu", "disk", "gpu"]
    assert [charge["end"] is None for charge in charges] == [False, False, True, True]
    assert own.balance() <= before + 2e-4  # what a killed market had not written down: a second of two machines
    own.change(stopped, state="running")
    own.until(stopped)
    assert own.ssh(stopped, "cat /workspace/x").stdout == f"{stopped}\n"
    assert own.rent() == stopped + 1


def test_a_machine_that_was_taken_away_stays_so(own: MarketUnderTest) -> None:
    own.start()
    machine = own.rent()
    own.until(machine)
    preempt(own, machine)
    own.end(signal.SIGKILL)
    disk = own.state.machines / str(machine)
    disk.mkdir()  # as if the market had been killed before the disk was wiped
    own.start()
    row = own.there(machine)
    assert (row["intended_status"], row["actual_status"]) == ("stopped", "exited")
    assert "Interrupted" in row["status_msg"]
    assert not disk.exists()


def test_a_destruction_that_was_cut_short_is_finished_at_the_next_start(own: MarketUnderTest) -> None:
    own.start()
    machine = own.rent()
    own.until(machine)
    assert own.ssh(machine, "mkdir /workspace/many && cd /workspace/many && seq 3000 | xargs touch").returncode == 0
    with ThreadPoolExecutor(1) as pool:
        destruction = pool.submit(own.destroy, machine)
        wait_until(
            "the destruction to begin",
            lambda: processes_about(own.state.machines / str(machine)),
            lambda pids: not pids,
            timeout=PATIENCE,
            floor=0.001,
        )
        own.end(signal.SIGKILL)
        destruction.exception(PATIENCE)
    own.start()
    assert own.instance(machine) is None
    assert list(own.state.machines.iterdir()) == []
    assert all(charge["end"] is not None for charge in own.charges(machine))


def test_two_markets_do_not_share_a_directory(own: MarketUnderTest) -> None:
    own.start()
    machine = own.rent()
    own.until(machine)
    second = subprocess.run(own.command(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert second.returncode == 2
    assert "Another market is running" in second.stderr
    assert own.ssh(machine, "true").returncode == 0


def test_a_directory_without_a_cloud_is_told(tmp_path: Path, own: MarketUnderTest) -> None:
    command = [*own.command()[:-1], str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 2
    assert "python -m sandbox up" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_that_does_not_exist_is_told(tmp_path: Path) -> None:
    market = MarketUnderTest(tmp_path / "cloud", profile="lightning")
    done = subprocess.run(market.command(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    market.close()
    assert (done.returncode, done.stderr) == (2, "There is no profile 'lightning'; use instant or realistic.\n")


def test_no_credential_is_logged_or_shown_in_a_command_line(own: MarketUnderTest) -> None:
    own.start()
    machine = own.rent()
    own.until(machine)
    own.http.get("/api/v0/users/current/", params={"api_key": own.secrets.vast_api_key})
    with own.client("wrong-key") as http:
        http.get("/api/v0/users/current/")
    secrets = [value for name, value in own.secrets if name.endswith(("key", "token", "secret", "password"))]
    assert own.secrets.vast_api_key in secrets
    log = (own.state.logs / "market.log").read_text()
    lines = [Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_about(own.state.root)]
    environments = [Path(f"/proc/{pid}/environ").read_text() for pid in processes_about(own.state.machines)]
    assert lines
    assert environments
    for text in (log, *lines, *environments):
        assert not [secret for secret in (*secrets, "wrong-key") if secret in text]
