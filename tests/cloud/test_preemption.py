"""The market takes machines away in the middle of a failover: what it ends in is true, and nothing is left over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.control_api import eventually
from tests.failover_api import FILES, LISTING, PHASES, FailoverApi, check_success
from tests.nightly import nightly_but

MUCH = f"{FILES}; head -c 200000000 /dev/zero | openssl enc -aes-128-ctr -pass pass:much -nosalt 2>/dev/null >much"


@pytest.fixture
def api(cloud: CloudUnderTest) -> Iterator[FailoverApi]:
    client = FailoverApi(cloud.environment)
    yield client
    client.clear()
    client.close()


@contextmanager
def in_phase(api: FailoverApi, phase: str, act: Callable[[], None]) -> Iterator[None]:
    """Acts once, when a failover has entered the phase and done nothing in it yet. The block ends after that."""
    acted: list[str] = []

    def look() -> None:
        if not acted and api.call("GET", "/standby/failover/report")["history"][0]["phase"] == phase:
            act()
            acted.append(phase)

    with api.at("failover.phase", look):
        yield
        eventually(f"a failover comes to {phase}", lambda: acted)


def preempt_all(api: FailoverApi) -> None:
    """The old machine while the market lists it, and the new one once there is one."""
    for row in api.at_market():
        api.preempt(row["id"])


def preempted(api: FailoverApi, instance_id: int) -> None:
    """Takes a machine away; returns when its failover has begun."""
    eventually("heartbeats", lambda: api.state(instance_id).get("last_heartbeat"))
    api.preempt(instance_id)
    eventually("a failover", lambda: api.failovers_of(instance_id))


def last_failover(api: FailoverApi, instance_id: int) -> dict[str, Any]:
    return api.ended(api.failovers_of(instance_id)[0]["failover_id"])


def check_truth(api: FailoverApi, instance_id: int, before: str) -> dict[str, Any]:
    """The first failover of a machine says what it came to, and whatever that is, in the end all files are there.

    It failed: then nothing is rented, and the next one succeeds. Its new machine was taken away as well: then that one
    has failed over. Returns that first failover.
    """
    first = event = last_failover(api, instance_id)
    if not event["success"]:
        assert event["error"]
        assert event["failed_phase"] in PHASES
        assert (event["phase"], event["completed_at"] is not None) == ("failed", True)
        assert api.at_market() == []
        row = api.call("GET", f"/instances/{instance_id}")
        assert (row["actual_status"], row["failover"]["phase"]) == ("offline", "failed")
        event = api.fail_over(instance_id)
    check_success(event)
    new_id = event["new_instance_id"]
    if new_id not in [row["id"] for row in api.at_market() if row["actual_status"] == "running"]:
        eventually("a failover of the new machine", lambda: api.failovers_of(new_id))
        event = last_failover(api, new_id)
        check_success(event)
        new_id = event["new_instance_id"]
    assert [row["id"] for row in api.at_market()] == [new_id]
    assert api.run(new_id, LISTING) == before
    return first


@pytest.mark.parametrize("phase", nightly_but("restoring", PHASES))
@pytest.mark.parametrize("how", nightly_but("automatic", ["automatic", "by hand"]))
def test_preempted_in_each_phase(api: FailoverApi, phase: str, how: str) -> None:
    """Every machine that the market lists when the phase begins: the old one, then none, then the new one."""
    instance_id = api.protected(label="taken", files=FILES)
    before = api.run(instance_id, LISTING)
    with in_phase(api, phase, lambda: preempt_all(api)):
        if how == "automatic":
            preempted(api, instance_id)
        else:
            api.call("POST", f"/standby/{instance_id}/simulate-failover")
        last_failover(api, instance_id)
    first = check_truth(api, instance_id, before)
    if phase == "restoring":
        assert (first["success"], first["failed_phase"]) == (False, "restoring")
        assert "Interrupted by the market" in first["error"]
        assert f"new machine {first['new_instance_id']} was destroyed" in first["error"]
    else:
        check_success(first)
    assert len(api.cpu_machines()) == 1
    eventually("in step", lambda: api.standby(api.at_market()[0]["id"])["state"] == "ready")


@pytest.mark.nightly
@pytest.mark.parametrize("wins", [True, False])
def test_preempted_while_they_race(api: FailoverApi, *, wins: bool) -> None:
    """One that comes up is taken away: another one wins. All of them: nobody wins, and nobody is left."""
    instance_id = api.protected(label="taken", files=FILES)
    before = api.run(instance_id, LISTING)
    taken: set[int] = set()
    one_by_one = threading.Lock()

    def take() -> None:
        with one_by_one:
            for row in api.at_market():
                if row["id"] != instance_id and row["actual_status"] == "running" and not (wins and taken):
                    taken.add(row["id"])
                    api.preempt(row["id"])

    with api.at("machine.running", take, part=api.market_url):
        api.fail_over(instance_id)
    assert taken
    first = check_truth(api, instance_id, before)
    assert first["success"] is wins
    if wins:
        assert first["new_instance_id"] not in taken
    else:
        assert first["failed_phase"] == "provisioning"
        assert len(taken) > 3
        assert "Interrupted by the market" in first["error"]


@pytest.mark.nightly
def test_preempted_while_files_arrive(api: FailoverApi) -> None:
    instance_id = api.protected(label="taken", files=MUCH)
    before = api.run(instance_id, LISTING)
    begun = api.call("POST", f"/standby/{instance_id}/simulate-failover")

    def filling() -> int | None:
        return next((row["id"] for row in api.call("GET", "/instances")["instances"] if row["progress"]), None)

    new_id = eventually("files arrive", filling)
    api.preempt(new_id)
    event = api.ended(begun["failover_id"])
    assert (event["failed_phase"], event["new_instance_id"]) == ("restoring", new_id)
    check_truth(api, instance_id, before)


@pytest.mark.nightly
@pytest.mark.parametrize("snapshot", [False, True])
@pytest.mark.parametrize("phase", ["detecting", "failover_to_cpu", "searching_gpu", "restoring"])
def test_standby_preempted_in_mid_failover(api: FailoverApi, phase: str, *, snapshot: bool) -> None:
    """It is a spot machine as well. Nobody says that it serves what it does not serve."""
    instance_id = api.protected(label="taken", files=FILES)
    before = api.run(instance_id, LISTING)
    if snapshot:
        api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "rescue"})
    with in_phase(api, phase, lambda: api.preempt_standby(instance_id)):
        event = api.fail_over(instance_id)
    if snapshot and phase in ("detecting", "failover_to_cpu"):
        check_success(event)
        assert event["data_source"] == "snapshot"
        assert api.run(event["new_instance_id"], LISTING) == before
    else:
        assert event["success"] is False, event
        assert "goes on serving" not in event["error"]
        assert "TERMINATED; Instance was preempted" in event["error"]
        assert (api.standby(instance_id)["state"], api.at_market()) == ("error", [])
    if snapshot and not event["success"]:
        again = api.fail_over(instance_id)
        check_success(again)
        assert api.run(again["new_instance_id"], LISTING) == before


@pytest.mark.nightly
@pytest.mark.parametrize("strategy", ["snapshot", "warm_pool", "regional_volume"])
def test_replacement_preempted_whatever_it_is_filled_from(api: FailoverApi, strategy: str) -> None:
    instance_id = api.rent(files=FILES, failover_strategy=strategy)
    if strategy == "warm_pool":
        api.with_warm_machine(instance_id)
    before = api.run(instance_id, LISTING)
    api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "rescue"})
    with in_phase(api, "restoring", lambda: preempt_all(api)):
        event = api.fail_over(instance_id)
    assert (event["success"], event["failed_phase"], event["data_source"]) == (False, "restoring", strategy)
    again = api.fail_over(instance_id)
    check_success(again)
    assert api.run(again["new_instance_id"], LISTING) == before
    api.call("DELETE", f"/instances/{again['new_instance_id']}")
    eventually("nothing is left", lambda: api.at_market() == [] == api.volumes())


@pytest.mark.nightly
@pytest.mark.parametrize("which", ["old", "new"])
@pytest.mark.parametrize("phase", ["copying", "final_sync", "verifying", "switching"])
def test_preempted_while_it_migrates(api: FailoverApi, phase: str, which: str) -> None:
    """The old one is lost: its standby saves it. The new one is lost: the old one goes on."""
    instance_id = api.protected(label="mover", files=FILES)
    before = api.run(instance_id, LISTING)
    eventually("heartbeats", lambda: api.state(instance_id).get("last_heartbeat"))

    def take() -> None:
        if api.call("GET", f"/instances/{instance_id}/migrate")["phase"] == phase:
            for row in api.at_market():
                if (row["id"] == instance_id) == (which == "old"):
                    api.preempt(row["id"])

    with api.at("migration.phase", take):
        event = api.migrated(instance_id, gpu_type="RTX 4090")
    left = [row["id"] for row in api.at_market()]
    if event["success"]:  # the new machine had everything when the old one was taken
        assert (phase, which, left) == ("switching", "old", [event["new_instance_id"]])
        assert api.run(event["new_instance_id"], LISTING) == before
        return
    assert (event["failed_phase"], event["new_instance_id"] in left) == (phase, False)
    if which == "new":
        assert left == [instance_id]
        assert api.run(instance_id, LISTING) == before
    else:
        assert "goes on" not in event["error"]
        eventually("its failover", lambda: api.failovers_of(instance_id))
        check_truth(api, instance_id, before)
