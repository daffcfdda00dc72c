"""A cloud in memory with a clock of its own, seen through the methods of the clients. It lies where it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

from rekindle.clocks import ServiceClock
from rekindle.dumont_views import InstanceView, Offer
from rekindle.http import Refused
from rekindle.market import Charge, MarketInstance, Volume
from rekindle.ssh import Completed, Machine, SshRefused
from rekindle.waiting import Clock

FIRST_ID = 29070001
PRICE = 0.36  # a hundredth of a cent a second


def offer(number: int, price: float = PRICE, **fields: Any) -> Offer:
    """An offer as the product shows it."""
    values: dict[str, Any] = {
        "id": number,
        "gpu_name": "RTX A4000",
        "num_gpus": 1,
        "dph_total": price,
        "geolocation": "Sweden, SE",
        "reliability": 0.99,
        "disk_space": 500.0,
        "machine_id": f"m{number}",
    }
    return Offer(**(values | fields))


@dataclass
class Contract:
    """One machine: when it was rented and destroyed, on the cloud's clock."""

    id: int
    label: str | None
    price: float
    begun: float
    ended: float | None = None
    status: str | None = "running"
    answers: bool = True


@dataclass
class FakeCloud:
    """The one truth that both clients show."""

    offers: list[Offer] = field(default_factory=lambda: [offer(1000012)])
    contracts: dict[int, Contract] = field(default_factory=dict)
    volumes: list[Volume] = field(default_factory=list)
    billed_volumes: list[Volume] = field(default_factory=list)
    now: float = 1000.0
    boots_into: str | None = "running"
    status_message: str | None = None
    answers: bool = True
    gpu: str = "NVIDIA RTX A4000\n"  # as each machine tells it
    calls: list[str] = field(default_factory=list)
    # Called with the time at each pause: what happens meanwhile.
    meanwhile: Callable[[float], None] = lambda _: None

    def __post_init__(self) -> None:
        self.dumont = FakeDumont(self)
        self.market = FakeMarket(self)
        self.clock = Clock(now=lambda: self.now, pause=self.pause)

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.meanwhile(self.now)

    def rent(self, label: str | None, price: float = PRICE) -> int:
        number = FIRST_ID + len(self.contracts)
        self.contracts[number] = Contract(number, label, price, self.now, status=self.boots_into, answers=self.answers)
        return number

    def end(self, number: int) -> bool:
        contract = self.contracts.get(number)
        if contract is None or contract.ended is not None:
            return False
        contract.ended, contract.answers = self.now, False
        return True

    def living(self) -> list[Contract]:
        return [contract for contract in self.contracts.values() if contract.ended is None]


@dataclass
class FakeDumont:
    """What of `DumontClient` is used."""

    cloud: FakeCloud
    # Replace what the honest product does.
    on_create: Callable[[int, str], int] | None = None
    on_destroy: Callable[[int], bool] | None = None
    hidden: set[int] = field(default_factory=set)
    clock: ServiceClock = field(default_factory=lambda: clock_of("Dumont API"))

    def offers(self, **filters: Any) -> list[Offer]:
        self.cloud.calls.append(f"offers {sorted(filters.items())}")
        return self.cloud.offers

    def create_instance(
        self, offer_id: int, label: str, disk_gb: float, /, *, timeout: float, failover_strategy: str | None = None
    ) -> int:
        self.cloud.calls.append(f"create {offer_id} {label} {disk_gb:g} GB within {timeout:g} s")
        if self.on_create:
            return self.on_create(offer_id, label)
        chosen = next((each for each in self.cloud.offers if each.id == offer_id), None)
        if chosen is None:
            raise Refused(f"Dumont API refused POST /instances with 409: offer {offer_id} is gone.", 409, "gone")
        self.cloud.offers = [each for each in self.cloud.offers if each.id != offer_id]
        return self.cloud.rent(label, chosen.dph_total)

    def instance(self, instance_id: int) -> InstanceView | None:
        return next((row for row in self.instances() if row.id == instance_id), None)

    def instances(self) -> list[InstanceView]:
        return [
            InstanceView(
                contract.id,
                contract.label,
                "running",
                contract.status,
                "127.0.0.1" if contract.status == "running" else None,
                41000 + contract.id % 1000 if contract.status == "running" else None,
                contract.price,
                "RTX A4000",
                100.0,
            )
            for contract in self.cloud.living()
            if contract.id not in self.hidden
        ]

    def destroy(self, instance_id: int) -> bool:
        self.cloud.calls.append(f"dumont destroy {instance_id}")
        return self.on_destroy(instance_id) if self.on_destroy else self.cloud.end(instance_id)


