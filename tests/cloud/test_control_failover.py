"""Failovers of the embedded cloud, looked at from outside: another machine, the same bytes, nothing left over."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.control_api import eventually
from tests.failover_api import FILES, LISTING, OVER, PHASES, FailoverApi, check_success
from tests.nightly import nightly_but


@pytest.fixture
def api(cloud: CloudUnderTest) -> Iterator[FailoverApi]:
    """Leaves nothing rented."""
    client = FailoverApi(cloud.environment)
    yield client
    client.clear()
    client.close()


def test_failover_by_hand_brings_another_machine_with_the_same_bytes(api: FailoverApi) -> None:
    instance_id = api.protected(label="precious", files=FILES)
    api.call("PUT", f"/instances/{instance_id}/config", json={"gpu_usage_threshold": 7})
    before = api.run(instance_id, LISTING)
    old_key = api.run(instance_id, "cat /etc/ssh/*.pub /root/.ssh/host*.pub 2>/dev/null; cat /proc/sys/kernel/hostname")
    begun = time.monotonic()
    order = api.call("POST", f"/standby/failover/simulate/{instance_id}")
    assert (order["gpu_instance_id"], order["phase"], len(order["failover_id"])) == (instance_id, "detecting", 8)
    second = api.call("POST", f"/standby/{instance_id}/simulate-failover", 409)
    assert second["failover_id"] == order["failover_id"]
    assert api.call("GET", "/standby/failover/active")["failovers"][0]["failover_id"] == order["failover_id"]
    row = api.call("GET", f"/instances/{instance_id}")
    assert row["failover"]["failover_id"] == order["failover_id"]

    event = api.ended(order["failover_id"])
    wall = time.monotonic() - begun
    check_success(event)
    assert event["total_time_ms"] / 1000 <= wall
    assert (event["data_source"], event["strategy"], event["reason"]) == (
        "cpu_standby",
        "cpu_standby",
        "spot_interruption",
    )
    assert event["files_restored"] == 2
    assert 0 <= event["rpo_seconds"] < 60
    new_id = event["new_instance_id"]
    assert new_id not in (instance_id, *event["race"]["losers"])
    assert [one["id"] for one in api.at_market()] == [new_id]
    assert api.run(new_id, LISTING) == before
    assert api.run(new_id, "cat /proc/sys/kernel/hostname") not in old_key
    machine = api.call("GET", f"/instances/{new_id}")
    assert (machine["label"], machine["failover"]) == ("precious", None)
    assert machine["standby"]["state"] in ("syncing", "ready")
    assert api.call("GET", f"/instances/{new_id}/config")["gpu_usage_threshold"] == 7
    assert f"failed over to instance {new_id}" in api.error("GET", f"/instances/{instance_id}", 404)
    eventually("its agent reports", lambda: api.state(new_id).get("last_heartbeat"))
    # The standby follows the new machine.
    api.run(new_id, "echo new >/workspace/new")
    eventually(
        "the standby has the new file",
        lambda: api.call("POST", f"/standby/{new_id}/verify-sync", json={"filename": "new"})["synced"],
    )


def test_a_preempted_machine_fails_over_by_itself(api: FailoverApi) -> None:
    instance_id = api.protected(label="spot", files=FILES)
    before = api.run(instance_id, LISTING)
    eventually("heartbeats", lambda: api.state(instance_id).get("last_heartbeat"))
    killed = time.time()
    api.preempt(instance_id)
    event = api.ended(eventually("a failover", lambda: api.failovers_of(instance_id))[0]["failover_id"])
    check_success(event)
    assert (event["automatic"], event["reason"]) == (True, "spot_interruption")
    lost = next(one["entered_at"] for one in event["phases"] if one["phase"] == "gpu_lost")
    assert lost > killed  # the phase before begins with the last heartbeat
    assert "SSH refused" in event["phases"][0]["detail"]
    assert api.run(event["new_instance_id"], LISTING) == before
    assert [one["id"] for one in api.at_market()] == [event["new_instance_id"]]


def test_who_stops_or_destroys_a_machine_means_it(api: FailoverApi) -> None:
    stopped, destroyed = api.protected(files=FILES), api.protected(files=FILES)
    eventually("heartbeats", lambda: all(api.state(one).get("last_heartbeat") for one in (stopped, destroyed)))
    api.call("POST", f"/instances/{stopped}/pause")
    api.end_at_market(destroyed)
    eventually("it is stopped", lambda: api.actual_status(stopped) == "exited")
    eventually("its end was noticed", lambda: api.state(destroyed).get("status") == "lost")
    assert api.failovers_of(stopped) == api.failovers_of(destroyed) == []
    # What was destroyed has its standby still, and comes back when its user wants it.
    event = api.fail_over(destroyed)
    check_success(event)
    assert "1" in api.run(event["new_instance_id"], "cat /workspace/a/1")


def test_without_a_standby_the_newest_snapshot_comes_back(api: FailoverApi) -> None:
    instance_id = api.rent(label="bare", files=FILES)
    refused = api.error("POST", f"/standby/{instance_id}/simulate-failover", 404)
    assert "nothing to fail over to" in refused
    assert api.actual_status(instance_id) == "running"
    api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "old"})
    api.run(instance_id, "echo 2 >/workspace/a/2")
    newest = api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "newest"})["snapshot_id"]
    before = api.run(instance_id, LISTING)
    event = api.fail_over(instance_id)
    check_success(event)
    assert (event["data_source"], event["snapshot_id"]) == ("snapshot", newest)
    assert newest in next(one["detail"] for one in event["phases"] if one["phase"] == "failover_to_cpu")
    assert api.run(event["new_instance_id"], LISTING) == before


def test_what_is_disabled_stays(api: FailoverApi) -> None:
    instance_id = api.protected(files=FILES)
    settings = {"use_global_settings": False, "strategy": "disabled"}
    assert (
        api.call("PUT", f"/failover/settings/machines/{instance_id}", json=settings)["effective_strategy"] == "disabled"
    )
    assert "disabled" in api.error("POST", f"/standby/{instance_id}/simulate-failover", 409)
    assert api.actual_status(instance_id) == "running"
    api.preempt(instance_id)
    eventually("it is gone", lambda: api.actual_status(instance_id) == "exited")
    assert api.failovers_of(instance_id) == []
    assert api.error("POST", "/standby/1/simulate-failover", 404) == "Instance 1 not found"
    assert api.error("GET", "/standby/failover/status/00000000", 404) == "Failover 00000000 not found"


def test_no_offer_leaves_the_standby_serving_until_there_is_one(api: FailoverApi) -> None:
    instance_id = api.protected(label="poor", files=FILES)
    before = api.run(instance_id, LISTING)
    api.call("PUT", "/failover/settings/global", json={"max_price": 0.001})
    event = api.fail_over(instance_id)
    assert (event["success"], event["phase"], event["failed_phase"]) == (False, "failed", "searching_gpu")
    assert "up to 0.001 USD/h" in event["error"]
    assert "goes on serving" in event["error"]
    assert api.at_market() == []
    assert api.standby(instance_id)["state"] == "failover_active"
    row = api.call("GET", f"/instances/{instance_id}")
    assert (row["actual_status"], row["failover"]["phase"]) == ("offline", "failed")
    api.call("PUT", "/failover/settings/global", json={})
    again = api.fail_over(instance_id)
    check_success(again)
    assert api.run(again["new_instance_id"], LISTING) == before
    assert api.call("GET", f"/instances/{again['new_instance_id']}")["label"] == "poor"


def test_a_replacement_that_dies_is_no_success(api: FailoverApi) -> None:
    instance_id = api.protected(files=FILES)

    def kill_it() -> None:
        for row in api.at_market():
            if api.call("GET", "/standby/failover/active")["failovers"][0]["phase"] == "restoring":
                api.end_at_market(row["id"])

    with api.at("failover.phase", kill_it):
        event = api.fail_over(instance_id)
    assert (event["success"], event["failed_phase"]) == (False, "restoring")
    assert "not found" in event["error"]
    assert api.at_market() == []
    assert api.standby(instance_id)["state"] == "failover_active"


@pytest.mark.parametrize("snapshot", nightly_but(True, [False, True]))
def test_a_dead_standby(api: FailoverApi, *, snapshot: bool) -> None:
    instance_id = api.protected(files=FILES)
    before = api.run(instance_id, LISTING)
    if snapshot:
        api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "rescue"})
    api.kill_standby(instance_id)
    event = api.fail_over(instance_id)
    if snapshot:
        check_success(event)
        assert event["data_source"] == "snapshot"
        assert api.run(event["new_instance_id"], LISTING) == before
    else:
        assert (event["success"], event["failed_phase"]) == (False, "failover_to_cpu")
        assert "Nothing holds the workspace any more" in event["error"]
        assert api.at_market() == []


def test_events_tell_each_phase_as_it_begins(api: FailoverApi) -> None:
    instance_id = api.protected(files=FILES)
    seen: list[str] = []
    with api.events() as events:  # listening before anything happens
        begun = api.call("POST", f"/standby/{instance_id}/simulate-failover")
        for event in events:
            if event["failover_id"] == begun["failover_id"]:
                seen += [event["phase"]] if event["phase"] not in seen else []
                if event["phase"] in OVER:
                    break
    assert seen == PHASES
    with api.events(failover_id=begun["failover_id"]) as events:
        *_, event = events  # those of one failover end by themselves
    assert event["success"]
    report = api.call("GET", "/standby/failover/report", params={"days": 1})
    assert report["history"][0]["failover_id"] == begun["failover_id"]
    assert report["rto_ms"]["count"] == report["successful_failovers"] >= 1
    assert report["total_failovers"] == report["successful_failovers"] + report["failed_failovers"]


def test_half_of_it(api: FailoverApi) -> None:
    """Without a new GPU the standby serves; without a restore the new machine is empty, and the standby keeps all."""
    instance_id = api.protected(files=FILES)
    event = api.fail_over(instance_id, simulate_new_gpu=False)
    assert (event["success"], event["new_instance_id"], event["data_restored"]) == (True, None, False)
    assert [one["phase"] for one in event["phases"]] == [*PHASES[:3], "complete"]
    assert api.at_market() == []
    empty = api.fail_over(instance_id, simulate_restore=False)
    check_success(empty)
    assert (empty["data_restored"], api.run(empty["new_instance_id"], "ls -A /workspace")) == (False, "")
    assert api.standby(instance_id)["state"] == "failover_active"


@pytest.mark.parametrize("phase", nightly_but("provisioning", PHASES))
def test_killed_in_each_phase(own_cloud: CloudUnderTest, phase: str) -> None:
    """Whenever the control plane dies, the next one ends what was begun, and nothing is left."""
    own_cloud.up()
    api = FailoverApi(own_cloud.environment)
    instance_id = api.protected(label="survivor", files=FILES)
    before = api.run(instance_id, LISTING)

    def kill() -> None:
        events = api.call("GET", "/standby/failover/report")["history"]
        if events and events[0]["phase"] == phase:
            own_cloud.kill("control")

    with api.at("failover.phase", kill):
        failover_id = api.call("POST", f"/standby/{instance_id}/simulate-failover")["failover_id"]
        eventually("the cloud has stopped", own_cloud.has_stopped)
    api.close()
    own_cloud.up()
    api = FailoverApi(own_cloud.environment)
    event = api.ended(failover_id)
    assert event["success"], event
    assert [one["phase"] for one in event["phases"]] == PHASES
    new_id = event["new_instance_id"]
    eventually("only the new machine is at the market", lambda: [one["id"] for one in api.at_market()] == [new_id])
    eventually("it runs", lambda: api.actual_status(new_id) == "running")
    assert api.run(new_id, LISTING) == before
    assert len(api.cpu_machines()) == 1
    api.clear()
    api.close()


def test_migration_loses_nothing(api: FailoverApi) -> None:
    """Neither what a standby leaves out, nor what is written meanwhile, nor a file that looks as when it was copied."""
    instance_id = api.protected(label="mover", files=FILES)
    api.run(instance_id, "mkdir /workspace/.git; echo ref >/workspace/.git/HEAD; echo x >/workspace/x.log")
    api.run(
        instance_id,
        "setsid bash -c 'while sleep 0.05; do echo $((++n)) >>/workspace/count; done' </dev/null >/dev/null 2>&1 &",
    )

    def rewrite() -> None:
        if api.call("GET", f"/instances/{instance_id}/migrate")["phase"] == "final_sync":
            api.run(instance_id, "cd /workspace/a; touch -r 1 /tmp/as; echo 2 >1; touch -r /tmp/as 1")

    with api.at("migration.phase", rewrite):
        event = api.migrated(instance_id, gpu_type="RTX 4090", max_price=2)
    assert event["success"], event
    assert [one["phase"] for one in event["phases"]] == [
        "searching_gpu",
        "provisioning",
        "copying",
        "final_sync",
        "verifying",
        "switching",
        "complete",
    ]
    assert sum(event["phase_timings_ms"].values()) == pytest.approx(event["total_time_ms"], abs=0.01)
    new_id = event["new_instance_id"]
    assert [(one["id"], one["gpu_name"], one["label"]) for one in api.at_market()] == [(new_id, "RTX 4090", "mover")]
    assert api.run(new_id, "cd /workspace; cat .git/HEAD x.log a/1; readlink link") == "ref\nx\n2\na/1\n"
    counted = api.run(new_id, "cat /workspace/count").split()
    assert counted == [str(number + 1) for number in range(len(counted))] != []
    assert f"migrated to instance {new_id}" in api.error("GET", f"/instances/{instance_id}", 404)
    assert api.standby(new_id)["gpu_failed"] is False


def test_migration_that_cannot_be_leaves_the_machine_at_work(api: FailoverApi) -> None:
    instance_id = api.rent(files=FILES)
    none = api.migrated(instance_id, gpu_type="RTX 4090", max_price=0.01)
    assert (none["success"], none["failed_phase"]) == (False, "searching_gpu")
    assert "the cheapest costs" in none["error"]
    api.run(
        instance_id, "setsid bash -c 'while sleep 0.05; do date +%N >/tmp/alive; done' </dev/null >/dev/null 2>&1 &"
    )

    def kill_the_new_one() -> None:
        if api.call("GET", f"/instances/{instance_id}/migrate")["phase"] == "verifying":
            for row in api.at_market():
                if row["id"] != instance_id:
                    api.end_at_market(row["id"])

    with api.at("migration.phase", kill_the_new_one):
        failed = api.migrated(instance_id, gpu_type="RTX 4090", max_price=2)
    assert (failed["success"], failed["failed_phase"]) == (False, "verifying")
    assert f"Instance {instance_id} goes on" in failed["error"]
    assert [one["id"] for one in api.at_market()] == [instance_id]
    seen = api.run(instance_id, "cat /tmp/alive")
    eventually("its processes go on", lambda: api.run(instance_id, "cat /tmp/alive") != seen)
    assert api.state(instance_id)["status"] in ("running", "idle")
    assert "gpu_type is missing" in str(api.call("POST", f"/instances/{instance_id}/migrate", 422, json={}))


@pytest.mark.nightly
@pytest.mark.parametrize("phase", nightly_but("copying", ["provisioning", "copying", "verifying", "switching"]))
def test_killed_in_mid_migration(own_cloud: CloudUnderTest, phase: str) -> None:
    own_cloud.up()
    api = FailoverApi(own_cloud.environment)
    instance_id = api.rent(label="mover", files=FILES)
    before = api.run(instance_id, LISTING)

    def kill() -> None:
        if api.call("GET", f"/instances/{instance_id}/migrate")["phase"] == phase:
            own_cloud.kill("control")

    with api.at("migration.phase", kill):
        api.call("POST", f"/instances/{instance_id}/migrate", 202, json={"gpu_type": "RTX 4090"})
        eventually("the cloud has stopped", own_cloud.has_stopped)
    api.close()
    own_cloud.up()
    api = FailoverApi(own_cloud.environment)
    event = eventually(
        "the migration is over",
        lambda: event if (event := api.call("GET", f"/instances/{instance_id}/migrate"))["phase"] in OVER else None,
    )
    assert (event["success"], event["failed_phase"]) == (False, phase)
    eventually("only the old one is at the market", lambda: [one["id"] for one in api.at_market()] == [instance_id])
    eventually("it runs", lambda: api.actual_status(instance_id) == "running")
    assert api.run(instance_id, LISTING) == before
    api.clear()
    api.close()


def test_machines_that_compete_are_nobody_s(api: FailoverApi) -> None:
    """Each row of a machine that only competes says so, and the one that won says whose place it takes."""
    instance_id = api.protected(files=FILES)
    roles: dict[int, list[tuple[bool, int | None]]] = {}

    def look() -> None:
        for row in api.call("GET", "/instances")["instances"]:
            if row["id"] != instance_id:
                roles.setdefault(row["id"], []).append((row["race"] is not None, row["replaces"]))

    with api.at("machine.running", look, part=api.market_url), api.at("failover.phase", look):
        new_id = api.fail_over(instance_id)["new_instance_id"]
    assert {role for one, seen in roles.items() if one != new_id for role in seen} <= {(True, None)}
    assert (True, None) in roles[new_id]
    assert (False, instance_id) in roles[new_id]
    row = api.call("GET", f"/instances/{new_id}")
    assert (row["race"], row["replaces"]) == (None, None)


def test_a_race_for_a_user(api: FailoverApi) -> None:
    body = {"max_price": 1, "disk_size": 10, "label": "raced"}
    race_id = api.call("POST", "/instances/race", 202, json=body)["race_id"]
    race = eventually(
        "the race is over",
        lambda: (
            race if (race := api.call("GET", f"/instances/race/{race_id}"))["status"] in ("won", "failed") else None
        ),
    )
    assert race["status"] == "won", race
    assert race["losers_gone"]
    assert [one["id"] for one in api.at_market()] == [race["winner_id"]]
    states = [one["state"] for one in race["candidates"]]
    assert (states.count("won"), set(states)) == (1, {"won", "lost"})
    assert all(one["gone"] for one in race["candidates"] if one["state"] == "lost")
    race_id = api.call("POST", "/instances/race", 202, json={"max_price": 0.0001})["race_id"]
    eventually("it is over", lambda: api.call("GET", f"/instances/race/{race_id}")["status"] == "failed")
    assert "the cheapest costs" in api.call("GET", f"/instances/race/{race_id}")["error"]


def test_a_warm_machine_takes_over(api: FailoverApi) -> None:
    instance_id = api.rent(label="warm", files=f"{FILES}; mkdir .git; echo ref >.git/HEAD")
    settings = {"use_global_settings": False, "strategy": "warm_pool"}
    api.call("PUT", f"/failover/settings/machines/{instance_id}", json=settings)
    warm_id = api.with_warm_machine(instance_id)
    before = api.run(instance_id, LISTING)
    assert api.call("GET", f"/failover/readiness/{instance_id}")["data_source"] == "warm_pool"
    api.preempt(instance_id)
    event = api.ended(eventually("a failover", lambda: api.failovers_of(instance_id))[0]["failover_id"])
    check_success(event)
    assert (event["data_source"], event["new_instance_id"]) == ("warm_pool", warm_id)
    assert event["race"]["offers_tried"] == 0
    assert api.run(warm_id, LISTING) == before
    # It is its user's machine now, and gets a warm machine of its own.
    assert api.call("GET", f"/instances/{warm_id}")["label"] == "warm"
    next_id = api.with_warm_machine(warm_id)
    assert sorted(one["id"] for one in api.at_market()) == sorted([warm_id, next_id])
    api.call("POST", f"/warmpool/disable/{warm_id}")
    assert [one["id"] for one in api.at_market()] == [warm_id]


def test_a_warm_machine_that_is_lost_too(api: FailoverApi) -> None:
    """Then the snapshot serves; and nothing of the pool is left."""
    instance_id = api.rent(files=FILES)
    api.call("POST", f"/warmpool/enable/{instance_id}", 202)
    api.with_warm_machine(instance_id)
    before = api.run(instance_id, LISTING)
    api.call("POST", f"/instances/{instance_id}/snapshots", 201, json={"name": "rescue"})

    def lose_it_too() -> None:
        warm = api.call("GET", f"/warmpool/status/{instance_id}").get("warm_instance_id")
        if warm is not None and warm in [one["id"] for one in api.at_market()]:
            api.end_at_market(warm)

    with api.at("failover.phase", lose_it_too):
        event = api.fail_over(instance_id)
    check_success(event)
    assert event["data_source"] == "snapshot"
    new_id = event["new_instance_id"]
    assert api.run(new_id, LISTING) == before
    next_id = api.with_warm_machine(new_id)
    assert sorted(one["id"] for one in api.at_market()) == sorted([new_id, next_id])


@pytest.mark.parametrize("phase", nightly_but("provisioning", ["failover_to_cpu", "provisioning", "restoring"]))
def test_whoever_destroys_a_machine_in_mid_failover_gets_that(api: FailoverApi, phase: str) -> None:
    """Nothing is left: not the new machine, no loser of the race, no standby."""
    instance_id = api.protected(files=FILES)

    def destroy() -> None:
        running = api.call("GET", "/standby/failover/active")["failovers"]
        if running and running[0]["phase"] == phase:
            api.call("DELETE", f"/instances/{instance_id}")

    with api.at("failover.phase", destroy):
        event = api.fail_over(instance_id)
    assert (event["phase"], event["failed_phase"]) == ("failed", phase)
    assert "destroyed by its user" in event["error"]
    eventually("its standby is gone", lambda: api.cpu_machines() == [])
    assert api.at_market() == []
    assert api.error("GET", f"/instances/{instance_id}", 404)


def test_several_at_once(api: FailoverApi) -> None:
    machines = {
        instance_id: api.run(instance_id, LISTING) for instance_id in [api.protected(files=FILES) for _ in "123"]
    }
    begun = [api.call("POST", f"/standby/{one}/simulate-failover")["failover_id"] for one in machines]
    events = [api.ended(failover_id) for failover_id in begun]
    for event in events:
        check_success(event)
        assert api.run(event["new_instance_id"], LISTING) == machines[event["gpu_instance_id"]]
    assert sorted(one["id"] for one in api.at_market()) == sorted(one["new_instance_id"] for one in events)


def test_a_regional_volume_survives_its_machine(api: FailoverApi) -> None:
    own_disk = api.rent()
    settings = {"use_global_settings": False, "strategy": "regional_volume"}
    assert "own disk" in api.error("PUT", f"/failover/settings/machines/{own_disk}", 409, json=settings)
    instance_id = api.rent("anchored", f"{FILES}; echo last >last", failover_strategy="regional_volume")
    before = api.run(instance_id, LISTING)
    (volume,) = api.volumes()
    assert volume["instance_id"] == instance_id
    eventually("heartbeats", lambda: api.state(instance_id).get("last_heartbeat"))
    api.preempt(instance_id)
    event = api.ended(eventually("a failover", lambda: api.failovers_of(instance_id))[0]["failover_id"])
    check_success(event)
    assert (event["data_source"], event["rpo_seconds"]) == ("regional_volume", 0)
    new_id = event["new_instance_id"]
    assert api.run(new_id, LISTING) == before
    (attached,) = api.volumes()
    assert (attached["id"], attached["instance_id"]) == (volume["id"], new_id)
    market = {one["id"]: one for one in api.at_market()}
    assert market[new_id]["geolocation"].endswith(volume["region"])
    assert market[new_id]["label"] == "anchored"
    api.call("DELETE", f"/instances/{new_id}")
    assert api.volumes() == []
