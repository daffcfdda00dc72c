"""A CPU machine as this cloud knows it, and as it shows it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from sandbox.hosts import MachineSpec

# USD an hour: (spot, on demand)
MACHINE_TYPES: dict[str, tuple[float, float]] = {
    "e2-micro": (0.002, 0.008),
    "e2-small": (0.005, 0.017),
    "e2-medium": (0.010, 0.034),
    "e2-standard-2": (0.020, 0.067),
    "e2-standard-4": (0.040, 0.134),
}
DISK_GB_MONTH = 0.04  # USD
HOURS_A_MONTH = 720
FIRST_ID = 4611686018400000001
NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
ZONE = re.compile(r"[a-z]+-[a-z]+\d+-[a-z]")

Status = Literal["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED"]


class Vm(BaseModel):
    """One machine: kept on disk from its order until it is deleted and wiped."""

    id: int
    name: str
    zone: str
    machine_type: str
    spot: bool
    disk_gb: int
    labels: dict[str, str] = {}
    metadata: list[dict[str, str]] = []
    ssh_port: int
    created_at: float
    intended: Literal["running", "stopped", "deleted"] = "running"
    status: Status = "PROVISIONING"
    status_message: str = ""

    @property
    def hourly_usd(self) -> float:
        """Of the machine, without its disk."""
        return MACHINE_TYPES[self.machine_type][0 if self.spot else 1]

    @property
    def disk_hourly_usd(self) -> float:
        return self.disk_gb * DISK_GB_MONTH / HOURS_A_MONTH

    @property
    def ssh_keys(self) -> tuple[str, ...]:
        """Those who may enter as root: lines `root:<public key>` of the metadata."""
        text = next((item["value"] for item in self.metadata if item["key"] == "ssh-keys"), "")
        lines = (line.partition(":") for line in text.splitlines())
        return tuple(key.strip() for user, _, key in lines if user.strip() == "root" and key.strip())

    def spec(self) -> MachineSpec:
        return MachineSpec(
            id=self.id, port=self.ssh_port, authorized_keys=self.ssh_keys, name=self.name, gpu_tools=False
        )

    def row(self, base: str, project: str) -> dict[str, Any]:
        """What the cloud's clients read. `sshPort` is this cloud's own: all its machines share one address."""
        zone = f"{base}/projects/{project}/zones/{self.zone}"
        running = self.status == "RUNNING"
        access = {"type": "ONE_TO_ONE_NAT", "name": "External NAT"} | ({"natIP": "127.0.0.1"} if running else {})
        return {
            "kind": "compute#instance",
            "id": str(self.id),
            "name": self.name,
            "zone": zone,
            "machineType": f"{zone}/machineTypes/{self.machine_type}",
            "status": self.status,
            "statusMessage": self.status_message,
            "creationTimestamp": datetime.fromtimestamp(self.created_at, UTC).isoformat(),
            "networkInterfaces": [{"name": "nic0", "networkIP": "127.0.0.1", "accessConfigs": [access]}],
            "scheduling": {
                "provisioningModel": "SPOT" if self.spot else "STANDARD",
                "preemptible": self.spot,
                "automaticRestart": not self.spot,
            },
            "disks": [{"boot": True, "autoDelete": True, "diskSizeGb": str(self.disk_gb)}],
            "metadata": {"items": self.metadata},
            "labels": self.labels,
            "selfLink": f"{zone}/instances/{self.name}",
            "sshPort": self.ssh_port if running else None,
            "hourlyUsd": self.hourly_usd,
        }


class Named(BaseModel):
    key: str
    value: str


class Metadata(BaseModel):
    items: list[Named] = []


class DiskParams(BaseModel):
    disk_size_gb: int = Field(default=10, alias="diskSizeGb", ge=10, le=65536)


class DiskOrder(BaseModel):
    initialize_params: DiskParams = Field(default_factory=DiskParams, alias="initializeParams")


class Scheduling(BaseModel):
    provisioning_model: Literal["SPOT", "STANDARD"] = Field(default="STANDARD", alias="provisioningModel")


class VmOrder(BaseModel):
    """The order for a machine; what clients send besides is accepted and has no meaning here."""

    name: str = Field(pattern=f"^{NAME.pattern}$")
    machine_type: str = Field(alias="machineType")
    metadata: Metadata = Field(default_factory=Metadata)
    scheduling: Scheduling = Field(default_factory=Scheduling)
    disks: list[DiskOrder] = [DiskOrder()]
    labels: dict[str, str] = {}
