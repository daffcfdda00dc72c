"""The CPU cloud: real machines without a GPU, in the words of Google's Compute Engine."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.environment import client_environment
from tests.control_api import eventually
from tests.cpu_cloud_client import ZONE, CpuCloudApi
from tests.market_under_test import MarketUnderTest, host_key, ssh, wait_until_none_is_about


@pytest.fixture
def cpus(market: MarketUnderTest) -> Iterator[CpuCloudApi]:
    """Leaves nothing behind."""
    client = CpuCloudApi(client_environment(market.state, market.state.config(), market.secrets))
    yield client
    for row in client.machines():
        client.call("DELETE", f"zones/{row['zone'].rpartition('/')[2]}/instances/{row['name']}")
    eventually("nothing is left", lambda: not client.machines())
    client.close()


def running(cpus: CpuCloudApi, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        row = cpus.machine(name)
        return row if row and row["status"] == "RUNNING" else None

    found: dict[str, Any] = eventually(f"{name} runs", look)
    return found


def public_key(market: MarketUnderTest) -> str:
    return market.state.user_key.with_suffix(".pub").read_text().strip()


def test_a_machine_from_order_to_end(market: MarketUnderTest, cpus: CpuCloudApi) -> None:
    operation = cpus.insert("dumont-a-1", public_key(market), labels={"for": "test"})
    assert operation["operationType"] == "insert"
    row = running(cpus, "dumont-a-1")
    assert cpus.call("GET", f"zones/{ZONE}/operations/{operation['name']}")["status"] == "DONE"
    assert row["networkInterfaces"][0]["accessConfigs"][0]["natIP"] == "127.0.0.1"
    assert (row["hourlyUsd"], row["labels"]) == (0.010, {"for": "test"})
    port = row["sshPort"]
    looked = ssh(port, market.state.user_key, "hostname; id -un; command -v nvidia-smi; ls /workspace")
    assert looked.stdout == "dumont-a-1\nroot\n"
    assert [row["name"] for row in cpus.machines()] == ["dumont-a-1"]
    operation = cpus.call("DELETE", f"zones/{ZONE}/instances/dumont-a-1")
    eventually("it is gone", lambda: cpus.machine("dumont-a-1") is None)
    assert cpus.call("GET", f"zones/{ZONE}/operations/{operation['name']}")["status"] == "DONE"
    assert ssh(port, market.state.user_key, "true").returncode == 255
    assert not list(market.state.cpu_machines.iterdir())


def test_it_is_billed_from_begin_to_end(market: MarketUnderTest, cpus: CpuCloudApi) -> None:
    operation = cpus.insert("dumont-billed")
    running(cpus, "dumont-billed")
    bill = f"{cpus.root.replace('/compute/', '/billing/')}/charges"

    def charges() -> dict[str, dict[str, Any]]:
        rows = cpus.http.get(bill).json()["charges"]
        return {row["type"]: row for row in rows if str(row["instance_id"]) == operation["targetId"]}

    assert {kind: (row["rate"], row["end"]) for kind, row in charges().items()} == {
        "cpu": (0.010, None),
        "disk": (20 * 0.04 / 720, None),
    }
    cpus.call("DELETE", f"zones/{ZONE}/instances/dumont-billed")
    eventually("it is gone", lambda: cpus.machine("dumont-billed") is None)
    assert all(row["end"] > row["start"] for row in charges().values())


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"name": "Not-A-Name"}, "name"),
        ({"machineType": "zones/x/machineTypes/n1-giant"}, "n1-giant"),
        ({"zone": "nowhere"}, "Unknown zone"),
        ({"key": "ssh-rsa not!a!key"}, "ssh-keys"),
        ({"disks": [{"initializeParams": {"diskSizeGb": "1"}}]}, "diskSizeGb"),
    ],
)
def test_a_wrong_order_is_refused_in_words(cpus: CpuCloudApi, order: dict[str, Any], words: str) -> None:
    answer = cpus.insert(**{"name": "dumont-x", "status": 400, **order})
    assert words in answer["error"]["message"]
    assert answer["error"]["status"] == "INVALID_ARGUMENT"
    assert not cpus.machines()


def test_a_name_is_given_once_and_a_stranger_sees_nothing(cpus: CpuCloudApi) -> None:
    cpus.insert("dumont-once")
    assert cpus.insert("dumont-once", status=409)["error"]["status"] == "ALREADY_EXISTS"
    assert len(cpus.machines()) == 1
    assert cpus.call("GET", f"zones/{ZONE}/instances/other", 404)["error"]["code"] == 404
    stranger = {"Authorization": "Bearer wrong"}
    assert cpus.call("GET", "aggregated/instances", 401, headers=stranger)["error"]["status"] == "UNAUTHENTICATED"


def test_preempted_it_stays_stopped_with_its_disk_until_it_is_started(
    market: MarketUnderTest, cpus: CpuCloudApi
) -> None:
    cpus.insert("dumont-spot", public_key(market))
    port = running(cpus, "dumont-spot")["sshPort"]
    key = host_key(port)
    assert ssh(port, market.state.user_key, "echo kept >/workspace/file").returncode == 0
    market.admin.post("/_sandbox/cpu-instances/dumont-spot/preempt").raise_for_status()
    row = cpus.machine("dumont-spot")
    assert row
    assert (row["status"], row["statusMessage"]) == ("TERMINATED", "Instance was preempted.")
    assert "natIP" not in row["networkInterfaces"][0]["accessConfigs"][0]
    cpus.call("POST", f"zones/{ZONE}/instances/dumont-spot/start")
    port = running(cpus, "dumont-spot")["sshPort"]
    assert ssh(port, market.state.user_key, "cat /workspace/file").stdout == "kept\n"
    assert host_key(port) == key
    assert market.admin.post("/_sandbox/cpu-instances/no-such/preempt").status_code == 404


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_machines_survive_the_end_of_the_process(tmp_path: Path, how: signal.Signals) -> None:
    market = MarketUnderTest(tmp_path)
    market.start()
    cpus = CpuCloudApi(client_environment(market.state, market.state.config(), market.secrets))
    cpus.insert("dumont-stays", public_key(market))
    port = running(cpus, "dumont-stays")["sshPort"]
    ssh(port, market.state.user_key, "echo kept >/workspace/file")
    cpus.insert("dumont-goes")
    running(cpus, "dumont-goes")
    cpus.call("DELETE", f"zones/{ZONE}/instances/dumont-goes")
    market.end(how)
    wait_until_none_is_about(market.state.cpu_machines)
    market.start()
    port = running(cpus, "dumont-stays")["sshPort"]
    assert ssh(port, market.state.user_key, "cat /workspace/file").stdout == "kept\n"
    eventually("what was being deleted is gone", lambda: [row["name"] for row in cpus.machines()] == ["dumont-stays"])
    cpus.close()
    market.close()
    wait_until_none_is_about(market.state.cpu_machines)
