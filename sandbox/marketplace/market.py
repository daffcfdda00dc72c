"""The market itself: sells each offer once, brings machines up and down, and bills them.

What is to happen is on disk before it happens. So a market that was killed goes on at its next start: machines that
should run boot again with their disks, machines that were being destroyed are gone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from sandbox.disk_space import TO_RENT, check, shortage
from sandbox.endings import in_words
from sandbox.events import Events
from sandbox.faults import Faults
from sandbox.hosts import BootFailed, Host, Troubles
from sandbox.hosts.host import free_port
from sandbox.marketplace.accounts import SshKeys, checked_public_key
from sandbox.marketplace.billing import Bill
from sandbox.marketplace.instances import DEFAULT_IMAGE, FIRST_INSTANCE, Instance, Status
from sandbox.marketplace.offers import Offer, make_offers
from sandbox.marketplace.profiles import Profile
from sandbox.marketplace.search import Search
from sandbox.marketplace.traffic import Meter, Traffic
from sandbox.marketplace.volumes import Volumes, region_of
from sandbox.records import Records
from sandbox.tasks import Tasks

LEAST_BALANCE = 0.01  # USD without which nothing is rented out
STOPPED = "Stopped; the disk is kept."
PREEMPTED = "Interrupted by the market, which needs the machine for somebody else; the disk was wiped."
ORDERED = "Waiting for the host to take the order up."
HEARTBEAT = 1.0  # seconds; the bill is exact to this after a kill -9

_log = logging.getLogger(__name__)


class Refused(Exception):
    """The market says no, as its clients read it: an HTTP status, a short code and a sentence."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message


class Contracts(BaseModel):
    """The id of the next instance: no id is ever given twice."""

    next_id: int = FIRST_INSTANCE


@dataclass
class Order:
    """What a renter asks for beside the offer."""

    label: str | None = None
    image: str | None = None
    disk: float = 10.0
    runtype: str = "ssh"
    onstart: str = ""
    env: list[tuple[str, str]] = field(default_factory=list)
    price: float | None = None
    volume_id: int | None = None


@dataclass
class _Rented:
    """A contract in this process: its record, who may change it now, and the task that is its machine's life."""

    instance: Instance
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    life: asyncio.Task[None] | None = None


