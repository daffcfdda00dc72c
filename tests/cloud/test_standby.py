"""CPU standbys end to end: enabled, in step, verified, and what is said and left when something on the way breaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi, eventually
from tests.cpu_cloud_client import CpuCloudApi
from tests.market_under_test import ssh
from tests.nightly import nightly_but

FILES = (
    "mkdir -p a/empty .git node_modules; echo 1 >a/1; ln a/1 a/hard; ln -s a/1 link; chmod 640 a/1; "
    "head -c 3000000 /dev/urandom >random; echo odd >\"$(printf 'odd\\nname')\"; "
    "touch -d 2001-01-01T01:01:01.123456789 a; echo no >x.log; echo no >.git/HEAD"
)
# All that counts, but for the names that are never mirrored. The folder above them has other entries, so no link count.
LISTING = (
    "cd /workspace; find . -mindepth 1 ! -name '*.log' ! -path './.git*' ! -path ./node_modules "
    "-printf '%p %y %m %T@ %l\\n' | sort; find . -type f ! -name '*.log' ! -path './.git*' -exec md5sum {} + | sort; "
    "stat -c %h a/1"
)


class Standby:
    """The API, the CPU cloud and the machines behind them."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.api = ControlApi(environment)
        self.cpus = CpuCloudApi(environment)

    def close(self) -> None:
        self.api.close()
        self.cpus.close()

    def enable(self, instance_id: int) -> dict[str, Any]:
        """Returns it in step."""
        assert self.api.call("POST", f"/standby/{instance_id}/enable", 202)["state"] == "provisioning"
        return self.until(instance_id, "ready")

    def get(self, instance_id: int) -> dict[str, Any]:
        return dict(self.api.call("GET", f"/standby/associations/{instance_id}"))

    def until(self, instance_id: int, state: str) -> dict[str, Any]:
        seen: dict[str, Any] = {}

        def look() -> bool:
            seen.update(self.get(instance_id))
            assert seen["state"] in (state, "provisioning", "syncing", "ready"), seen
            return bool(seen["state"] == state)

        eventually(f"the standby is {state}", look)
        return seen

    def synced_again(self, instance_id: int) -> None:
        """Two syncs later: the second one began after now."""
        count = self.get(instance_id)["sync_count"]
        eventually("synced again", lambda: self.get(instance_id)["sync_count"] >= count + 2)

    def on_standby(self, instance_id: int, script: str) -> str:
        port = self.get(instance_id)["cpu_standby"]["ssh_port"]
        done = ssh(port, self._key(), script)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def trouble(self, instance_id: int) -> str:
        return str(eventually("a trouble is told", lambda: self.get(instance_id)["sync_error"]))

    def _key(self) -> Path:
        return Path(self.environment["SSH_KEY_PATH"])


@pytest.fixture
def standby(cloud: CloudUnderTest) -> Iterator[Standby]:
    """Leaves nothing rented, and sees that no standby is left."""
    used = Standby(cloud.environment)
    yield used
    api = used.api
    api.call("POST", "/standby/configure", json={"enabled": False})
    api.clear()
    for instance_id in api.call("GET", "/standby/associations")["associations"]:
        api.call("DELETE", f"/standby/associations/{instance_id}", params={"force": True})
    assert not used.cpus.machines()
    used.close()


@pytest.fixture
def unprotected(standby: Standby) -> Iterator[None]:
    """A machine that is lost stays lost."""
    settings = "/failover/settings/global"
    standby.api.call("PUT", settings, json={"default_strategy": "disabled"})
    yield
    standby.api.call("PUT", settings, json={"default_strategy": "cpu_standby"})


