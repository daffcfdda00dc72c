"""Regional volumes: a machine whose workspace is on a volume of the market, which survives the machine."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from pydantic import BaseModel, Field

from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet, Status
from sandbox.control.market_client import MarketClient, MarketVolume, Rent
from sandbox.records import Records

MOUNT_PATH = "/workspace"
LOOK = 1.0  # seconds between two looks for volumes that nobody needs any more
ALIVE: tuple[Status, ...] = ("running", "idle", "failed", "failing_over", "lost", "migrating", "hibernating")

_log = logging.getLogger(__name__)


class Lease(BaseModel):
    """A volume that was ordered here; noted before it is made.

    `kept`: its user made it by itself, and it stays until its user deletes it. Another one goes with its machine.
    `ending`: it must go, whatever happens.
    """

    token: str = Field(default_factory=lambda: uuid.uuid4().hex[:12])
    label: str | None = None
    volume_id: int | None = None
    region: str
    size_gb: float
    hourly_usd: float | None = None
    gpu_instance_id: int | None = None
    kept: bool = False
    ending: bool = False

    def public(self) -> dict[str, Any]:
        """As the API tells it. Size in GB, price in USD an hour."""
        return {
            "volume_id": self.volume_id,
            "name": self.label,
            "region": self.region,
            "size_gb": self.size_gb,
            "hourly_usd": self.hourly_usd,
            "instance_id": self.gpu_instance_id,
            "kept": self.kept,
            "mount_path": MOUNT_PATH,
        }

    @property
    def name(self) -> str:
        """It names the machine's label, so that whoever rents can tell whose volume it is."""
        return "-".join(filter(None, ("dumont", self.label, self.token)))


class RegionalVolumes:
    def __init__(self, records: Records, fleet: Fleet, market: MarketClient) -> None:
        self._records = records
        self._fleet = fleet
        self._market = market
        self._leases = {lease.token: lease for lease in records.all(Lease)}

    def get(self, gpu_instance_id: int) -> Lease | None:
        return next((one for one in self._leases.values() if one.gpu_instance_id == gpu_instance_id), None)

    def all(self) -> list[Lease]:
        """Those that are to stay."""
        return [one for one in self._leases.values() if one.volume_id is not None and not one.ending]

    def known(self, volume_id: int) -> Lease:
        lease = next((one for one in self.all() if one.volume_id == volume_id), None)
        if lease is None:
            raise ApiError(404, f"Volume {volume_id} not found")
        return lease

    async def order(self, region: str, size_gb: float, label: str | None, *, kept: bool = False) -> Lease:
        """Makes a volume in a region, a country code."""
        lease = Lease(region=region, size_gb=size_gb, label=label, kept=kept)
        self._leases[lease.token] = lease
        self._save(lease)
        try:
            volume = await self._market.create_volume(lease.name, size_gb, lease.region)
        except ApiError:
            self.give_back(lease)
            raise
        lease.volume_id, lease.hourly_usd = volume.id, volume.dph_total
        self._save(lease)
        return lease

    def give_back(self, lease: Lease) -> None:
        """It is not needed any more: it is deleted in the background."""
        lease.ending = True
        self._save(lease)

    def belongs_to(self, lease: Lease, gpu_instance_id: int | None) -> None:
        lease.gpu_instance_id = gpu_instance_id
        self._save(lease)

    async def volume(self, gpu_instance_id: int) -> MarketVolume | None:
        """The volume of a machine as the market has it now."""
        lease = self.get(gpu_instance_id)
        if lease is None:
            return None
        return next((one for one in await self._market.volumes() if one.id == lease.volume_id), None)

    async def settle(self) -> None:
        """What the last run of this process had not given to a machine yet, or not told its user of."""
        for lease in self._leases.values():
            if lease.gpu_instance_id is None and (not lease.kept or lease.volume_id is None):
                self.give_back(lease)

    async def keep(self) -> None:
        """Deletes the volumes of machines that are no more, for as long as it is not cancelled."""
        while True:
            for lease in list(self._leases.values()):
                if lease.ending or not self._is_needed(lease):
                    try:
                        await self._delete(lease)
                    except ApiError as error:
                        _log.warning("deleting volume %s: %s", lease.name, error.message)
            await asyncio.sleep(LOOK)

    async def end(self, gpu_instance_id: int) -> None:
        """Deletes the volume of a machine that was destroyed, if it had one, and sees that it is gone. A kept one is
        free again."""
        lease = self.get(gpu_instance_id)
        if lease is not None and lease.kept:
            self.belongs_to(lease, None)
        elif lease is not None:
            self.give_back(lease)
            await self._delete(lease)

    async def delete(self, volume_id: int) -> None:
        """Deletes a volume and returns when it is gone. Raises ApiError: 404 there is none, 409 a machine uses it."""
        lease = self.known(volume_id)
        if lease.gpu_instance_id is not None and self._is_alive(lease.gpu_instance_id):
            words = f"Volume {volume_id} is the workspace of instance {lease.gpu_instance_id}: destroy that one first"
            raise ApiError(409, words)
        self.give_back(lease)
        await self._delete(lease)

    def _is_needed(self, lease: Lease) -> bool:
        """Also when it is being given to a machine just now."""
        return lease.kept or lease.gpu_instance_id is None or self._is_alive(lease.gpu_instance_id)

    def _is_alive(self, gpu_instance_id: int) -> bool:
        machine = self._fleet.get(gpu_instance_id)
        return machine is not None and machine.status in ALIVE

    async def _delete(self, lease: Lease) -> None:
        for volume in await self._market.volumes():
            if volume.name == lease.name:
                await self._market.delete_volume(volume.id)
        self._leases.pop(lease.token, None)
        self._records.delete(Lease, lease.token)

    def _save(self, lease: Lease) -> None:
        if lease.token in self._leases:
            self._records.put(lease.token, lease)


def region_of(geolocation: str | None) -> str:
    """The country code of "Sweden, SE"."""
    return (geolocation or "").rpartition(",")[2].strip()


def with_volume(rent: Rent, lease: Lease) -> Rent:
    return rent.model_copy(update={"volume_id": lease.volume_id})
