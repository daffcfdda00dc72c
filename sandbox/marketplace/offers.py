"""What the market has to rent out: repeatable by its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

FIRST_OFFER = 1000001
DEFAULT_DISK_GB = 5.0  # the disk that a price includes when a search does not say
HOURS_PER_MONTH = 30 * 24


@dataclass(frozen=True)
class Model:
    """A GPU model: memory in MB, price in USD an hour, flops in TFLOPS, bandwidth in GB/s, power in W."""

    name: str
    memory: int
    price: float
    flops: float
    bandwidth: float
    compute_cap: int
    power: int


MODELS = (
    Model("RTX A4000", 16 * 1024, 0.32, 19.2, 448, 860, 140),
    Model("RTX 3060", 12 * 1024, 0.28, 12.7, 360, 860, 170),
    Model("RTX 3080", 10 * 1024, 0.30, 29.8, 760, 860, 320),
    Model("RTX 3090", 24 * 1024, 0.36, 35.6, 936, 860, 350),
    Model("RTX 4070", 12 * 1024, 0.34, 29.1, 504, 890, 200),
    Model("RTX 4080", 16 * 1024, 0.42, 48.7, 717, 890, 320),
    Model("RTX 4090", 24 * 1024, 0.55, 82.6, 1008, 890, 450),
    Model("RTX 5090", 32 * 1024, 0.85, 104.8, 1792, 1200, 575),
    Model("RTX A6000", 48 * 1024, 0.62, 38.7, 768, 860, 300),
    Model("L40S", 48 * 1024, 0.95, 91.6, 864, 890, 350),
    Model("A100 PCIE", 40 * 1024, 1.05, 19.5, 1555, 800, 250),
    Model("A100 SXM4", 80 * 1024, 1.45, 19.5, 2039, 800, 400),
    Model("H100 PCIE", 80 * 1024, 2.10, 51.2, 2039, 900, 350),
    Model("H100 SXM", 80 * 1024, 2.45, 66.9, 3350, 900, 700),
)
OFFERS_OF_A_MODEL = 10
CPU_ONLY_OFFERS = 6

PLACES = (
    "California, US", "Texas, US", "Washington, US", "Quebec, CA", "Brazil, BR", "United Kingdom, GB", "Germany, DE",
    "France, FR", "Netherlands, NL", "Sweden, SE", "Norway, NO", "Poland, PL", "Spain, ES", "Japan, JP",
    "South Korea, KR", "Taiwan, TW", "Thailand, TH", "Vietnam, VN", "Australia, AU",
)  # fmt: skip
CPUS = ("AMD EPYC 7543 32-Core", "AMD EPYC 7702 64-Core", "AMD Ryzen 9 5950X", "Intel Xeon Gold 6226R")


class Offer(BaseModel):
    """One offer: GPUs of one machine, as a search shows them. MB, GB, Mbps, USD an hour (storage: a GB and month)."""

    id: int
    machine_id: int
    host_id: int
    gpu_name: str
    num_gpus: int
    gpu_ram: int
    gpu_total_ram: int
    gpu_mem_bw: float
    gpu_frac: float
    gpu_arch: str
    gpu_max_power: int
    gpu_max_temp: float
    gpu_display_active: bool
    compute_cap: int
    cpu_arch: str
    cpu_name: str
    cpu_cores: int
    cpu_cores_effective: float
    cpu_ghz: float
    cpu_ram: int
    has_avx: int
    disk_space: float
    disk_bw: float
    disk_name: str
    inet_up: float
    inet_down: float
    inet_up_cost: float
    inet_down_cost: float
    dph_base: float
    min_bid: float
    storage_cost: float
    dlperf: float
    total_flops: float
    geolocation: str
    hostname: str
    hosting_type: int
    datacenter: bool
    reliability: float
    reliability2: float
    cuda_max_good: float
    driver_version: str
    pci_gen: float
    pcie_bw: float
    bw_nvlink: float
    mobo_name: str
    ubuntu_version: str
    static_ip: bool
    direct_port_count: int
    verification: str
    verified: bool
    vms_enabled: bool
    external: bool
    cluster_id: int | None
    duration: float  # seconds that the host promises

    def storage_dph(self, disk_gb: float) -> float:
        """What a disk costs, in USD an hour."""
        return self.storage_cost * disk_gb / HOURS_PER_MONTH

    def row(self, disk_gb: float = DEFAULT_DISK_GB, *, interruptible: bool = False) -> dict[str, Any]:
        """The offer with the prices of one way to rent it, a disk included."""
        base = self.min_bid if interruptible else self.dph_base
        total = round(base + self.storage_dph(disk_gb), 6)
        return {
            **self.model_dump(),
            "driver_vers": driver_number(self.driver_version),
            "dph_base": base,
            "dph_total": total,
            "storage_total_cost": round(self.storage_dph(disk_gb), 6),
            "dlperf_per_dphtotal": round(self.dlperf / total, 2),
            "flops_per_dphtotal": round(self.total_flops / total, 2),
            "score": round(self.dlperf / total * self.reliability, 2),
            "rentable": True,
            "rented": False,
            "is_bid": interruptible,
        }


def driver_number(version: str) -> int:
    """A driver's version as the number that queries compare: 535.86.05 is 535086005."""
    major, minor, patch = (int(part) for part in version.split("."))
    return major * 1_000_000 + minor * 1000 + patch


