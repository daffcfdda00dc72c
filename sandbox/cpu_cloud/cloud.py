"""The CPU cloud itself: brings machines up and down, and bills them.

What is to happen is on disk before it happens, as on the GPU market: a cloud that was killed goes on at its next start.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sandbox.cpu_cloud.vm import FIRST_ID, MACHINE_TYPES, ZONE, Vm, VmOrder
from sandbox.disk_space import TO_RENT, check, shortage
from sandbox.endings import in_words
from sandbox.events import Events
from sandbox.hosts import BootFailed, Host
from sandbox.hosts.host import free_port
from sandbox.marketplace.accounts import InvalidKey, checked_public_key
from sandbox.marketplace.billing import Bill
from sandbox.marketplace.profiles import Profile
from sandbox.records import Records
from sandbox.tasks import Tasks

STOPPED = "Stopped by its owner; the disk is kept."
PREEMPTED = "Instance was preempted."
HEARTBEAT = 1.0  # seconds; the bill is exact to this after a kill -9

_log = logging.getLogger(__name__)


class Refused(Exception):
    """The cloud says no: an HTTP status, Google's word for it and a sentence."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class Numbers(BaseModel):
    """The id of the next machine: none is ever given twice."""

    next_id: int = FIRST_ID


@dataclass
class _Owned:
    """A machine in this process: its record, who may change it now, and the task that is its life."""

    vm: Vm
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    life: asyncio.Task[None] | None = None