class Market:
    """One account's view of the market. All of it runs in one event loop."""

    def __init__(
        self, records: Records, host: Host, profile: Profile, seed: int, faults: Faults, events: Events
    ) -> None:
        self._records = records
        self._host = host
        self.profile = profile
        self._seed = seed
        self._faults = faults
        self._events = events
        self._offers = make_offers(seed)
        self._rented = {instance.id: _Rented(instance) for instance in records.all(Instance)}
        self._tasks = Tasks("the market", expected=Refused)
        self.bill = Bill(records)
        self.volumes = Volumes(records, self.bill)
        self.keys = SshKeys(records)
        self._meter = Meter(self._bill_traffic)
        self._metered: dict[int, Instance] = {}
        self.state_dir = host.state_dir

    async def open(self) -> None:
        """Takes up what the last process left: boots what should run, finishes what was being destroyed."""
        await self._host.end_leftovers()
        self._meter.open()
        self.volumes.open()
        for volume_id in self._host.volumes():
            if self.volumes.get(volume_id) is None:
                await self._host.wipe_volume(volume_id)
        for machine_id in set(self._host.disks()) - self._rented.keys():
            await self._host.wipe(machine_id)
        for rented in list(self._rented.values()):
            if rented.instance.intended_status == "destroyed":
                await self._destroy(rented)
                continue
            self._bill_disk(rented.instance)
            if rented.instance.intended_status == "running":
                self._begin_life(rented)
            elif rented.instance.preempted:
                await self._host.wipe(rented.instance.id)
                self._become(rented.instance, "exited", PREEMPTED)
            else:
                self._become(rented.instance, "exited", STOPPED)
        self._tasks.begin(self._beat())

    async def close(self) -> None:
        """Stops every machine and the bill. What should run stays intended to run."""
        await self._tasks.close()
        for instance in list(self._metered.values()):
            self._settle_traffic(instance)
        self._meter.close()
        await self._host.stop_all()
        self.bill.close_all()
        self.bill.beat()

    def search(self, search: Search) -> list[dict[str, Any]]:
        """The offers that fit. What is rented is not on the list."""
        taken = self._taken()
        return search.among(offer for offer in self._offers.values() if offer.id not in taken)

    def gpu_names(self) -> list[str]:
        return sorted({offer.gpu_name for offer in self._offers.values() if offer.gpu_name})

    async def rent(self, offer_id: int, order: Order) -> Instance:
        """Sells an offer. The machine comes up by itself afterwards.

        Raises:
            Refused: the offer is not there (any more), the disk does not fit, the bid is too low, no money is left.
            DiskFull: the disk of the state directory has too little space for another machine.
        """
        offer = self._offers.get(offer_id)
        if offer is None:
            raise Refused(404, "no_such_ask", f"Offer {offer_id} is not available: there is no such offer.")
        if offer_id in self._taken():
            raise Refused(400, "no_such_ask", f"Offer {offer_id} is not available: it has been rented meanwhile.")
        if self.bill.balance < LEAST_BALANCE:
            raise Refused(400, "insufficient_credit", f"The balance of {self.bill.balance:.2f} USD is insufficient.")
        if not 0 < order.disk <= offer.disk_space:
            raise Refused(
                400,
                "invalid_args",
                f"disk must be more than 0 and at most {offer.disk_space:g} GB, not {order.disk:g}.",
            )
        if order.price is not None and order.price < offer.min_bid:
            raise Refused(400, "bid_too_low", f"The bid of {order.price:g} is below the least of {offer.min_bid:g}.")
        if order.volume_id is not None:
            self._check_volume(order.volume_id, offer)
        self._require_space()
        contracts = self._records.get(Contracts, "all") or Contracts()
        instance = Instance(
            id=contracts.next_id,
            offer=offer,
            dph_base=offer.dph_base if order.price is None else order.price,
            is_bid=order.price is not None,
            label=order.label,
            image=order.image or DEFAULT_IMAGE,
            runtype=order.runtype,
            disk=order.disk,
            onstart=order.onstart,
            extra_env=order.env,
            ssh_keys=[key.public_key for key in self.keys.all()],
            volume_id=order.volume_id,
            ssh_port=self._port(),
            start_date=time.time(),
            status_msg=ORDERED,
        )
        try:
            instance.spec(Troubles())
        except ValueError as error:
            raise Refused(400, "invalid_args", f"env: {error}.") from error
        self._records.put("all", Contracts(next_id=instance.id + 1))
        self._records.put(instance.id, instance)
        rented = self._rented[instance.id] = _Rented(instance)
        self._bill_disk(instance)
        await self._tasks.finish(self._deliver(rented))
        return instance

    def _require_space(self) -> None:
        check(self.state_dir, TO_RENT)
        self._records.renew_reserve()

    def instances(self) -> list[dict[str, Any]]:
        """The rows of all machines of the account."""
        return [self._row(rented.instance) for rented in self._rented.values()]

    def instance(self, instance_id: int) -> dict[str, Any] | None:
        rented = self._rented.get(instance_id)
        return self._row(rented.instance) if rented else None

    def volume_rows(self) -> list[dict[str, Any]]:
        return [volume.row(self._user_of(volume.id)) for volume in self.volumes]

    async def delete_volume(self, volume_id: int) -> None:
        """Removes a volume with all that is on it. One that a machine uses is refused."""
        if self.volumes.get(volume_id) is None:
            raise Refused(404, "no_such_volume", f"Volume {volume_id} not found.")
        if (user := self._user_of(volume_id)) is not None:
            raise Refused(400, "volume_in_use", f"Volume {volume_id} is used by instance {user}.")
        self.volumes.remove(volume_id)
        await self._tasks.finish(self._host.wipe_volume(volume_id))

    def _user_of(self, volume_id: int) -> int | None:
        """The machine that uses a volume, stopped or not."""
        return next((one.instance.id for one in self._rented.values() if one.instance.volume_id == volume_id), None)

    def _check_volume(self, volume_id: int, offer: Offer) -> None:
        volume = self.volumes.get(volume_id)
        if volume is None:
            raise Refused(404, "no_such_volume", f"Volume {volume_id} not found.")
        if (user := self._user_of(volume_id)) is not None:
            raise Refused(400, "volume_in_use", f"Volume {volume_id} is used by instance {user}.")
        if region_of(offer.geolocation) != volume.region:
            raise Refused(
                400, "wrong_region", f"Volume {volume_id} is in {volume.region}, the machine in {offer.geolocation}."
            )

    def label(self, instance_id: int, label: str | None) -> None:
        instance = self._get(instance_id).instance
        instance.label = label
        self._save(instance)

    def attach_key(self, instance_id: int, text: str) -> None:
        """Lets a further key into one machine, from the next login on."""
        instance = self._get(instance_id).instance
        public_key = checked_public_key(text)
        if public_key not in instance.ssh_keys:
            instance.ssh_keys.append(public_key)
            self._save(instance)
            if instance.actual_status == "running":
                self._host.disk(instance_id).authorize(instance.ssh_keys)

    async def stop(self, instance_id: int) -> None:
        """Halts a machine. Its disk stays, and is paid for."""
        await self._tasks.finish(self._stop(self._get(instance_id)))

    async def start(self, instance_id: int) -> None:
        """Brings a stopped machine up again; one that runs, or has ended by itself, as well."""
        await self._tasks.finish(self._start(self._get(instance_id)))

    async def reboot(self, instance_id: int) -> None:
        """Halts a machine and brings it up again, on the same disk."""
        await self._tasks.finish(self._reboot(self._get(instance_id)))

    async def preempt(self, instance_id: int) -> None:
        """Takes a machine away from its renter: kills it and wipes its disk. The contract stays, stopped.

        As with every stopped machine, its disk is charged until the renter destroys it. It can be started again, as
        another machine: empty, with another host key.
        """
        await self._tasks.finish(self._preempt(self._get(instance_id)))

    async def destroy(self, instance_id: int) -> None:
        """Kills a machine, wipes its disk and ends its bill. The offer is on the market again."""
        await self._tasks.finish(self._destroy(self._get(instance_id)))

    # What follows holds the lock of one contract while it works: a destroy waits for a stop that is under way.

    async def _deliver(self, rented: _Rented) -> None:
        instance = rented.instance
        await self._events.publish(
            "machine.created",
            instance_id=instance.id,
            label=instance.label,
            machine_dir=str(self._host.disk(instance.id).root),
        )
        async with rented.lock:
            if instance.intended_status == "running":
                self._begin_life(rented)

    async def _stop(self, rented: _Rented) -> None:
        async with rented.lock:
            self._check_there(rented)
            rented.instance.intended_status = "stopped"
            self._save(rented.instance)
            await self._halt(rented)
            self._become(rented.instance, "exited", STOPPED)

    async def _preempt(self, rented: _Rented) -> None:
        instance = rented.instance
        async with rented.lock:
            self._check_there(rented)
            instance.intended_status, instance.preempted = "stopped", True
            self._save(instance)
            await self._halt(rented)
            await self._host.wipe(instance.id)
            self._become(instance, "exited", PREEMPTED)
        _log.info("machine %s was preempted", instance.id)
        await self._events.publish("machine.preempted", instance_id=instance.id, label=instance.label)

    async def _start(self, rented: _Rented) -> None:
        async with rented.lock:
            self._check_there(rented)
            rented.instance.intended_status, rented.instance.preempted = "running", False
            self._save(rented.instance)
            if rented.life is None or rented.life.done():
                self._begin_life(rented)

    async def _reboot(self, rented: _Rented) -> None:
        async with rented.lock:
            self._check_there(rented)
            if rented.instance.intended_status != "running":
                raise Refused(400, "invalid_state", f"Instance {rented.instance.id} is stopped: start it instead.")
            await self._halt(rented)
            self._begin_life(rented)

    async def _destroy(self, rented: _Rented) -> None:
        instance = rented.instance
        async with rented.lock:
            self._check_there(rented)
            instance.intended_status = "destroyed"
            self._save(instance)
            await self._halt(rented)
            await self._host.wipe(instance.id)
            self.bill.close(instance.id, "gpu", "disk")
            self._records.delete(Instance, instance.id)
            del self._rented[instance.id]
        await self._events.publish("machine.destroyed", instance_id=instance.id, label=instance.label)

    async def _halt(self, rented: _Rented) -> None:
        if rented.life is not None:
            rented.life.cancel()
            await asyncio.wait([rented.life])
            rented.life = None
        self._settle_traffic(rented.instance)
        await self._host.stop(rented.instance.id)
        self.bill.close(rented.instance.id, "gpu")

    async def _live(self, instance: Instance) -> None:
        """A machine's life: created, loading, running, and its end if it comes by itself."""
        created, loading = self.profile.delays(self._seed, instance.id)
        await asyncio.sleep(created)
        self._become(instance, "loading", f"Pulling {instance.image}.")
        await asyncio.sleep(loading)
        if self._faults.machine("boot_hangs"):
            return
        troubles = self._troubles()
        volume = self._host.volume(instance.volume_id) if instance.volume_id else None
        try:
            port = await self._host.boot(instance.spec(troubles, volume))
        except (BootFailed, OSError) as error:
            _log.error("machine %s did not boot: %s", instance.id, error)
            words = [shortage(self.state_dir), f"The machine did not boot: {error}"]
            self._become(instance, "exited", " ".join(filter(None, words)))
            return
        instance.ssh_port = port
        self._metered[port] = instance
        self._meter.watch(port)
        self.bill.open(instance.id, "gpu", instance.dph_base, instance.description)
        self._become(instance, "running", "The machine runs.")
        _log.info("machine %s runs on port %s", instance.id, port)
        await self._events.publish("machine.running", instance_id=instance.id, label=instance.label)
        code = await self._host.ended(instance.id)
        self._settle_traffic(instance)
        await self._host.stop(instance.id)
        self.bill.close(instance.id, "gpu")
        _log.warning("machine %s ended by itself (%s)", instance.id, in_words(code))
        self._become(instance, "exited", f"The machine ended by itself ({in_words(code)}).")

    def _begin_life(self, rented: _Rented) -> None:
        self._become(rented.instance, "created", ORDERED)
        rented.life = self._tasks.begin(self._live(rented.instance))

    def _troubles(self) -> Troubles:
        small_disk = self._faults.machine("small_disk")
        return Troubles(
            ssh_refused=self._faults.machine("ssh_refused") is not None,
            no_restic=self._faults.machine("no_restic") is not None,
            workspace_megabytes=small_disk.megabytes if small_disk else 0,
        )

    def _become(self, instance: Instance, status: Status, message: str) -> None:
        instance.actual_status = status
        instance.status_msg = message
        self._save(instance)

    def _save(self, instance: Instance) -> None:
        self._records.put(instance.id, instance)

    def _settle_traffic(self, instance: Instance) -> None:
        self._meter.settle(instance.ssh_port)
        self._metered.pop(instance.ssh_port, None)

    def _bill_traffic(self, port: int, traffic: Traffic) -> None:
        if instance := self._metered.get(port):
            id_, offer, text = instance.id, instance.offer, instance.description
            self.bill.add_traffic(id_, "upload", traffic.up, offer.inet_up_cost, text)
            self.bill.add_traffic(id_, "download", traffic.down, offer.inet_down_cost, text)

    def _bill_disk(self, instance: Instance) -> None:
        self.bill.open(instance.id, "disk", instance.storage_dph, instance.description)

    def _row(self, instance: Instance) -> dict[str, Any]:
        return instance.row(self._host.disk(instance.id).gpu_utilisation())

    def _taken(self) -> set[int]:
        return {rented.instance.offer.id for rented in self._rented.values()}

    def _port(self) -> int:
        """A port that no machine of the account has, not even a stopped one."""
        used = {rented.instance.ssh_port for rented in self._rented.values()}
        while (port := free_port()) in used:
            pass
        return port

    def _get(self, instance_id: int) -> _Rented:
        rented = self._rented.get(instance_id)
        if rented is None:
            raise Refused(404, "no_such_instance", f"Instance {instance_id} not found.")
        return rented

    def _check_there(self, rented: _Rented) -> None:
        if rented.instance.id not in self._rented:
            raise Refused(404, "no_such_instance", f"Instance {rented.instance.id} not found.")

    async def _beat(self) -> None:
        while True:
            self.bill.beat()
            await asyncio.sleep(HEARTBEAT)