def make_offers(seed: int) -> dict[int, Offer]:
    """All offers of a market by id. Equal seeds, equal offers, in every process and release of Python."""
    chance = random.Random(f"offers/{seed}")  # noqa: S311 - repeatable by design
    kinds: list[Model | None] = [model for model in MODELS for _ in range(OFFERS_OF_A_MODEL)]
    kinds += [None] * CPU_ONLY_OFFERS
    offers = [_make_offer(chance, number, model) for number, model in enumerate(kinds)]
    return {offer.id: offer for offer in offers}


def _make_offer(chance: random.Random, number: int, model: Model | None) -> Offer:
    # The first two offers of a model are what most people look for: one GPU, verified, reliable, a good line.
    plain = number % OFFERS_OF_A_MODEL < 2
    gpus = 0 if model is None else 1 if plain else chance.choices((1, 2, 4, 8), (14, 3, 2, 1))[0]
    verified = plain or chance.random() < 0.8
    reliability = round(chance.uniform(0.985, 0.9995) if plain else chance.uniform(0.90, 0.9995), 4)
    cores = chance.choice((8, 12, 16, 24, 32, 48, 64))
    price = round((model.price * gpus if model else 0.04 + 0.003 * cores) * chance.uniform(0.94, 1.22), 4)
    memory = model.memory if model else 0
    flops = round(model.flops * gpus, 2) if model else 0.0
    driver = chance.choice(("535.86.05", "550.54.15", "560.35.03", "570.86.10"))
    machine_id = 11000 + number * 7
    return Offer(
        id=FIRST_OFFER + number,
        machine_id=machine_id,
        host_id=52000 + number // 3,
        gpu_name=model.name if model else "",
        num_gpus=gpus,
        gpu_ram=memory,
        gpu_total_ram=memory * gpus,
        gpu_mem_bw=model.bandwidth if model else 0.0,
        gpu_frac=1.0 if gpus else 0.0,
        gpu_arch="nvidia",
        gpu_max_power=model.power if model else 0,
        gpu_max_temp=90.0,
        gpu_display_active=chance.random() < 0.1,
        compute_cap=model.compute_cap if model else 0,
        cpu_arch="amd64",
        cpu_name=chance.choice(CPUS),
        cpu_cores=cores,
        cpu_cores_effective=float(cores),
        cpu_ghz=round(chance.uniform(2.2, 4.4), 1),
        cpu_ram=chance.choice((32, 64, 128, 256)) * 1024,
        has_avx=1,
        disk_space=float(chance.randrange(150, 2000)) if plain else float(chance.randrange(40, 2000)),
        disk_bw=round(chance.uniform(500, 6000), 1),
        disk_name="nvme",
        inet_up=round(chance.uniform(500, 4000) if plain else chance.uniform(30, 4000), 1),
        inet_down=round(chance.uniform(600, 8000) if plain else chance.uniform(60, 8000), 1),
        inet_up_cost=round(chance.uniform(0, 0.02), 4),
        inet_down_cost=round(chance.uniform(0, 0.02), 4),
        dph_base=price,
        min_bid=round(price * chance.uniform(0.4, 0.65), 4),
        storage_cost=round(chance.uniform(0.08, 0.22), 3),
        dlperf=round(flops * chance.uniform(0.8, 1.1), 2),
        total_flops=flops,
        geolocation=chance.choice(PLACES),
        hostname=f"host-{machine_id}.example",
        hosting_type=int(plain),
        datacenter=plain,
        reliability=reliability,
        reliability2=reliability,
        cuda_max_good=chance.choice((12.1, 12.4, 12.6, 12.8)),
        driver_version=driver,
        pci_gen=4.0,
        pcie_bw=round(chance.uniform(6, 26), 1),
        bw_nvlink=300.0 if model and "SXM" in model.name else 0.0,
        mobo_name=chance.choice(("ROME2D32GM-2T", "X570 Taichi", "H12SSL-i")),
        ubuntu_version="22.04",
        static_ip=plain or chance.random() < 0.5,
        direct_port_count=chance.randrange(20, 250),
        verification="verified" if verified else chance.choice(("unverified", "deverified")),
        verified=verified,
        vms_enabled=False,
        external=False,
        cluster_id=None,
        duration=chance.randrange(20, 400) * 86400.0,
    )