class CpuCloud:
    """The machines of one project. All of it runs in one event loop."""

    def __init__(self, records: Records, machines: Path, profile: Profile, seed: int, events: Events) -> None:
        machines.mkdir(mode=0o700, exist_ok=True)
        self._records = records
        self._host = Host(machines)
        self._profile = profile
        self._seed = seed
        self._events = events
        self._owned = {(vm.zone, vm.name): _Owned(vm) for vm in records.all(Vm)}
        self._tasks = Tasks("the CPU cloud", expected=Refused)
        self.bill = Bill(records)
        self.state_dir = machines.parent

    async def open(self) -> None:
        """Takes up what the last process left: boots what should run, finishes what was being deleted."""
        await self._host.end_leftovers()
        for machine_id in set(self._host.disks()) - {owned.vm.id for owned in self._owned.values()}:
            await self._host.wipe(machine_id)
        for owned in list(self._owned.values()):
            if owned.vm.intended == "deleted":
                await self._delete(owned)
                continue
            self._bill_disk(owned.vm)
            if owned.vm.intended == "running":
                self._begin_life(owned)
            else:
                self._become(owned.vm, "TERMINATED", owned.vm.status_message or STOPPED)
        self._tasks.begin(self._beat())

    async def close(self) -> None:
        """Stops every machine and the bill. What should run stays intended to run."""
        await self._tasks.close()
        await self._host.stop_all()
        self.bill.close_all()
        self.bill.beat()
        self._records.close()

    def machines(self) -> list[Vm]:
        return [owned.vm for owned in self._owned.values()]

    def machine(self, zone: str, name: str) -> Vm:
        return self._get(zone, name).vm

    def named(self, name: str) -> Vm:
        """The machine of this name, in whatever zone."""
        found = [vm for vm in self.machines() if vm.name == name]
        if not found:
            raise Refused(404, "notFound", f"There is no instance named '{name}'.")
        return found[0]

    def insert(self, zone: str, order: VmOrder) -> Vm:
        """Orders a machine, which comes up by itself afterwards.

        Raises:
            Refused: the zone or the type is unknown, a key is malformed, the name is taken.
            DiskFull: the disk of the state directory has too little space for another machine.
        """
        machine_type = order.machine_type.rpartition("/")[2]
        if not ZONE.fullmatch(zone):
            raise Refused(400, "invalid", f"Invalid value for field 'zone': '{zone}'. Unknown zone.")
        if machine_type not in MACHINE_TYPES:
            raise Refused(
                400,
                "invalid",
                f"Invalid value for field 'resource.machineType': '{order.machine_type}'. "
                f"Known types: {', '.join(MACHINE_TYPES)}.",
            )
        if (zone, order.name) in self._owned:
            raise Refused(409, "alreadyExists", f"The resource 'zones/{zone}/instances/{order.name}' already exists")
        check(self.state_dir, TO_RENT)
        self._records.renew_reserve()
        numbers = self._records.get(Numbers, "all") or Numbers()
        vm = Vm(
            id=numbers.next_id,
            name=order.name,
            zone=zone,
            machine_type=machine_type,
            spot=order.scheduling.provisioning_model == "SPOT",
            disk_gb=sum(disk.initialize_params.disk_size_gb for disk in order.disks),
            labels=order.labels,
            metadata=[item.model_dump() for item in order.metadata.items],
            ssh_port=free_port(),
            created_at=time.time(),
        )
        for key in vm.ssh_keys:
            try:
                checked_public_key(key)
            except InvalidKey as error:
                raise Refused(400, "invalid", f"Invalid value for field 'metadata.ssh-keys': {error}") from None
        self._records.put("all", Numbers(next_id=vm.id + 1))
        self._records.put(vm.id, vm)
        owned = self._owned[zone, vm.name] = _Owned(vm)
        self._bill_disk(vm)
        self._begin_life(owned)
        return vm

    def delete(self, zone: str, name: str) -> Vm:
        """Ends a machine's bill; it is killed and wiped in the background, and listed until that is done."""
        owned = self._get(zone, name)
        owned.vm.intended = "deleted"
        self._become(owned.vm, "STOPPING", "")
        self._tasks.begin(self._delete(owned))
        return owned.vm

    async def stop(self, zone: str, name: str, message: str = STOPPED) -> Vm:
        """Halts a machine. Its disk stays, and is paid for."""
        owned = self._get(zone, name)
        await self._tasks.finish(self._stop(owned, message))
        return owned.vm

    async def preempt(self, zone: str, name: str) -> None:
        """Takes a machine away, as happens to spot machines: it is killed at once, and stays stopped with its disk."""
        await self.stop(zone, name, PREEMPTED)
        _log.info("CPU machine %s was preempted", name)

    async def start(self, zone: str, name: str) -> Vm:
        """Brings a stopped machine up again, on the same disk."""
        owned = self._get(zone, name)
        async with owned.lock:
            self._check_there(owned)
            owned.vm.intended = "running"
            if owned.life is None or owned.life.done():
                self._begin_life(owned)
        return owned.vm

    async def _stop(self, owned: _Owned, message: str) -> None:
        async with owned.lock:
            self._check_there(owned)
            owned.vm.intended = "stopped"
            self._become(owned.vm, "STOPPING", message)
            await self._halt(owned)
            self._become(owned.vm, "TERMINATED", message)

    async def _delete(self, owned: _Owned) -> None:
        vm = owned.vm
        async with owned.lock:
            if (vm.zone, vm.name) not in self._owned:
                return  # somebody else was as quick
            await self._halt(owned)
            await self._host.wipe(vm.id)
            self.bill.close(vm.id, "disk")
            self._records.delete(Vm, vm.id)
            del self._owned[vm.zone, vm.name]
        await self._events.publish("cpu_machine.deleted", machine=vm.name)

    async def _halt(self, owned: _Owned) -> None:
        if owned.life is not None:
            owned.life.cancel()
            await asyncio.wait([owned.life])
            owned.life = None
        await self._host.stop(owned.vm.id)
        self.bill.close(owned.vm.id, "cpu")

    async def _live(self, vm: Vm) -> None:
        """A machine's life: provisioning, running, and its end if it comes by itself."""
        await asyncio.sleep(self._profile.cpu_delay(self._seed, vm.id))
        try:
            port = await self._host.boot(vm.spec())
        except (BootFailed, OSError) as error:
            _log.error("CPU machine %s did not boot: %s", vm.name, error)
            words = [shortage(self.state_dir), f"The machine did not boot: {error}"]
            self._become(vm, "TERMINATED", " ".join(filter(None, words)))
            return
        vm.ssh_port = port
        self.bill.open(vm.id, "cpu", vm.hourly_usd, self._description(vm))
        self._become(vm, "RUNNING", "")
        _log.info("CPU machine %s runs on port %s", vm.name, port)
        await self._events.publish("cpu_machine.running", machine=vm.name)
        code = await self._host.ended(vm.id)
        await self._host.stop(vm.id)
        self.bill.close(vm.id, "cpu")
        _log.warning("CPU machine %s ended by itself (%s)", vm.name, in_words(code))
        self._become(vm, "TERMINATED", f"The machine ended by itself ({in_words(code)}).")

    def _begin_life(self, owned: _Owned) -> None:
        self._become(owned.vm, "PROVISIONING", "")
        owned.life = self._tasks.begin(self._live(owned.vm))

    def _become(self, vm: Vm, status: Any, message: str) -> None:
        vm.status, vm.status_message = status, message
        self._records.put(vm.id, vm)

    def _bill_disk(self, vm: Vm) -> None:
        self.bill.open(vm.id, "disk", vm.disk_hourly_usd, self._description(vm))

    def _description(self, vm: Vm) -> str:
        return f"{vm.name}, {vm.machine_type}{' spot' if vm.spot else ''}, {vm.disk_gb} GB"

    def _get(self, zone: str, name: str) -> _Owned:
        owned = self._owned.get((zone, name))
        if owned is None:
            raise Refused(404, "notFound", f"The resource 'zones/{zone}/instances/{name}' was not found")
        return owned

    def _check_there(self, owned: _Owned) -> None:
        if owned.vm.intended == "deleted" or (owned.vm.zone, owned.vm.name) not in self._owned:
            raise Refused(
                404, "notFound", f"The resource 'zones/{owned.vm.zone}/instances/{owned.vm.name}' was not found"
            )

    async def _beat(self) -> None:
        while True:
            self.bill.beat()
            await asyncio.sleep(HEARTBEAT)
