"""New machines from snapshots: waking a hibernated one, restoring any snapshot onto a new one.

Every such rent is a record before it is made. Whatever goes wrong, the new machine does not outlive it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from sandbox.control.agents import Agents
from sandbox.control.defaults import CUT, DEFAULT_DISK, DEFAULT_IMAGE
from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.history import History
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance, OfferGone, Rent
from sandbox.control.offers import OfferQuery, search, why_none
from sandbox.control.restic import RepositorySnapshot
from sandbox.control.snapshots import Snapshots
from sandbox.events import Events
from sandbox.tasks import Tasks

OFFERS_TRIED = 8

ProvisionStatus = Literal["renting", "provisioning", "restoring", "restored", "failed"]

_log = logging.getLogger(__name__)


class Wish(BaseModel):
    """What the new machine may be."""

    gpu_type: str | None = None
    region: str | None = None
    max_price: float = 1.0


class Provision(BaseModel):
    """One machine that is being rented for a snapshot. Its key is the token of the rent."""

    token: str
    snapshot_id: str
    old_instance_id: int | None = None
    new_instance_id: int | None = None
    status: ProvisionStatus = "renting"
    error: str | None = None
    begun_at: float

    def public(self) -> dict[str, object]:
        return self.model_dump(include={"snapshot_id", "status", "error"})


@dataclass(frozen=True)
class Woken:
    new_instance_id: int
    old_instance_id: int
    snapshot_id: str
    ssh_host: str
    ssh_port: int
    time_taken: float  # seconds


class Wakes:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        snapshots: Snapshots,
        history: History,
        events: Events,
        agents: Agents,
        ready_within: float,
    ) -> None:
        self._fleet = fleet
        self._market = market
        self._machines = machines
        self._snapshots = snapshots
        self._history = history
        self._events = events
        self._records = fleet.records
        self._agents = agents
        self._ready_within = ready_within
        self._in_hand: set[int] = set()
        self._tasks = Tasks("waking", expected=ApiError)
        self._cut = [one for one in self._records.all(Provision) if one.status not in ("restored", "failed")]
        self._cut_wakes = [machine for machine in fleet if machine.status == "waking"]

    async def settle(self) -> None:
        """Destroys what the last run of this process had rented and not yet handed over."""
        for provision in self._cut:
            instance_id = provision.new_instance_id or await self._market.find_rented(provision.token)
            if instance_id is not None:
                await self._market.destroy(instance_id)
                self._fleet.remove(instance_id)
            self._note(provision, "failed", error=f"{CUT}; the new machine was destroyed")
        while self._cut_wakes:
            self._asleep_again(self._cut_wakes.pop(), CUT)

    async def close(self) -> None:
        await self._tasks.close()

    def progress(self, instance_id: int) -> dict[str, object] | None:
        """How far a snapshot has come on a machine that was rented for it."""
        found = [one for one in self._records.all(Provision) if one.new_instance_id == instance_id]
        return found[-1].public() if found else None

    async def wake(self, old_instance_id: int, wish: Wish) -> Woken:
        """Rents the cheapest machine with as many GPUs and as much disk as before, and restores the snapshot onto it.

        Raises what went wrong; then the hibernated machine is as it was.
        """
        machine = self._fleet.get(old_instance_id)
        if machine is None:
            raise ApiError(404, f"Instance {old_instance_id} not found")
        if machine.status == "waking":
            raise ApiError(409, f"Instance {old_instance_id} is being woken already")
        if machine.status == "woken":
            raise ApiError(409, f"Instance {old_instance_id} was woken before, as instance {machine.new_instance_id}")
        if machine.status != "hibernated" or machine.snapshot_id is None:
            raise ApiError(409, f"Instance {old_instance_id} is not hibernated (status: {machine.state})")
        machine.status, machine.error = "waking", None
        self._fleet.save(machine)
        return await self._tasks.finish(self._wake(machine, machine.snapshot_id, wish))

    async def _wake(self, machine: TrackedMachine, snapshot_id: str, wish: Wish) -> Woken:
        begun = time.monotonic()
        disk = machine.disk_space or DEFAULT_DISK
        try:
            snapshot = await self._snapshots.find(snapshot_id)
            provision, _ = await self._rent(
                snapshot, wish, Rent(image=machine.image or DEFAULT_IMAGE, disk=disk, label=machine.label),
                num_gpus=machine.num_gpus or 1, old=machine,
            )  # fmt: skip
            instance = await self._fill(provision, snapshot)
        except ApiError as error:
            self._asleep_again(machine, error.message)
            await self._told(machine, None, error.message)
            raise
        except Exception as error:
            self._asleep_again(machine, f"Internal error: {error!r}")
            raise
        machine.status, machine.new_instance_id = "woken", instance.id
        self._fleet.save(machine)
        seconds = round(time.monotonic() - begun, 3)
        self._history.add(machine, "woke_up", "asked for", new_instance_id=instance.id, seconds=seconds)
        await self._told(machine, instance.id, None)
        assert instance.ssh_host is not None and instance.ssh_port is not None  # noqa: S101, PT018 - it was entered
        return Woken(instance.id, machine.instance_id, snapshot_id, instance.ssh_host, instance.ssh_port, seconds)

    async def restore_onto_new(self, snapshot: RepositorySnapshot, wish: Wish) -> int:
        """Rents a machine for a snapshot and returns its id; the snapshot arrives in the background."""
        rent = Rent(image=DEFAULT_IMAGE, disk=DEFAULT_DISK, label=f"restore-{snapshot.short_id}")
        provision, instance_id = await self._rent(snapshot, wish, rent, num_gpus=1, old=None)
        self._tasks.begin(self._fill(provision, snapshot))
        return instance_id

    def _note(self, provision: Provision, status: ProvisionStatus, *, error: str | None = None) -> None:
        provision.status, provision.error = status, error
        self._records.put(provision.token, provision)

    async def _rent(
        self, snapshot: RepositorySnapshot, wish: Wish, rent: Rent, *, num_gpus: int, old: TrackedMachine | None
    ) -> tuple[Provision, int]:
        """Notes the rent, rents the cheapest offer and takes the new machine in."""
        provision = Provision(
            token=rent.token, snapshot_id=snapshot.short_id, begun_at=time.time(),
            old_instance_id=old.instance_id if old else None,
        )  # fmt: skip
        self._note(provision, "renting")
        query = OfferQuery(
            gpu_name=wish.gpu_type, region=wish.region, max_price=wish.max_price, min_disk=rent.disk,
            num_gpus=num_gpus, min_inet_down=0, limit=100,
        )  # fmt: skip
        try:
            instance_id = await self._rent_cheapest(query, rent)
        except ApiError as error:
            self._note(provision, "failed", error=error.message)
            raise
        provision.new_instance_id = instance_id
        self._note(provision, "provisioning")
        new = TrackedMachine(instance_id=instance_id, label=rent.label)
        if old:
            # Who wakes a machine wants to use it: it is given the time to begin, whatever it had before.
            unhurried = max(old.config.idle_timeout_seconds, new.config.idle_timeout_seconds)
            new.config = old.config.model_copy(update={"idle_timeout_seconds": unhurried})
        self._fleet.add(new)
        self._agents.wanted()
        return provision, instance_id

    async def _rent_cheapest(self, query: OfferQuery, rent: Rent) -> int:
        """Rents the cheapest offer; looks again when somebody else has taken it at the same moment."""
        lost: list[str] = []
        while len(lost) < OFFERS_TRIED:
            offers = await search(self._market, query)
            free = [offer for offer in offers if offer.id not in self._in_hand]  # the others, calls of ours are renting
            if not free:
                raise ApiError(503, await why_none(self._market, query))
            self._in_hand.add(free[0].id)
            try:
                return await self._market.rent(free[0].id, rent)
            except OfferGone as gone:
                lost.append(gone.message)
            finally:
                self._in_hand.discard(free[0].id)
        raise ApiError(503, f"{len(lost)} offers were taken by others meanwhile: {'; '.join(lost)}")

    async def _fill(self, provision: Provision, snapshot: RepositorySnapshot) -> MarketInstance:
        """Waits for the new machine and restores onto it; on any failure the machine is destroyed again."""
        instance_id = provision.new_instance_id
        assert instance_id is not None  # noqa: S101 - it was rented
        try:
            instance, machine = await self._machines.wait_ready(instance_id, self._ready_within)
            self._note(provision, "restoring")
            await self._snapshots.restore(snapshot, machine, None, verify=False)
        except Exception as error:
            words = error.message if isinstance(error, ApiError) else f"Internal error: {error!r}"
            _log.warning("restoring %s onto instance %d: %s", snapshot.short_id, instance_id, words)
            await self._give_back(provision, instance_id, words)
            if isinstance(error, ApiError):
                raise ApiError(error.status, str(provision.error)) from error
            raise
        self._note(provision, "restored")
        return instance

    async def _give_back(self, provision: Provision, instance_id: int, words: str) -> None:
        try:
            await self._market.destroy(instance_id)
        except ApiError as error:
            words += f". The new machine {instance_id} could NOT be destroyed: {error.message}"
        else:
            self._fleet.remove(instance_id)
            words += f". The new machine {instance_id} was destroyed"
        self._note(provision, "failed", error=words)

    def _asleep_again(self, machine: TrackedMachine, error: str) -> None:
        machine.status, machine.error = "hibernated", error
        self._fleet.save(machine)
        self._history.add(machine, "wake_failed", error)

    async def _told(self, machine: TrackedMachine, new_instance_id: int | None, error: str | None) -> None:
        await self._events.publish(
            "wake.finished", old_instance_id=machine.instance_id, new_instance_id=new_instance_id,
            snapshot_id=machine.snapshot_id, success=error is None, error=error,
        )  # fmt: skip
