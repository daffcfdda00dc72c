"""Hibernation end to end: idle, snapshot, audit, destroy, wake. And everything that must keep it from destroying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi, eventually
from tests.nightly import nightly_but

FILES = "mkdir -p a/empty; echo 1 >a/1; ln -s a/1 link; head -c 100000 /dev/urandom >random"
LISTING = 'cd /workspace; find . -printf "%p %y %m %T@ %l\\n" | sort; find . -type f -exec md5sum {} + | sort'


@pytest.fixture
def api(cloud: CloudUnderTest) -> Iterator[ControlApi]:
    """Leaves nothing rented."""
    client = ControlApi(cloud.environment)
    yield client
    client.clear()
    client.close()


def is_rented(api: ControlApi, instance_id: int) -> bool:
    return instance_id in [row["id"] for row in api.call("GET", "/instances")["instances"]]


def events_of(api: ControlApi, instance_id: int) -> list[str]:
    """The oldest first."""
    found = api.call("GET", "/metrics/hibernation/events", params={"instance_id": instance_id})["events"]
    return [event["event_type"] for event in reversed(found)]


def test_idle_machine_is_hibernated_and_wakes_with_everything(api: ControlApi) -> None:
    instance_id = api.rent(label="sleeper", files=FILES)
    before = api.run(instance_id, LISTING)
    api.hibernate_when_idle_for(instance_id, 1)
    asleep = api.wait_for(instance_id, "hibernated")
    assert asleep["error"] is None
    assert not is_rented(api, instance_id)
    gone = api.error("GET", f"/instances/{instance_id}", 404)
    assert gone.startswith(f"Instance {instance_id} not found: it is hibernated in snapshot {asleep['snapshot_id']}")
    row = api.call("GET", "/snapshots", params={"instance_id": instance_id})["snapshots"][0]
    assert row["short_id"] == asleep["snapshot_id"]
    assert row["name"].startswith(f"{instance_id}_hibernate_")
    assert "hibernate" in row["tags"]

    assert "up to 0.01 USD/h" in api.error("POST", f"/instances/{instance_id}/wake", 503, json={"max_price": 0.01})
    with api.fault(api.market_url, kind="machine", machine="no_restic"):
        failed = api.error("POST", f"/instances/{instance_id}/wake", 500)
    assert "restic is not installed" in failed
    assert api.call("GET", "/instances")["count"] == 0  # what was rented for the wake was given back
    assert api.state(instance_id)["status"] == "hibernated"

    woken = api.call("POST", f"/instances/{instance_id}/wake", json={"max_price": 5})
    new_id = woken["new_instance_id"]
    assert (woken["old_instance_id"], woken["snapshot_id"]) == (instance_id, asleep["snapshot_id"])
    assert api.run(new_id, LISTING) == before
    machine = api.call("GET", f"/instances/{new_id}")
    assert (machine["label"], machine["ssh_port"]) == ("sleeper", woken["ssh_port"])
    assert f"woken before, as instance {new_id}" in api.error("POST", f"/instances/{instance_id}/wake", 409)
    assert events_of(api, instance_id)[-4:] == ["hibernated", "wake_failed", "wake_failed", "woke_up"]
    assert api.call("GET", "/hibernation/stats")["total_hibernations"] >= 1


def test_busy_machine_is_left_alone_until_it_is_idle(api: ControlApi) -> None:
    instance_id = api.rent(files=f"{FILES}; echo 90 >/tmp/gpu-utilisation")
    eventually("its work is seen", lambda: api.state(instance_id).get("gpu_utilization") == 90)
    api.hibernate_when_idle_for(instance_id, 1)
    seen: set[str] = set()

    def looked_often_enough() -> bool:
        state = api.state(instance_id)
        assert (state["status"], state["idle_since"]) == ("running", None)
        seen.add(state["last_heartbeat"])
        return len(seen) > 5

    eventually("heartbeats for longer than the idle time", looked_often_enough)
    api.run(instance_id, "echo 0 >/tmp/gpu-utilisation")
    api.wait_for(instance_id, "hibernated")


def test_no_snapshot_no_destruction(api: ControlApi) -> None:
    with api.fault(api.market_url, kind="machine", machine="no_restic"):
        instance_id = api.rent(files=FILES)
    api.hibernate_when_idle_for(instance_id, 1)
    failed = api.wait_for(instance_id, "failed")
    assert failed["error"] == "restic backup: restic is not installed on this machine"
    assert failed["snapshot_id"] is None
    assert failed["will_hibernate_at"] is not None  # it will be tried again, later
    assert "1" in api.run(instance_id, "cat /workspace/a/1")
    # Where heartbeats are late, as on a busy computer, it is found idle again.
    assert list(dict.fromkeys(events_of(api, instance_id))) == ["idle_detected", "hibernation_failed"]
    assert "not hibernated (status: failed)" in api.error("POST", f"/instances/{instance_id}/wake", 409)


def test_no_audit_no_destruction(cloud: CloudUnderTest, api: ControlApi) -> None:
    """The snapshot disappears from the bucket before it is looked for there."""
    known = cloud.environment
    store = boto3.client(
        "s3",
        endpoint_url=known["B2_ENDPOINT"],
        aws_access_key_id=known["B2_KEY_ID"],
        aws_secret_access_key=known["B2_APPLICATION_KEY"],
        region_name="us-east-1",
    )
    instance_id = api.rent(files=FILES)
    before = {row["id"] for row in api.call("GET", "/snapshots")["snapshots"]}

    def lose_the_snapshot() -> None:
        listed = store.list_objects_v2(Bucket=known["B2_BUCKET"], Prefix="restic/snapshots/")["Contents"]
        for found in listed:
            if Path(found["Key"]).name not in before:
                store.delete_object(Bucket=known["B2_BUCKET"], Key=found["Key"])

    with api.at("snapshot.finished", lose_the_snapshot):
        error = api.error("POST", f"/instances/{instance_id}/hibernate", 500)
    store.close()
    assert "is not in the repository" in error
    assert api.state(instance_id)["status"] == "failed"
    assert is_rented(api, instance_id)


def test_what_changed_during_the_snapshot_is_saved_too(api: ControlApi) -> None:
    instance_id = api.rent(files=FILES)
    commands = iter(["echo late >/workspace/late"])  # after the first snapshot only
    with api.at("snapshot.finished", lambda: api.run(instance_id, next(commands, "true"))):
        api.call("POST", f"/instances/{instance_id}/hibernate")
    woken = api.call("POST", f"/instances/{instance_id}/wake", json={"max_price": 5})
    assert api.run(woken["new_instance_id"], "cat /workspace/late") == "late\n"


def test_workspace_that_never_rests_is_not_destroyed(api: ControlApi) -> None:
    instance_id = api.rent(files=FILES)
    with api.at("snapshot.finished", lambda: api.run(instance_id, "date >/workspace/log")):
        error = api.error("POST", f"/instances/{instance_id}/hibernate", 409)
    assert "kept changing during 3 snapshots (/workspace/log)" in error
    assert is_rented(api, instance_id)


def test_one_hibernation_at_a_time_and_a_user_may_still_destroy(api: ControlApi) -> None:
    instance_id = api.rent(files=FILES)
    refusals: list[str] = []

    def interfere() -> None:
        for method, path, body in (
            ("POST", f"/instances/{instance_id}/hibernate", None),
            ("POST", f"/instances/{instance_id}/pause", None),
            ("POST", "/snapshots", {"instance_id": instance_id}),
        ):
            refusals.append(api.error(method, path, 409, json=body))
        api.call("DELETE", f"/instances/{instance_id}")

    with api.at("snapshot.finished", interfere):
        stopped = api.error("POST", f"/instances/{instance_id}/hibernate", 409)
    assert refusals == [f"Instance {instance_id} is hibernating: wait until that has ended"] * 3
    assert "destroyed" in stopped
    assert not is_rented(api, instance_id)
    assert api.error("GET", f"/agent/instances/{instance_id}", 404)
    assert api.error("POST", f"/instances/{instance_id}/wake", 404) == f"Instance {instance_id} not found"


@pytest.mark.parametrize("victim", nightly_but("control", ["control", "store"]))
def test_killed_in_mid_hibernation(own_cloud: CloudUnderTest, victim: str) -> None:
    own_cloud.up()
    api = ControlApi(own_cloud.environment)
    instance_id = api.rent(files=FILES)
    before = api.run(instance_id, LISTING)
    with (
        api.at("snapshot.finished", lambda: own_cloud.kill(victim)),
        pytest.raises(Exception, match=r"disconnected|reset|refused|50[0-9]"),
    ):
        api.call("POST", f"/instances/{instance_id}/hibernate")
    api.close()
    eventually("the cloud has stopped", own_cloud.has_stopped)
    own_cloud.up()
    api = ControlApi(own_cloud.environment)
    failed = api.wait_for(instance_id, "failed")
    assert failed["error"]
    assert not [row for row in api.call("GET", "/snapshots")["snapshots"] if row["status"] == "creating"]
    eventually("machine runs", lambda: api.actual_status(instance_id) == "running")
    assert api.run(instance_id, LISTING) == before
    assert api.call("POST", f"/instances/{instance_id}/hibernate")["status"] == "hibernated"
    api.close()
