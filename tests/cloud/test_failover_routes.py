"""Failovers in one call, rehearsals and volumes: each does its work for real, and leaves what it says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.control_api import eventually
from tests.failover_api import FILES, LISTING, FailoverApi
from tests.nightly import nightly_but

ODD_FILES = f'{FILES}; : >empty; mkfifo pipe; ln random hard; echo x >"a name with spaces"'


@pytest.fixture
def api(cloud: CloudUnderTest) -> Iterator[FailoverApi]:
    client = FailoverApi(cloud.environment)
    yield client
    client.admin.delete(f"{client.market_url}/_sandbox/faults")
    client.clear()
    for row in client.call("GET", "/failover/regional-volume/list")["volumes"]:
        client.call("DELETE", f"/failover/regional-volume/{row['volume_id']}")
    assert client.volumes() == []
    client.close()


def listed(api: FailoverApi) -> list[int]:
    return sorted(row["id"] for row in api.at_market())


def execute(api: FailoverApi, instance_id: int, **wish: str) -> dict[str, Any]:
    where = {"machine_id": instance_id, "gpu_instance_id": instance_id, "ssh_host": "127.0.0.1", "ssh_port": 22}
    return dict(api.call("POST", "/failover/execute", json=where | wish))


def test_a_failover_in_one_call(api: FailoverApi) -> None:
    instance_id = api.protected(label="one call", files=FILES)
    before = api.run(instance_id, LISTING)
    dry = api.call("POST", f"/failover/test/{instance_id}", params={"gpu_instance_id": instance_id})
    assert (dry["would_succeed"], dry["readiness"]["cpu_standby"]) == (True, "ready")
    assert api.call("GET", f"/failover/status/{instance_id}")["recommended_action"] == "none"
    assert api.actual_status(instance_id) == "running"
    done = execute(api, instance_id)
    assert done["success"], done
    assert (done["strategy_attempted"], done["strategy_succeeded"]) == ("cpu_standby", "cpu_standby")
    event = api.call("GET", f"/standby/failover/status/{done['failover_id']}")
    assert done["total_ms"] == done["cpu_standby_attempt_ms"] == event["total_time_ms"]
    assert (done["warm_pool_attempt_ms"], done["warm_pool_error"]) == (None, None)
    new_id = done["new_gpu_id"]
    assert listed(api) == [new_id]
    assert api.run(new_id, LISTING) == before
    row = api.call("GET", f"/instances/{new_id}")
    assert (done["new_ssh_port"], done["new_gpu_name"]) == (row["ssh_port"], row["gpu_name"])
    standby = api.standby(new_id)["cpu_standby"]
    assert row["total_dph"] == pytest.approx(row["dph_total"] + standby["hourly_usd"])


@pytest.mark.nightly
def test_a_failover_by_another_strategy_than_the_machine_s_own(api: FailoverApi) -> None:
    instance_id = api.protected(files=FILES)
    api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "chosen"})
    before = api.run(instance_id, LISTING)
    done = execute(api, instance_id, force_strategy="snapshot")
    assert (done["success"], done["strategy_succeeded"]) == (True, "snapshot")
    assert api.run(done["new_gpu_id"], LISTING) == before
    # `both`: there is no warm machine and no standby that could serve, which is told with its reason.
    again = execute(api, done["new_gpu_id"], force_strategy="both")
    assert (again["success"], again["strategy_succeeded"], again["failover_id"]) == (False, None, None)
    assert "has no warm machine" in again["error"]
    assert listed(api) == [done["new_gpu_id"]]
    api.call("POST", f"/failover/settings/machines/{done['new_gpu_id']}/disable-failover")
    assert "disabled" in execute(api, done["new_gpu_id"])["error"]
    query = {"gpu_instance_id": done["new_gpu_id"]}
    assert api.call("POST", f"/failover/test/{done['new_gpu_id']}", params=query)["would_succeed"] is False
    assert api.call("POST", "/failover/execute", 422, json={"machine_id": 1, "force_strategy": "hope"})


@pytest.mark.nightly
def test_why_each_source_could_not_serve(api: FailoverApi) -> None:
    instance_id = api.protected(files=FILES)
    api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "rescue"})
    api.kill_standby(instance_id)
    done = execute(api, instance_id)
    assert (done["success"], done["strategy_succeeded"]) == (True, "snapshot")
    assert "gone" in done["cpu_standby_error"]
    assert 0 < done["cpu_standby_attempt_ms"] < done["total_ms"]


@pytest.mark.parametrize("how", nightly_but("fast", ["fast", "test-real"]))
def test_a_rehearsal_brings_a_second_machine_with_the_same_files(api: FailoverApi, how: str) -> None:
    instance_id = api.rent(label="rehearsed", files=ODD_FILES)
    before = api.run(instance_id, LISTING)
    done = api.call("POST", f"/standby/failover/{how}/{instance_id}", json={"skip_inference": True})
    assert done["success"], done
    assert done["inference"] is None
    new_id = done["gpu"]["new"]["id"] if how == "fast" else done["gpu"]["new_id"]
    assert listed(api) == sorted([instance_id, new_id])
    assert api.run(instance_id, LISTING) == api.run(new_id, LISTING) == before
    report = api.call("GET", f"/standby/failover/test-real/report/{done['failover_id']}")
    phases = report["phase_timings"]
    assert list(phases) == ["snapshot_creation", "gpu_search", "gpu_provision", "restore", "validation"]
    assert sum(phases.values()) == pytest.approx(report["totals"]["total_time_ms"], abs=0.01)
    assert report["snapshot"]["id"] == done["snapshot"]["id"]
    tests = api.call("GET", "/standby/failover/test-real/history", params={"days": 1})["tests"]
    assert tests[0]["failover_id"] == done["failover_id"]


@pytest.mark.nightly
def test_a_rehearsal_may_end_the_machine(api: FailoverApi) -> None:
    instance_id = api.rent(label="ended", files=FILES)
    before = api.run(instance_id, LISTING)
    done = api.call("POST", f"/standby/failover/test-real/{instance_id}", json={"destroy_original_gpu": True})
    assert done["success"], done
    assert "gpu_failure_simulation_ms" in done["phase_breakdown"]
    assert (done["inference"]["success"], done["inference"]["response"]) == (False, None)
    assert listed(api) == [done["gpu"]["new_id"]]
    assert api.run(done["gpu"]["new_id"], LISTING) == before
    assert api.call("GET", f"/instances/{done['gpu']['new_id']}")["label"] == "ended"


@pytest.mark.nightly
def test_a_rehearsal_that_fails_leaves_nothing(api: FailoverApi) -> None:
    instance_id = api.rent(files=FILES)

    def corrupt() -> None:
        """What arrived is changed before it is validated."""
        new_id = next(row["id"] for row in api.at_market() if row["id"] != instance_id)
        api.run(new_id, "echo more >/workspace/more")

    with api.at("restore.finished", corrupt):
        failed = api.call("POST", f"/standby/failover/fast/{instance_id}", 500)
    assert failed["error"]["failed_phase"] == "validation"
    assert "the snapshot holds" in failed["detail"]
    assert listed(api) == [instance_id]
    assert api.actual_status(instance_id) == "running"
    history = api.call("GET", "/standby/failover/test-real/history")
    assert history["tests"][0]["totals"]["failure_phase"] == "validation"
    assert api.call("POST", "/standby/failover/fast/1", 404)


@pytest.mark.nightly
def test_killed_in_mid_rehearsal(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    api = FailoverApi(own_cloud.environment)
    instance_id = api.rent(files=FILES)

    def order() -> None:
        with suppress(httpx2.TransportError):  # nobody is left to answer
            api.http.post(f"/standby/failover/fast/{instance_id}")

    with api.at("restore.finished", lambda: own_cloud.kill("control")):
        asking = threading.Thread(target=order)
        asking.start()
        eventually("the cloud has stopped", own_cloud.has_stopped)
    asking.join()
    api.close()
    own_cloud.up()
    api = FailoverApi(own_cloud.environment)
    eventually("it is over", lambda: api.call("GET", "/standby/failover/test-real/history")["failed_tests"])
    eventually("only the first one is left", lambda: listed(api) == [instance_id])
    api.clear()
    api.close()


def test_a_volume_goes_from_machine_to_machine(api: FailoverApi) -> None:
    region = next(row["geolocation"] for row in api.call("GET", "/instances/offers")["offers"]).rpartition(", ")[2]
    assert api.call("GET", f"/failover/regional-volume/search/{region}")["found"]
    assert not api.call("GET", "/failover/regional-volume/search/XX")["found"]
    assert "XX" in api.error("POST", "/failover/regional-volume/create", 404, json={"region": "XX"})
    volume = api.call("POST", "/failover/regional-volume/create", json={"region": region, "size_gb": 20})
    (at_market,) = api.volumes()
    assert (at_market["id"], at_market["region"]) == (volume["volume_id"], region)
    wish = {"volume_id": volume["volume_id"], "region": region}
    first = api.call("POST", "/failover/regional-volume/failover", json=wish)["new_instance_id"]
    api.run(first, f"cd /workspace; {FILES}")
    before = api.run(first, LISTING)
    assert "name that one" in api.error("POST", "/failover/regional-volume/failover", 409, json=wish)
    assert f"instance {first}" in api.error("DELETE", f"/failover/regional-volume/{volume['volume_id']}", 409)
    model = api.call("GET", f"/failover/regional-volume/search/{region}")["offer"]["gpu_name"]
    wish |= {"old_instance_id": first, "preferred_gpus": [model], "max_price": 9}
    done = api.call("POST", "/failover/regional-volume/failover", json=wish)
    assert (done["new_gpu_name"], listed(api)) == (model, [done["new_instance_id"]])
    assert api.run(done["new_instance_id"], LISTING) == before
    # It was made by itself, and outlives its machines.
    api.call("DELETE", f"/instances/{done['new_instance_id']}")
    assert api.call("GET", f"/failover/regional-volume/{volume['volume_id']}")["instance_id"] is None
    last = api.call("POST", "/failover/regional-volume/failover", json={**wish, "old_instance_id": None})
    assert api.run(last["new_instance_id"], LISTING) == before
    api.call("DELETE", f"/instances/{last['new_instance_id']}")
    api.call("DELETE", f"/failover/regional-volume/{volume['volume_id']}")
    assert api.volumes() == []


@pytest.mark.nightly
def test_a_warm_machine_is_tried(api: FailoverApi) -> None:
    instance_id = api.rent(files=FILES)
    refused = api.call("POST", f"/warmpool/failover/test/{instance_id}")
    assert (refused["success"], listed(api)) == (False, [instance_id])
    assert "has no warm machine" in refused["message"]
    shown = api.call("POST", f"/failover/settings/machines/{instance_id}/enable-warm-pool")
    assert shown["effective_strategy"] == "warm_pool"
    warm_id = api.with_warm_machine(instance_id)
    before = api.run(instance_id, LISTING)
    done = api.call("POST", f"/warmpool/failover/test/{instance_id}")
    assert (done["success"], done["new_primary_gpu_id"]) == (True, warm_id)
    assert api.run(warm_id, LISTING) == before
    api.call("DELETE", f"/warmpool/cleanup/{warm_id}")
    eventually("no second machine", lambda: listed(api) == [warm_id])


def test_settings_in_one_call_and_an_estimate(api: FailoverApi) -> None:
    instance_id = api.rent(files=FILES)
    settings = f"/failover/settings/machines/{instance_id}"
    assert api.call("POST", f"{settings}/enable-cpu-standby")["cpu_standby"]["enabled"]
    eventually("the standby serves", lambda: api.call("GET", settings)["cpu_standby"]["active"])
    assert api.call("POST", f"{settings}/use-global")["use_global_settings"]
    estimate = api.call("POST", f"/instances/{instance_id}/migrate/estimate", json={"gpu_type": "RTX 4090"})
    assert (estimate["available"], estimate["target"]["gpu_name"]) == (True, "RTX 4090")
    assert (estimate["estimated_time_minutes"] is None) == (estimate["estimated_from_migrations"] == 0)
    none = api.call(
        "POST", f"/instances/{instance_id}/migrate/estimate", json={"gpu_type": "RTX 4090", "max_price": 0.01}
    )
    assert (none["available"], none["offers_available"]) == (False, 0)
    assert "the cheapest costs" in none["error"]
    # What a migration does not do is refused, not left out.
    for impossible in ({"target_type": "cpu"}, {"auto_destroy_source": False}):
        api.call("POST", f"/instances/{instance_id}/migrate", 422, json={"gpu_type": "RTX 4090", **impossible})
    assert listed(api) == [instance_id]
