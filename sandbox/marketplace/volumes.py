"""Volumes: disks that belong to a region, and not to a machine. What is on them outlives the machines that use them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from sandbox.marketplace.billing import Bill
from sandbox.records import Records

FIRST_VOLUME = 5000001
PRICE = 0.15  # USD a GB and month
HOURS_PER_MONTH = 30 * 24
MOUNT_PATH = "/workspace"


def region_of(geolocation: str) -> str:
    """The country code of "Sweden, SE": a volume can be used from all machines of one country."""
    return geolocation.rpartition(",")[2].strip()


class Volume(BaseModel):
    """One volume. Size in GB."""

    id: int
    name: str
    size: float
    region: str
    created_at: float

    @property
    def dph(self) -> float:
        """USD an hour."""
        return self.size * PRICE / HOURS_PER_MONTH

    def row(self, instance_id: int | None) -> dict[str, Any]:
        """`instance_id`: the machine that uses it."""
        return {
            **self.model_dump(),
            "geolocation": self.region,
            "storage_cost": PRICE,
            "dph_total": round(self.dph, 6),
            "instance_id": instance_id,
            "mount_path": MOUNT_PATH,
        }


class Numbers(BaseModel):
    """The id of the next volume: no id is ever given twice."""

    next_id: int = FIRST_VOLUME


class Volumes:
    """Those of the account, billed for as long as they exist."""

    def __init__(self, records: Records, bill: Bill) -> None:
        self._records = records
        self._bill = bill
        self._volumes = {volume.id: volume for volume in records.all(Volume)}

    def __iter__(self) -> Iterator[Volume]:
        return iter(list(self._volumes.values()))

    def open(self) -> None:
        """Goes on billing."""
        for volume in self:
            self._charge(volume)

    def get(self, volume_id: int) -> Volume | None:
        return self._volumes.get(volume_id)

    def create(self, name: str, size: float, region: str) -> Volume:
        numbers = self._records.get(Numbers, "volumes") or Numbers()
        volume = Volume(id=numbers.next_id, name=name, size=size, region=region, created_at=time.time())
        self._records.put("volumes", Numbers(next_id=volume.id + 1))
        self._records.put(volume.id, volume)
        self._volumes[volume.id] = volume
        self._charge(volume)
        return volume

    def remove(self, volume_id: int) -> None:
        self._bill.close(volume_id, "volume")
        self._volumes.pop(volume_id, None)
        self._records.delete(Volume, volume_id)

    def _charge(self, volume: Volume) -> None:
        self._bill.open(volume.id, "volume", volume.dph, f"{volume.size:g} GB in {volume.region}, {volume.name}")