def test_from_enabled_to_disabled(standby: Standby, cloud: CloudUnderTest) -> None:
    api = standby.api
    instance_id = api.rent(label=f"My model, {'long ' * 20}", files=FILES)
    shown = standby.enable(instance_id)
    machine = shown["cpu_standby"]
    assert machine["name"].startswith("dumont-my-model-long-")
    assert (machine["machine_type"], machine["hourly_usd"], machine["ip"]) == ("e2-medium", 0.010, "127.0.0.1")
    assert shown["sync_error"] is None
    assert 0 < shown["lag_seconds"] < 60
    assert standby.on_standby(instance_id, LISTING) == api.run(instance_id, LISTING)
    assert standby.on_standby(instance_id, "cd /workspace; ls -A x.log .git node_modules 2>/dev/null || true") == ""
    assert [row["name"] for row in standby.cpus.machines()] == [machine["name"]]
    status = cloud.run("status").stdout
    assert "CPU machines: 1, 0.016 USD/h together." in status  # the machine, and 100 GB of disk
    assert f"  {machine['name']}, e2-medium spot, 100 GB" in status
    row = next(row for row in api.call("GET", "/instances")["instances"] if row["id"] == instance_id)
    assert row["standby"]["state"] == "ready"
    assert row["cpu_standby"]["name"] == machine["name"]
    assert row["total_dph"] == pytest.approx(row["dph_total"] + 0.010)

    api.run(instance_id, "cd /workspace; rm -r a link; echo 2 >random; mkdir new; echo late >new/late; touch -d @1 new")
    standby.synced_again(instance_id)
    assert standby.on_standby(instance_id, LISTING.replace("stat -c %h a/1", "")) == api.run(
        instance_id, LISTING.replace("stat -c %h a/1", "")
    )

    gone = api.call("POST", f"/standby/{instance_id}/disable")
    assert gone["association"]["state"] == "disabled"
    assert not standby.cpus.machines()  # at once: it answers when the machine is gone
    assert "CPU machines: 0, 0.000 USD/h together." in cloud.run("status").stdout
    assert "no CPU standby" in api.error("GET", f"/standby/associations/{instance_id}", 404)
    assert api.call("GET", f"/instances/{instance_id}")["standby"] is None
    assert api.actual_status(instance_id) == "running"


def test_what_looks_the_same_and_is_not_is_synced(standby: Standby) -> None:
    """Other bytes of the same size under the same times, which programs set as they like."""
    instance_id = standby.api.rent(files="mkdir d; for n in 1 2 3; do echo 1 >d/$n; touch -d @1000000000 d/$n; done")
    standby.enable(instance_id)
    for number in (1, 2):
        again = "printf '%s\n' {0} >d/{0}; touch -d @1000000000 d/{0}; sha256sum d/*"
        bytes_now = standby.api.run(instance_id, f"cd /workspace; {again.format(number + 1)}")
        standby.synced_again(instance_id)
        assert standby.on_standby(instance_id, "cd /workspace; sha256sum d/*") == bytes_now


