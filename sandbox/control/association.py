"""What is remembered of CPU standbys: which machine mirrors which, and how far it is behind. No I/O."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, Field

State = Literal["provisioning", "syncing", "ready", "failover_active", "recovering", "error", "disabled"]

HOURS_A_MONTH = 720
DISK_GB_MONTH = 0.04  # USD
# USD an hour: (spot, on demand)
MACHINE_TYPES: dict[str, tuple[float, float]] = {
    "e2-micro": (0.002, 0.008),
    "e2-small": (0.005, 0.017),
    "e2-medium": (0.010, 0.034),
    "e2-standard-2": (0.020, 0.067),
    "e2-standard-4": (0.040, 0.134),
}
LONGEST_NAME = 63  # characters, as the CPU cloud allows


class StandbyConfig(BaseModel):
    """How standbys are made. Intervals in seconds; None is what the profile of the cloud sets."""

    enabled: bool = Field(default=False, description="every new GPU machine gets a standby by itself")
    gcp_zone: str = Field(default="europe-west1-b", pattern=r"^[a-z]+-[a-z]+\d+-[a-z]$")
    gcp_machine_type: Literal["e2-micro", "e2-small", "e2-medium", "e2-standard-2", "e2-standard-4"] = "e2-medium"
    gcp_disk_size: int = Field(default=100, ge=10, le=65536, description="GB")
    gcp_spot: bool = True
    sync_interval: float | None = Field(default=None, ge=0.1, le=3600)
    auto_failover: bool = True
    auto_recovery: bool = True

    @property
    def hourly_usd(self) -> float:
        """Of the machine, without its disk."""
        spot, on_demand = MACHINE_TYPES[self.gcp_machine_type]
        return spot if self.gcp_spot else on_demand


class Association(BaseModel):
    """A GPU machine and the CPU machine that mirrors its workspace. Times are epoch seconds, durations seconds."""

    token: str = Field(default_factory=lambda: uuid.uuid4().hex)
    gpu_instance_id: int
    state: State = "provisioning"
    begun_at: float = Field(default_factory=time.time)
    removing: bool = False  # it was disabled: its machine must go, whatever happens

    ending: bool = False  # its GPU machine is being destroyed on purpose: the standby goes with it

    machine_name: str
    zone: str
    machine_type: str
    disk_gb: int
    spot: bool
    hourly_usd: float | None = None  # these four as the CPU cloud tells them
    ip: str | None = None
    ssh_port: int | None = None
    machine_id: int | None = None

    sync_enabled: bool = True
    sync_count: int = 0
    copied_from: float | None = None  # begin of the last pull that was whole; the server's copy is of that moment
    copy_is_whole: bool = False
    synced_from: float | None = None  # the standby is of that moment: begin of the last finished sync
    last_sync_at: float | None = None
    last_sync_seconds: float | None = None
    sync_error: str | None = None

    gpu_failed: bool = False
    failure_reason: str | None = None
    failed_at: float | None = None
    lag_at_failure: float | None = None
    brought_to: int | None = None  # the machine that its workspace was brought back to, and of which moment it is
    brought_from: float | None = None

    @property
    def lag(self) -> float | None:
        """By how many seconds the standby is behind the GPU machine at most; None before the first sync.

        Once the GPU machine has failed: by how many it was then.
        """
        if self.gpu_failed:
            return self.lag_at_failure
        return None if self.synced_from is None else max(0.0, time.time() - self.synced_from)

    @property
    def can_serve(self) -> bool:
        """Whether the standby holds a whole copy of the workspace, as far as is known."""
        return self.synced_from is not None and self.machine_id is not None and not self.removing

    def public(self) -> dict[str, Any]:
        """As the API tells it."""
        lag = self.lag
        return {
            "gpu_instance_id": self.gpu_instance_id,
            "cpu_standby": {
                "name": self.machine_name,
                "zone": self.zone,
                "ip": self.ip,
                "ssh_port": self.ssh_port,
                "machine_type": self.machine_type,
                "disk_gb": self.disk_gb,
                "spot": self.spot,
                "hourly_usd": self.hourly_usd,
                "ordered_at": self.begun_at,
            },
            "state": self.state,
            "health_status": "unhealthy" if self.state == "error" else "healthy" if self.can_serve else "unknown",
            "sync_enabled": self.sync_enabled,
            "sync_count": self.sync_count,
            "last_sync_at": self.last_sync_at,
            "last_sync_seconds": self.last_sync_seconds,
            "lag_seconds": None if lag is None else round(lag, 3),
            "sync_error": self.sync_error,
            "gpu_failed": self.gpu_failed,
            "failure_reason": self.failure_reason,
            "failed_at": self.failed_at,
            "lag_at_failure": self.lag_at_failure,
        }

    def listed(self) -> dict[str, Any]:
        """As the product's listing of instances shows it."""
        return {
            "enabled": True,
            "provider": "gcp",
            "name": self.machine_name,
            "zone": self.zone,
            "ip": self.ip,
            "machine_type": self.machine_type,
            "status": "running" if self.machine_id is not None and self.state != "error" else self.state,
            "dph_total": self.hourly_usd,
            "sync_enabled": self.sync_enabled,
            "sync_count": self.sync_count,
            "state": self.state,
        }

    def brief(self) -> dict[str, Any]:
        """As a row of the instances tells it."""
        lag = self.lag
        return {"state": self.state, "lag_seconds": None if lag is None else round(lag, 3)}


@dataclass(frozen=True)
class Brought:
    """What came back from a standby onto a GPU machine."""

    files: int
    bytes: int
    seconds: float


def machine_name(label: str | None, gpu_instance_id: int, now: float) -> str:
    """`dumont-<label or id>-<epoch>`, in the letters that the CPU cloud takes."""
    end = f"-{int(now)}"
    wish = re.sub(r"[^a-z0-9]+", "-", (label or "").lower()).strip("-") or str(gpu_instance_id)
    return f"dumont-{wish}"[: LONGEST_NAME - len(end)].rstrip("-") + end


def pricing(machine_type: str, disk_gb: int, *, spot: bool) -> dict[str, Any]:
    """USD; a month has 720 hours."""
    hourly = MACHINE_TYPES[machine_type][0 if spot else 1]
    vm, disk = hourly * HOURS_A_MONTH, disk_gb * DISK_GB_MONTH
    return {
        "estimated_hourly_usd": round(hourly, 4),
        "estimated_monthly_usd": round(vm + disk, 2),
        "breakdown": {"vm_monthly": round(vm, 2), "disk_monthly": round(disk, 2)},
        "note": f"{machine_type}, {'spot' if spot else 'on demand'}, {disk_gb} GB of disk; a month is 720 hours.",
    }
