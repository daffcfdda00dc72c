"""Where a lost machine's workspace comes back from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from sandbox.control.errors import ApiError
from sandbox.control.failover_record import DataSource, Failover
from sandbox.control.market_client import Rent
from sandbox.control.offers import Offer
from sandbox.control.progress import ProgressOf
from sandbox.control.snapshots import Snapshots
from sandbox.control.ssh import Machine
from sandbox.control.standby import Standbys
from sandbox.control.volumes import RegionalVolumes, region_of, with_volume
from sandbox.control.warm_pool import WarmPool

WORKSPACE = "/workspace"
_SIZES = 'find "$1" -type f -printf "%s\\n"'


async def file_sizes(machine: Machine) -> list[int]:
    """Bytes of each file of its workspace."""
    return [int(size) for size in (await machine.run(_SIZES, WORKSPACE, within=600)).stdout.split()]


@dataclass(frozen=True)
class Back:
    """What is on the new machine and was compared with its source. Bytes: None when the source does not tell."""

    files: int
    bytes: int | None
    words: str = "compared with their source"


class Source(ABC):
    """One way to have the workspace back. All of it may be repeated: a failover may be resumed in any phase."""

    name: ClassVar[DataSource]

    @abstractmethod
    async def readiness(self, instance_id: int) -> str | None:
        """Why it could not serve a machine that is lost now; None when it could."""

    @abstractmethod
    async def take_over(self, failover: Failover) -> str:
        """Makes it the truth of the workspace, notes how old that is, and says what serves now.

        Raises:
            ApiError: it cannot; the message says why.
        """

    def machine(self, failover: Failover) -> int | None:
        """The machine that has the workspace already; None when one must be found."""
        return None

    def region(self, failover: Failover) -> str | None:
        """Where the new machine must be; None: anywhere."""
        return None

    def fitting(self, failover: Failover, offers: list[Offer]) -> list[Offer]:
        """The offers whose machines could have the workspace."""
        return offers

    def rent(self, failover: Failover, rent: Rent) -> Rent:
        """What must be rented."""
        return rent

    @abstractmethod
    async def restore(self, failover: Failover, machine: Machine) -> Back:
        """Brings the workspace onto the new machine and compares."""

    @abstractmethod
    async def follow(self, failover: Failover, new_id: int) -> str:
        """Protects the new machine as the old one was, and says how."""


class StandbySource(Source):
    """The CPU standby: it serves the workspace from the loss until the new machine has it."""

    name = "cpu_standby"

    def __init__(self, standbys: Standbys, progress_of: ProgressOf) -> None:
        self._standbys = standbys
        self._progress_of = progress_of

    async def readiness(self, instance_id: int) -> str | None:
        association = self._standbys.get(instance_id)
        if association is None:
            return f"instance {instance_id} has no CPU standby"
        if not association.can_serve:
            words = f"its CPU standby has not synced yet (state: {association.state})"
            return f"{words}: {association.sync_error}" if association.sync_error else words
        return None

    async def take_over(self, failover: Failover) -> str:
        instance_id = failover.gpu_instance_id
        association = self._standbys.known(instance_id)
        await self._standbys.fail_over(instance_id, failover.reason)
        if association.synced_from is not None and failover.lost_at is not None:
            failover.rpo_seconds = round(max(0.0, failover.lost_at - association.synced_from), 3)
        return f"standby {association.machine_name} serves the workspace as of {failover.rpo_seconds} s before the loss"

    async def restore(self, failover: Failover, machine: Machine) -> Back:
        association = self._standbys.known(failover.gpu_instance_id)
        await self._standbys.until_it_answers(association)
        with self._progress_of.begin(machine.instance_id, "restore"):
            brought = await self._standbys.bring_back(association, machine)
        return Back(brought.files, brought.bytes)

    async def follow(self, failover: Failover, new_id: int) -> str:
        if self._standbys.get(new_id) is None:  # else it was done before this process was killed
            await self._standbys.follow(failover.gpu_instance_id, new_id)
        return f"standby {self._standbys.known(new_id).machine_name} mirrors instance {new_id}"


class SnapshotSource(Source):
    """The newest snapshot of the machine's workspace."""

    name = "snapshot"

    def __init__(self, snapshots: Snapshots, standbys: Standbys) -> None:
        self._snapshots = snapshots
        self._standbys = standbys

    async def readiness(self, instance_id: int) -> str | None:
        if await self._snapshots.newest(instance_id, WORKSPACE) is None:
            return f"instance {instance_id} has no snapshot of {WORKSPACE}"
        return None

    async def take_over(self, failover: Failover) -> str:
        snapshot = await self._snapshots.newest(failover.gpu_instance_id, WORKSPACE)
        if snapshot is None:
            raise ApiError(409, f"instance {failover.gpu_instance_id} has no snapshot of {WORKSPACE}")
        failover.snapshot_id = snapshot.short_id
        if failover.lost_at is not None:
            failover.rpo_seconds = round(max(0.0, failover.lost_at - snapshot.time.timestamp()), 3)
        age = f"taken {failover.rpo_seconds} s before the loss"
        return f"no machine serves the workspace; snapshot {failover.snapshot_id}, {age}, will be restored"

    async def restore(self, failover: Failover, machine: Machine) -> Back:
        assert failover.snapshot_id is not None  # noqa: S101 - take_over has chosen it
        snapshot = await self._snapshots.find(failover.snapshot_id)
        restored = await self._snapshots.restore(snapshot, machine, WORKSPACE, verify=True)
        return Back(restored.files_restored, None)

    async def follow(self, failover: Failover, new_id: int) -> str:
        """A standby that could not serve is left as it is: it may hold what no snapshot has."""
        association = self._standbys.get(failover.gpu_instance_id)
        if association is None:
            return f"instance {new_id} has no standby, as before"
        return f"instance {new_id} has no standby: {association.machine_name} is kept as it is, for what it may hold"