def test_verify_looks_at_both_machines(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent(files="echo 1 >file; echo no >x.log")
    path = f"/standby/{instance_id}/verify-sync"
    assert "no CPU standby" in api.error("POST", path, 404, json={"filename": "file"})
    standby.enable(instance_id)
    seen = api.call("POST", path, json={"filename": "file"})
    assert seen["synced"]
    assert seen["gpu_md5"] == seen["standby_md5"] == "b026324c6904b2a9cb4b88d6d61c81d1"
    assert seen == api.call("POST", path, json={"filename": "/workspace/file"})
    api.call("POST", f"/standby/associations/{instance_id}/stop-sync")
    api.run(instance_id, "echo 2 >/workspace/file; echo 3 >/workspace/late")
    stale = api.call("POST", path, json={"filename": "file"})
    assert not stale["synced"]
    assert stale["standby_md5"] == seen["standby_md5"] != stale["gpu_md5"]
    late = api.call("POST", path, json={"filename": "late"})
    assert (late["synced"], late["standby_md5"], late["standby_mtime"]) == (False, None, None)
    api.call("POST", f"/standby/associations/{instance_id}/start-sync")
    eventually("synced", lambda: api.call("POST", path, json={"filename": "late"})["synced"])
    excluded = api.call("POST", path, json={"filename": "x.log"})
    assert (excluded["synced"], excluded["excluded"]) == (False, True)
    assert "Neither" in api.error("POST", path, 404, json={"filename": "nothing"})
    assert "is no file of /workspace" in api.error("POST", path, 400, json={"filename": "../etc/passwd"})
    assert "is not in /workspace" in api.error("POST", path, 400, json={"filename": "/etc/passwd"})


def test_refusals(standby: Standby) -> None:
    api = standby.api
    for method, path in (
        ("POST", "/standby/1/enable"),
        ("POST", "/standby/1/disable"),
        ("POST", "/standby/provision/1"),
        ("DELETE", "/standby/associations/1"),
        ("POST", "/standby/associations/1/start-sync"),
    ):
        api.error(method, path, 404)
    instance_id = api.rent()
    api.call("POST", f"/instances/{instance_id}/pause")
    assert "is not running" in api.error("POST", f"/standby/{instance_id}/enable", 409)
    assert not standby.cpus.machines()


def test_of_enables_at_once_one_counts(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent()
    answers: list[int] = []

    def enable() -> None:
        answers.append(api.http.post(f"/standby/{instance_id}/enable").status_code)

    threads = [threading.Thread(target=enable) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202, 409, 409, 409, 409]
    standby.until(instance_id, "ready")
    assert len(standby.cpus.machines()) == 1
    again = api.call("POST", f"/standby/provision/{instance_id}")
    assert "already exists" in again["message"]
    assert len(standby.cpus.machines()) == 1


def test_it_goes_with_its_machine(standby: Standby) -> None:
    api = standby.api
    destroyed, asleep = api.rent(), api.rent(files="echo 1 >file")
    for instance_id in (destroyed, asleep):
        assert api.call("POST", f"/standby/provision/{instance_id}")["state"] == "ready"
    api.call("DELETE", f"/instances/{destroyed}")
    assert [row["name"] for row in standby.cpus.machines()] == [standby.get(asleep)["cpu_standby"]["name"]]
    api.call("POST", f"/instances/{asleep}/hibernate")
    assert not standby.cpus.machines()
    assert api.call("GET", "/standby/associations")["count"] == 0


def test_every_new_machine_gets_one_when_configured(standby: Standby) -> None:
    api = standby.api
    told = api.call("POST", "/standby/configure", json={"gcp_machine_type": "e2-small", "sync_interval": 0.2})
    assert told["config"]["estimated_cost_monthly_usd"] == 3.60
    status = api.call("GET", "/standby/status")
    assert (status["auto_standby_enabled"], status["config"]["sync_interval"]) == (True, 0.2)
    order = {"offer_id": api.offer(), "disk_size": 10}
    instance_id = api.call("POST", "/instances", 201, json=order)["id"]
    eventually("it is noted", lambda: api.http.get(f"/standby/associations/{instance_id}").status_code == 200)
    assert standby.until(instance_id, "ready")["cpu_standby"]["machine_type"] == "e2-small"
    spared = api.rent()  # asks for none
    api.error("GET", f"/standby/associations/{spared}", 404)
    price = api.call("GET", "/standby/pricing", params={"machine_type": "e2-medium", "disk_gb": 100})
    assert (price["estimated_hourly_usd"], price["estimated_monthly_usd"]) == (0.01, 11.20)


@pytest.mark.usefixtures("unprotected")
def test_a_wiped_machine_does_not_empty_its_standby(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent(files=FILES)
    standby.enable(instance_id)
    before = standby.on_standby(instance_id, LISTING)
    api.admin.post(f"{api.market_url}/_sandbox/instances/{instance_id}/preempt").raise_for_status()
    assert f"Instance {instance_id}" in standby.trouble(instance_id)
    api.call("POST", f"/instances/{instance_id}/resume")  # at the same address, empty
    eventually("it runs", lambda: api.actual_status(instance_id) == "running")
    eventually("it is noticed", lambda: "host key is not the one" in standby.get(instance_id)["sync_error"])
    assert standby.on_standby(instance_id, LISTING) == before
    assert standby.get(instance_id)["lag_seconds"] > 0


@pytest.mark.nightly
@pytest.mark.usefixtures("unprotected")
def test_a_machine_that_is_wiped_in_the_middle_of_a_sync(standby: Standby, cloud: CloudUnderTest) -> None:
    """Nothing of the half that has arrived gets onto the standby."""
    api = standby.api
    instance_id = api.rent(files=FILES)
    standby.enable(instance_id)
    before = standby.on_standby(instance_id, LISTING)
    api.call("POST", f"/standby/associations/{instance_id}/stop-sync")
    api.run(instance_id, "cd /workspace; rm random; for i in 1 2 3; do head -c 200M /dev/urandom >big$i; done")
    api.call("POST", f"/standby/associations/{instance_id}/start-sync")
    copies = cloud.state_dir / "control" / "standby"
    eventually("some of it has arrived", lambda: list(copies.glob("*/.big3.*")))
    api.admin.post(f"{api.market_url}/_sandbox/instances/{instance_id}/preempt").raise_for_status()
    eventually("it is told", lambda: "Interrupted by the market" in str(standby.get(instance_id)["sync_error"]))
    assert standby.on_standby(instance_id, LISTING) == before


@pytest.mark.nightly
def test_a_machine_that_nobody_knows_of_is_deleted_at_the_start(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    standby = Standby(own_cloud.environment)
    standby.cpus.insert("dumont-lost-1", labels={"dumont-standby": "nobody"})
    standby.cpus.insert("somebody-elses")
    standby.close()
    own_cloud.down()
    own_cloud.up()
    standby = Standby(own_cloud.environment)
    eventually("it is gone", lambda: [row["name"] for row in standby.cpus.machines()] == ["somebody-elses"])
    standby.close()


def test_a_disk_that_was_wiped_under_the_machine_does_not_empty_its_standby(standby: Standby) -> None:
    """Even the host key is the same: the mark outside of the workspace is missing."""
    api = standby.api
    instance_id = api.rent(files=FILES)
    standby.enable(instance_id)
    before = standby.on_standby(instance_id, LISTING)
    api.run(instance_id, "rm -rf /root/.dumont/mirrored-* && find /workspace -mindepth 1 -delete")
    assert "was it wiped?" in standby.trouble(instance_id)
    assert standby.on_standby(instance_id, LISTING) == before


def test_a_dead_standby_is_told_and_replaced(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent(files=FILES)
    first = standby.enable(instance_id)["cpu_standby"]["name"]
    api.admin.post(f"{api.market_url}/_sandbox/cpu-instances/{first}/preempt").raise_for_status()
    broken = standby.until(instance_id, "error")
    assert broken["sync_error"] == (
        f"Standby {first} is down (status: TERMINATED; Instance was preempted.). Enable it again to have a new one"
    )
    assert broken["health_status"] == "unhealthy"
    assert api.actual_status(instance_id) == "running"
    assert api.http.post(f"/standby/{instance_id}/enable").status_code == 202
    second = standby.until(instance_id, "ready")["cpu_standby"]["name"]
    assert [row["name"] for row in standby.cpus.machines()] == [second] != [first]
    assert standby.on_standby(instance_id, LISTING) == api.run(instance_id, LISTING)


def test_a_standby_that_cannot_be_had_leaves_nothing(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent()
    refusal = {"error": {"code": 403, "message": "Quota 'CPUS' exceeded."}}
    with api.fault(api.market_url, kind="answer", match="^POST /gcp/.*/instances$", status=403, body=refusal):
        api.call("POST", f"/standby/{instance_id}/enable", 202)
        broken = standby.until(instance_id, "error")
    assert "Quota 'CPUS' exceeded." in broken["sync_error"]
    assert not standby.cpus.machines()
    assert "Quota 'CPUS' exceeded." in api.error("POST", f"/standby/associations/{instance_id}/start-sync", 409)
    assert standby.api.call("POST", f"/standby/provision/{instance_id}")["state"] == "ready"


def test_a_lost_answer_buys_no_second_machine(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent()
    with api.fault(api.market_url, kind="answer", match="^GET /gcp/.*/instances/dumont", status=503, times=2):
        standby.enable(instance_id)
    assert len(standby.cpus.machines()) == 1


def test_disabled_in_the_middle_of_a_sync(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent(files="for i in $(seq 3000); do echo $i >f$i; done; head -c 300M /dev/urandom >big")
    api.call("POST", f"/standby/{instance_id}/enable", 202)
    eventually("the first sync runs", lambda: standby.get(instance_id)["state"] == "syncing")
    begun = time.monotonic()
    api.call("POST", f"/standby/{instance_id}/disable")
    assert time.monotonic() - begun < 10
    assert not standby.cpus.machines()
    api.error("GET", f"/standby/associations/{instance_id}", 404)


def test_a_cpu_cloud_that_does_not_answer_is_asked_until_the_machine_is_gone(standby: Standby) -> None:
    api = standby.api
    instance_id = api.rent()
    name = standby.enable(instance_id)["cpu_standby"]["name"]
    with api.fault(api.market_url, kind="answer", match="^DELETE /gcp/", status=503):
        assert "at the CPU cloud" in api.error("POST", f"/standby/{instance_id}/disable", 503)
        assert "could not be deleted yet" in standby.get(instance_id)["sync_error"]
        assert [row["name"] for row in standby.cpus.machines()] == [name]
        assert "is being deleted" in api.error("POST", f"/standby/{instance_id}/enable", 409)
    eventually("it is gone", lambda: not standby.cpus.machines())
    eventually("forgotten", lambda: api.call("GET", "/standby/associations")["count"] == 0)


@pytest.mark.parametrize("when", nightly_but("syncing", ["provisioning", "syncing", "ready", "disabling"]))
def test_control_killed(own_cloud: CloudUnderTest, when: str) -> None:
    own_cloud.up()
    standby = Standby(own_cloud.environment)
    api = standby.api
    instance_id = api.rent(files=f"{FILES}; head -c 60M /dev/urandom >big")
    before = api.run(instance_id, LISTING)
    if when in ("ready", "disabling"):
        standby.enable(instance_id)
    else:
        api.call("POST", f"/standby/{instance_id}/enable", 202)
        eventually(when, lambda: standby.get(instance_id)["state"] == when)
    if when == "disabling":
        with api.fault(api.market_url, kind="answer", match="^DELETE /gcp/", status=503):
            api.error("POST", f"/standby/{instance_id}/disable", 503)
            own_cloud.kill("control")
    else:
        own_cloud.kill("control")
    standby.close()
    eventually("the cloud has stopped", own_cloud.has_stopped)
    own_cloud.up()
    standby = Standby(own_cloud.environment)
    api = standby.api
    eventually("the machine runs", lambda: api.actual_status(instance_id) == "running")
    if when == "disabling":
        eventually("the standby is gone", lambda: not standby.cpus.machines())
        api.error("GET", f"/standby/associations/{instance_id}", 404)
    else:
        count = standby.get(instance_id)["sync_count"]
        eventually("it syncs again", lambda: standby.get(instance_id)["sync_count"] > count)
        assert standby.get(instance_id)["state"] == "ready"
        assert len(standby.cpus.machines()) == 1
        assert standby.on_standby(instance_id, LISTING) == before
        api.call("DELETE", f"/instances/{instance_id}")
        assert not standby.cpus.machines()
    standby.close()
