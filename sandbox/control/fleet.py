"""What Dumont Cloud remembers of each machine, and the rule by which a machine is idle. No I/O but the records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sandbox.control.errors import ApiError
from sandbox.control.market_client import MarketInstance
from sandbox.records import Records

# `lost`: it is gone, and its failover has brought no new machine (yet).
Status = Literal[
    "running", "idle", "hibernating", "hibernated", "failed", "waking", "woken", "failing_over", "lost", "migrating"
]
BUSY: tuple[Status, ...] = ("hibernating", "waking", "failing_over", "migrating")
UNSEEN_AFTER = 3.0  # heartbeats that may be missing before the time between two of them counts as unseen
LONGEST_RETRY = 3600.0  # seconds after which a failed hibernation is tried again at the latest
FIRST_RETRY = 60.0


class HibernationConfig(BaseModel):
    """When a machine is hibernated by itself."""

    auto_hibernation_enabled: bool = True
    idle_timeout_seconds: float = 180
    gpu_usage_threshold: float = 5
    delete_after_minutes: int | None = None

    def public(self) -> dict[str, object]:
        return self.model_dump() | {"pause_after_minutes": self.idle_timeout_seconds / 60}


class ConfigChange(BaseModel):
    """A partial change of a HibernationConfig. `idle_timeout_seconds` is the finer form of `pause_after_minutes`."""

    model_config = ConfigDict(extra="forbid")

    auto_hibernation_enabled: bool | None = None
    pause_after_minutes: float | None = Field(default=None, ge=1)
    delete_after_minutes: int | None = Field(default=None, ge=1)
    gpu_usage_threshold: float | None = Field(default=None, ge=0, le=100)
    idle_timeout_seconds: float | None = Field(default=None, ge=1)

    def applied_to(self, config: HibernationConfig) -> HibernationConfig:
        change = self.model_dump(exclude_none=True)
        minutes = change.pop("pause_after_minutes", None)
        if minutes is not None:
            change.setdefault("idle_timeout_seconds", minutes * 60)
        return config.model_copy(update=change)


class GpuMetrics(BaseModel):
    utilization: float = Field(ge=0, le=100)
    gpu_count: int = 1
    gpu_names: list[str] = []
    gpu_utilizations: list[float] = []
    gpu_memory_used: list[float | None] = []
    gpu_memory_total: list[float | None] = []
    gpu_temperatures: list[float | None] = []

    @property
    def busiest(self) -> float:
        """One GPU that works is work, however many others rest."""
        return max([self.utilization, *self.gpu_utilizations])


class TrackedMachine(BaseModel):
    """A machine, from its rent until it is deleted; hibernated ones stay. Times are epoch seconds."""

    instance_id: int
    label: str | None = None
    image: str | None = None
    gpu_name: str | None = None
    num_gpus: int | None = None
    dph_total: float | None = None
    disk_space: float | None = None
    ssh_host: str | None = None
    ssh_port: int | None = None
    status: Status = "running"
    error: str | None = None
    config: HibernationConfig = HibernationConfig()
    gpu_utilization: float | None = None
    last_heartbeat: float | None = None
    idle_since: float | None = None
    keep_alive_until: float = 0
    failures: int = 0
    failed_at: float = 0
    snapshot_id: str | None = None
    hibernated_at: float | None = None
    new_instance_id: int | None = None

    @classmethod
    def of(cls, instance: MarketInstance) -> TrackedMachine:
        machine = cls(instance_id=instance.id)
        machine.describe(instance)
        return machine

    def describe(self, instance: MarketInstance) -> None:
        """Notes what must be known to rent a machine like this one, and to look at it without the market."""
        self.ssh_host, self.ssh_port = instance.ssh_host, instance.ssh_port
        self.label, self.image, self.disk_space = instance.label, instance.image_uuid, instance.disk_space
        self.gpu_name, self.num_gpus, self.dph_total = instance.gpu_name, instance.num_gpus, instance.dph_total

    @property
    def state(self) -> str:
        """The status as the API tells it. `deleted`: hibernated and not woken in time; it still can be."""
        limit = self.config.delete_after_minutes
        if self.status == "hibernated" and limit and time.time() > (self.hibernated_at or 0) + limit * 60:
            return "deleted"
        return self.status

    @property
    def will_hibernate_at(self) -> float | None:
        if self.idle_since is None or not self.config.auto_hibernation_enabled or self.status not in ("idle", "failed"):
            return None
        retry = (
            self.failed_at + min(FIRST_RETRY * 2 ** max(self.failures - 1, 0), LONGEST_RETRY) if self.failures else 0
        )
        return max(self.idle_since + self.config.idle_timeout_seconds, self.keep_alive_until, retry)

    def beat(self, utilization: float | None, now: float, interval: float) -> bool:
        """Takes a heartbeat in; True when the machine has been idle for so long that it shall hibernate now.

        None is not idle: a machine that cannot be seen is left alone. So does time pass without heartbeats: it counts
        for nothing. The first heartbeat is never idle.

        Args:
            utilization: of the busiest GPU, percent.
            now: epoch seconds.
            interval: seconds between two heartbeats.
        """
        first = self.last_heartbeat is None
        unseen = first or not _lately(self.last_heartbeat or 0, now, interval)
        self.last_heartbeat, self.gpu_utilization = now, utilization
        idle = not first and utilization is not None and utilization < self.config.gpu_usage_threshold
        if not idle:
            self.idle_since = None
        elif unseen or self.idle_since is None or self.idle_since > now:  # the last: our clock was put back
            self.idle_since = now
        if self.status in ("running", "idle"):
            self.status = "idle" if idle else "running"
        elif self.status == "failed" and not idle and utilization is not None:
            # It works again: what follows is a new idleness.
            self.status, self.error, self.failures, self.snapshot_id = "running", None, 0, None
        due = self.will_hibernate_at
        return due is not None and now >= due

    def fail(self, error: str, now: float) -> None:
        """A hibernation has failed: the machine stays, and is left alone for longer after each failure."""
        self.status, self.error, self.failed_at = "failed", error, now
        self.failures += 1


class Fleet:
    """All machines. Heartbeats change them in memory; what must survive is saved."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self._machines = {machine.instance_id: machine for machine in records.all(TrackedMachine)}
        for machine in self._machines.values():
            machine.last_heartbeat = machine.idle_since = None  # nobody looked while we were not running
            if machine.status == "idle":
                machine.status = "running"

    def __iter__(self) -> Iterator[TrackedMachine]:
        return iter(list(self._machines.values()))

    def get(self, instance_id: int) -> TrackedMachine | None:
        return self._machines.get(instance_id)

    def add(self, machine: TrackedMachine) -> TrackedMachine:
        self._machines[machine.instance_id] = machine
        self.save(machine)
        return machine

    def save(self, machine: TrackedMachine) -> None:
        """Nothing is written for a machine that was removed meanwhile."""
        if self._machines.get(machine.instance_id) is machine:
            self.records.put(machine.instance_id, machine)

    def remove(self, instance_id: int) -> None:
        self._machines.pop(instance_id, None)
        self.records.delete(TrackedMachine, instance_id)

    def refuse_while_busy(self, instance_id: int) -> None:
        machine = self.get(instance_id)
        if machine is not None and machine.status in BUSY:
            doing = machine.status.replace("_", " ")
            raise ApiError(409, f"Instance {instance_id} is {doing}: wait until that has ended")

    def silent(self, interval: float) -> list[TrackedMachine]:
        """Machines that should send heartbeats every `interval` seconds, and do not."""
        now = time.time()
        return [
            machine
            for machine in self
            if machine.status in ("running", "idle", "failed")
            and (machine.last_heartbeat is None or not _lately(machine.last_heartbeat, now, interval))
        ]


def _lately(heartbeat: float, now: float, interval: float) -> bool:
    """Whether a heartbeat was not long ago. One that is still to come is of a time when our clock went wrong."""
    return 0 <= now - heartbeat <= max(UNSEEN_AFTER * interval, 5)
