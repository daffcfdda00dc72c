"""The failover part of Dumont Cloud's API for tests, and the witnesses of what it says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from tests.control_api import ControlApi, eventually

FILES = "mkdir -p a/empty; echo 1 >a/1; ln -s a/1 link; head -c 300000 /dev/urandom >random; chmod 640 random"
LISTING = 'cd /workspace; find . -printf "%p %y %m %T@ %l\\n" | sort; find . -type f -exec md5sum {} + | sort'
PHASES = ["detecting", "gpu_lost", "failover_to_cpu", "searching_gpu", "provisioning", "restoring", "complete"]
OVER = ("complete", "failed")


class FailoverApi(ControlApi):
    """The failover part of the API, and the witnesses of what it says."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__(environment)
        self.environment = environment

    @contextmanager
    def events(self, **options: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The server-sent events, as they come."""
        url = f"{self.root}/api/v1/standby/failover/events"
        with httpx2.stream(
            "GET", url, params=options, headers=self.http.headers, timeout=60, trust_env=False
        ) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            yield (json.loads(line.removeprefix("data: ")) for line in stream.iter_lines() if line.startswith("data: "))

    def protected(self, **rent: str) -> int:
        """A machine whose standby is in step."""
        instance_id = self.rent(**rent)
        assert self.call("POST", f"/standby/provision/{instance_id}")["association"]["state"] in ("ready", "syncing")
        self.in_step(instance_id)
        return instance_id

    def in_step(self, instance_id: int) -> None:
        """Waits until the standby has what the machine has now."""
        now = time.time()
        eventually("a sync that began later", lambda: self.standby(instance_id)["lag_seconds"] < time.time() - now)

    def standby(self, instance_id: int) -> dict[str, Any]:
        return dict(self.call("GET", f"/standby/associations/{instance_id}"))

    def fail_over(self, instance_id: int, **order: Any) -> dict[str, Any]:
        begun = self.call("POST", f"/standby/{instance_id}/simulate-failover", json=order)
        return self.ended(begun["failover_id"])

    def migrated(self, instance_id: int, **wish: Any) -> dict[str, Any]:
        """A migration that is over."""
        begun = self.call("POST", f"/instances/{instance_id}/migrate", 202, json=wish)

        def over() -> dict[str, Any] | None:
            event = dict(self.call("GET", f"/instances/migrate/{begun['migration_id']}"))
            return event if event["phase"] in OVER else None

        return dict(eventually("the migration is over", over))

    def ended(self, failover_id: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            event = dict(self.call("GET", f"/standby/failover/status/{failover_id}"))
            return event if event["phase"] in OVER else None

        return dict(eventually(f"failover {failover_id} is over", over))

    def preempt(self, instance_id: int) -> None:
        self.admin.post(f"{self.market_url}/_sandbox/instances/{instance_id}/preempt").raise_for_status()

    def failovers_of(self, instance_id: int) -> list[dict[str, Any]]:
        history = self.call("GET", "/standby/failover/report")["history"]
        return [one for one in history if one["gpu_instance_id"] == instance_id]

    def at_market(self) -> list[dict[str, Any]]:
        return list(self._market("GET", "v1/instances/")["instances"])

    def volumes(self) -> list[dict[str, Any]]:
        return list(self._market("GET", "v0/volumes/")["volumes"])

    def end_at_market(self, instance_id: int) -> None:
        """Destroys a machine behind the product's back."""
        self._market("DELETE", f"v0/instances/{instance_id}/")

    def _market(self, method: str, path: str) -> Any:
        key = {"Authorization": f"Bearer {self.environment['VAST_API_KEY']}"}
        return httpx2.request(method, f"{self.market_url}/api/{path}", headers=key).raise_for_status().json()

    def cpu_machines(self) -> list[str]:
        url = (
            f"{self.environment['GCP_URL']}/compute/v1/projects/{self.environment['GCP_PROJECT']}/aggregated/instances"
        )
        headers = {"Authorization": f"Bearer {self.environment['GCP_ACCESS_TOKEN']}"}
        zones = httpx2.get(url, headers=headers).raise_for_status().json()["items"].values()
        return [machine["name"] for zone in zones for machine in zone.get("instances", [])]

    def with_warm_machine(self, instance_id: int) -> int:
        """Waits until its second machine is in step with a machine; returns the id of the second."""
        now = time.time()

        def in_step() -> int | None:
            warm = self.call("GET", f"/warmpool/status/{instance_id}")
            ready = warm["state"] == "ready" and warm["lag_seconds"] < time.time() - now
            return int(warm["warm_instance_id"]) if ready else None

        return int(eventually("a warm machine in step", in_step))

    def preempt_standby(self, instance_id: int) -> None:
        name = self.standby(instance_id)["cpu_standby"]["name"]
        self.admin.post(f"{self.market_url}/_sandbox/cpu-instances/{name}/preempt").raise_for_status()

    def kill_standby(self, instance_id: int) -> None:
        """Deletes its CPU machine behind the product's back."""
        known = self.standby(instance_id)["cpu_standby"]
        project = f"{self.environment['GCP_URL']}/compute/v1/projects/{self.environment['GCP_PROJECT']}"
        headers = {"Authorization": f"Bearer {self.environment['GCP_ACCESS_TOKEN']}"}
        httpx2.delete(f"{project}/zones/{known['zone']}/instances/{known['name']}", headers=headers).raise_for_status()
        eventually("the CPU machine is gone", lambda: known["name"] not in self.cpu_machines())

    def clear(self) -> None:
        """Leaves nothing rented, nothing wrong, and every machine protected as before."""
        self.call("PUT", "/failover/settings/global", json={})
        super().clear()
        assert self.at_market() == []
        for instance_id in self.call("GET", "/standby/associations")["associations"]:
            self.call("POST", f"/standby/{instance_id}/disable", json={"force": True})
        assert self.cpu_machines() == []


def check_success(event: dict[str, Any]) -> None:
    """What must be true of every failover that says it succeeded."""
    assert event["success"], event
    assert [one["phase"] for one in event["phases"]] == PHASES
    assert sum(event["phase_timings_ms"].values()) == pytest.approx(event["total_time_ms"], abs=0.01)
    assert sum(one["seconds"] for one in event["phases"]) * 1000 == pytest.approx(event["total_time_ms"], abs=0.01)
    assert event["race"]["losers_gone"]