@dataclass
class FakeMarket:
    """What of `MarketClient` is used."""

    cloud: FakeCloud
    on_destroy: Callable[[int], bool] | None = None
    on_charges: Callable[[list[Charge]], list[Charge]] = lambda charges: charges
    clock: ServiceClock = field(default_factory=lambda: clock_of("the market"))

    def instance(self, instance_id: int) -> MarketInstance | None:
        return next((row for row in self.instances() if row.id == instance_id), None)

    def instances(self) -> list[MarketInstance]:
        return [
            MarketInstance(
                contract.id,
                contract.label,
                "running",
                contract.status,
                self.cloud.status_message,
                "RTX A4000",
                contract.price,
                100.0,
                "127.0.0.1",
                41000 + contract.id % 1000,
                1,
                contract.begun,
            )
            for contract in self.cloud.living()
        ]

    def offers(self, max_price: float, disk_gb: float, gpu_name: str | None = None) -> list[int]:
        return [
            each.id
            for each in self.cloud.offers
            if each.dph_total <= max_price and each.disk_space >= disk_gb and gpu_name in {None, each.gpu_name}
        ]

    def gpu_names(self) -> list[str]:
        return sorted({each.gpu_name for each in self.cloud.offers})

    def charges(self, instance_id: int, since: float | None = None) -> list[Charge]:
        contract = self.cloud.contracts[instance_id]
        seconds = (self.cloud.now if contract.ended is None else contract.ended) - contract.begun
        usd = contract.price * seconds / 3600
        return self.on_charges([Charge(contract.begun, contract.ended, seconds, usd, contract.price, "gpu")])

    def statement(self) -> list[Charge]:
        of_machines = [
            replace(charge, source=f"instance-{number}")
            for number in self.cloud.contracts
            for charge in self.charges(number)
        ]
        return of_machines + [
            Charge(0.0, None, 1.0, 0.01, volume.hourly_usd, "volume", f"volume-{volume.id}")
            for volume in self.cloud.billed_volumes
        ]

    def volumes(self) -> list[Volume]:
        return list(self.cloud.volumes)

    def delete_volume(self, volume_id: int) -> bool:
        self.cloud.volumes = [volume for volume in self.cloud.volumes if volume.id != volume_id]
        return True

    def destroy(self, instance_id: int) -> bool:
        self.cloud.calls.append(f"market destroy {instance_id}")
        return self.on_destroy(instance_id) if self.on_destroy else self.cloud.end(instance_id)


class FakeMachine(Machine):
    """The SSH side of a machine: opens when the cloud's machine at that port does."""

    def __init__(self, cloud: FakeCloud, host: str, port: int, alias: str) -> None:
        super().__init__(host, port, Path("key"), Path("known_hosts"), alias)
        self._cloud = cloud

    def answers(self) -> bool:
        return any(contract.answers and 41000 + contract.id % 1000 == self.port for contract in self._cloud.living())

    def run(self, *_: object, **__: object) -> Completed:
        """nvidia-smi; nothing else is asked of it."""
        return Completed(self._cloud.gpu.encode(), b"", 0 if self._cloud.gpu else 6)

    def pin(self) -> str:
        if not self.answers():
            raise SshRefused(f"SSH to {self.alias} was refused: Connection refused.")
        return "SHA256:x"


def growing(charges: list[Charge]) -> list[Charge]:
    """A bill that goes on although the machine is gone."""
    return [replace(charge, end=None) for charge in charges]


def clock_of(owner: str, ahead: float = 0.0) -> ServiceClock:
    """A service's clock that is ahead of this computer's by so many seconds."""
    clock = ServiceClock(owner)
    clock.read(formatdate(time.time() + ahead, usegmt=True))
    return clock