class WarmSource(Source):
    """The second machine of the warm pool: it becomes the new machine as it is."""

    name = "warm_pool"

    def __init__(self, pool: WarmPool, standbys: Standbys) -> None:
        self._pool = pool
        self._standbys = standbys

    async def readiness(self, instance_id: int) -> str | None:
        return self._pool.why_not(instance_id)

    async def take_over(self, failover: Failover) -> str:
        warm, words = await self._pool.take_over(failover.gpu_instance_id)
        if warm.synced_from is not None and failover.lost_at is not None:
            failover.rpo_seconds = round(max(0.0, failover.lost_at - warm.synced_from), 3)
        return f"{words}, as of {failover.rpo_seconds} s before the loss"

    def machine(self, failover: Failover) -> int | None:
        warm = self._pool.get(failover.gpu_instance_id)
        return warm.warm_instance_id if warm else failover.new_instance_id

    async def restore(self, failover: Failover, machine: Machine) -> Back:
        warm = self._pool.get(failover.gpu_instance_id)
        if warm is None:
            raise ApiError(409, f"instance {failover.gpu_instance_id} has no warm machine any more")
        return Back(*await self._pool.compare(warm))

    async def follow(self, failover: Failover, new_id: int) -> str:
        """The next warm machine comes by itself: the settings of the new machine want one."""
        warm = self._pool.get(failover.gpu_instance_id)
        if warm is not None:
            await self._pool.release(warm)
        if self._standbys.get(failover.gpu_instance_id) is not None:
            await self._standbys.follow(failover.gpu_instance_id, new_id)
        return "another warm machine is being rented"


class VolumeSource(Source):
    """The volume that the workspace is on: the new machine uses it in place of the old one."""

    name = "regional_volume"

    def __init__(self, volumes: RegionalVolumes, standbys: Standbys) -> None:
        self._volumes = volumes
        self._standbys = standbys

    async def readiness(self, instance_id: int) -> str | None:
        lease = self._volumes.get(instance_id)
        if lease is None:
            return f"the workspace of instance {instance_id} is on its own disk, not on a regional volume"
        if await self._volumes.volume(instance_id) is None:
            return f"the market no longer has volume {lease.volume_id} of instance {instance_id}"
        return None

    async def take_over(self, failover: Failover) -> str:
        volume = await self._volumes.volume(failover.gpu_instance_id)
        if volume is None:
            raise ApiError(409, f"the volume of instance {failover.gpu_instance_id} is gone")
        failover.rpo_seconds = 0.0
        return f"volume {volume.id} in {volume.region} has the workspace as it was at the moment of the loss"

    def region(self, failover: Failover) -> str | None:
        lease = self._volumes.get(failover.gpu_instance_id)
        return lease.region if lease else None

    def fitting(self, failover: Failover, offers: list[Offer]) -> list[Offer]:
        """A wish for a region may mean its neighbours as well; a volume has no neighbours."""
        region = self.region(failover)
        return [offer for offer in offers if region is not None and region_of(offer.geolocation) == region]

    def rent(self, failover: Failover, rent: Rent) -> Rent:
        lease = self._volumes.get(failover.gpu_instance_id)
        return with_volume(rent, lease) if lease is not None else rent

    async def restore(self, failover: Failover, machine: Machine) -> Back:
        """Nothing is copied: the market says that the machine has the volume, and the machine counts its files."""
        lease = self._volumes.get(failover.gpu_instance_id) or self._volumes.get(machine.instance_id)
        volume = await self._volumes.volume(failover.gpu_instance_id) if lease else None
        if volume is None or volume.instance_id != machine.instance_id:
            raise ApiError(502, f"instance {machine.instance_id} does not have the volume of the workspace")
        sizes = await file_sizes(machine)
        return Back(len(sizes), sum(sizes), f"on volume {volume.id}; nothing was copied")

    async def follow(self, failover: Failover, new_id: int) -> str:
        lease = self._volumes.get(failover.gpu_instance_id)
        if lease is not None:
            self._volumes.belongs_to(lease, new_id)
        if self._standbys.get(failover.gpu_instance_id) is not None:
            await self._standbys.follow(failover.gpu_instance_id, new_id)
        return f"instance {new_id} has the volume"
