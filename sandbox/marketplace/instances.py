"""A rented machine as the market knows it, and as it shows it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from sandbox.hosts import MachineSpec, Troubles
from sandbox.hosts.spec import ENVIRONMENT_NAME
from sandbox.marketplace.offers import Offer
from sandbox.marketplace.volumes import MOUNT_PATH

FIRST_INSTANCE = 29070001
DEFAULT_IMAGE = "pytorch/pytorch:2.1.0-cuda12.1-cudnn8-runtime"

Status = Literal["created", "loading", "running", "exited"]


class Instance(BaseModel):
    """One contract: kept on disk from the rent until the machine is destroyed and wiped."""

    id: int
    offer: Offer
    dph_base: float  # USD an hour for the machine without its disk
    is_bid: bool = False
    label: str | None = None
    image: str = DEFAULT_IMAGE
    runtype: str = "ssh"
    disk: float = 10.0  # GB
    onstart: str = ""
    extra_env: list[tuple[str, str]] = []
    ssh_keys: list[str] = []
    volume_id: int | None = None
    ssh_port: int
    start_date: float
    intended_status: Literal["running", "stopped", "destroyed"] = "running"
    preempted: bool = False  # stopped by the market, which has wiped its disk
    actual_status: Status = "created"
    status_msg: str = ""

    @property
    def description(self) -> str:
        gpus = f"{self.offer.num_gpus}x {self.offer.gpu_name}" if self.offer.num_gpus else "CPU only"
        return f"{gpus}, {self.disk:g} GB" + (f", {self.label}" if self.label else "")

    @property
    def storage_dph(self) -> float:
        return self.offer.storage_dph(self.disk)

    def spec(self, troubles: Troubles, volume: Path | None = None) -> MachineSpec:
        """`volume`: the folder of the volume that the machine uses."""
        return MachineSpec(
            id=self.id,
            port=self.ssh_port,
            gpu_name=self.offer.gpu_name,
            num_gpus=self.offer.num_gpus,
            gpu_memory_mb=self.offer.gpu_ram,
            authorized_keys=tuple(self.ssh_keys),
            # "-p 8080:8080" and the like are options of the container: they mean nothing to a machine on loopback
            environment={name: value for name, value in self.extra_env if ENVIRONMENT_NAME.fullmatch(name)},
            onstart=self.onstart,
            troubles=troubles,
            volume=volume,
        )

    def row(self, gpu_utilisation: float | None) -> dict[str, Any]:
        """The columns that clients of the market read."""
        offer = self.offer
        running = self.actual_status == "running"
        return {
            "id": self.id,
            "machine_id": offer.machine_id,
            "host_id": offer.host_id,
            "ask_contract_id": offer.id,
            "label": self.label,
            "intended_status": self.intended_status,
            "cur_state": "running" if self.intended_status == "running" else "stopped",
            "next_state": "running" if self.intended_status == "running" else "stopped",
            "actual_status": self.actual_status,
            "status_msg": self.status_msg,
            "gpu_name": offer.gpu_name,
            "num_gpus": offer.num_gpus,
            "gpu_ram": offer.gpu_ram,
            "gpu_total_ram": offer.gpu_total_ram,
            "gpu_frac": offer.gpu_frac,
            "gpu_arch": offer.gpu_arch,
            "gpu_util": gpu_utilisation if running else None,
            "cpu_name": offer.cpu_name,
            "cpu_arch": offer.cpu_arch,
            "cpu_cores": offer.cpu_cores,
            "cpu_cores_effective": offer.cpu_cores_effective,
            "cpu_ram": offer.cpu_ram,
            "disk_space": self.disk,
            "disk_usage": None,
            "disk_util": None,
            "disk_bw": offer.disk_bw,
            "disk_name": offer.disk_name,
            "volume_info": [{"id": self.volume_id, "mount_path": MOUNT_PATH}] if self.volume_id else [],
            "dph_base": self.dph_base,
            "dph_total": round(self.dph_base + self.storage_dph, 6),
            "storage_cost": offer.storage_cost,
            "storage_total_cost": round(self.storage_dph, 6),
            "inet_up": offer.inet_up,
            "inet_down": offer.inet_down,
            "inet_up_cost": offer.inet_up_cost,
            "inet_down_cost": offer.inet_down_cost,
            "is_bid": self.is_bid,
            "min_bid": offer.min_bid,
            "public_ipaddr": "127.0.0.1",
            "ssh_host": "127.0.0.1",
            "ssh_port": self.ssh_port,
            "ssh_idx": "0",
            "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(self.ssh_port)}]} if running else {},  # noqa: S104 - as the market words it
            "direct_port_count": offer.direct_port_count,
            "image_uuid": self.image,
            "image_args": [],
            "image_runtype": self.runtype,
            "extra_env": [list(pair) for pair in self.extra_env],
            "onstart": self.onstart,
            "start_date": self.start_date,
            "end_date": None,
            "duration": time.time() - self.start_date,
            "geolocation": offer.geolocation,
            "hostname": offer.hostname,
            "reliability2": offer.reliability2,
            "verification": offer.verification,
            "static_ip": offer.static_ip,
            "cuda_max_good": offer.cuda_max_good,
            "driver_version": offer.driver_version,
            "dlperf": offer.dlperf,
            "total_flops": offer.total_flops,
            "template_id": None,
            "template_name": None,
        }
