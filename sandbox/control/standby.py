"""CPU standbys: a machine of the CPU cloud for each GPU machine that is to survive its loss.

Every machine is a record before it is ordered, and is ordered under a name that the record holds. So whenever this
process is killed, the next one goes on with it, or deletes it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from sandbox import trees
from sandbox.control import sync
from sandbox.control.association import Association, Brought, StandbyConfig, machine_name
from sandbox.control.cpu_cloud import OWNER, CpuCloud, CpuMachine, CpuOrder, NameTaken
from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet
from sandbox.control.machines import NEVER_RUNS, Machines
from sandbox.control.market_client import MarketClient
from sandbox.control.process import Finished
from sandbox.control.ssh import Door, Machine, SshError
from sandbox.records import Records
from sandbox.tasks import Tasks, to_the_end

AT_ONCE = 4  # copies that run at the same time; each is a few processes, here and on the machines
LEAST_PAUSE = 0.1  # seconds between two syncs of one machine, when a sync takes longer than the interval
LONGEST_PAUSE = 5.0  # seconds between two tries, or the interval when that is longer, while syncs fail
UNTOUCHED = 20  # syncs that may find nothing new before the standby is compared again nevertheless
ROUNDS = 3  # copies at most, while the workspace of a standby keeps changing
CONFIG = "all"

_LOOK_AT_FILE = """
cd /workspace && [ -f "$1" ] || exit 44
md5sum <"$1" | cut -c 1-32
stat -L -c %.9Y -- "$1"
"""
_MISSING = 44

_log = logging.getLogger(__name__)


class Standbys:
    def __init__(
        self,
        records: Records,
        cloud: CpuCloud,
        market: MarketClient,
        machines: Machines,
        door: Door,
        fleet: Fleet,
        *,
        copies: Path,
        public_key: str,
        interval: float,
        ready_within: float,
    ) -> None:
        """`copies`: the folder for what is on its way; `public_key`: ours; `interval`: seconds between two syncs."""
        self._records = records
        self._cloud = cloud
        self._market = market
        self._machines = machines
        self._door = door
        self._fleet = fleet
        self._copies = copies
        self._public_key = public_key
        self._default_interval = interval
        self._ready_within = ready_within
        self._associations = {one.token: one for one in records.all(Association)}
        self._entered: dict[str, Machine] = {}  # the GPU machines, by token, for as long as they answer
        self._untouched: dict[str, int] = {}  # how often nothing new was found since the last comparison
        self._work: dict[str, asyncio.Task[None]] = {}  # provisioning, then mirroring
        self._tasks = Tasks("a standby", expected=ApiError)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._urgent_slots = asyncio.Semaphore(AT_ONCE)  # somebody waits for these: not behind all the mirrors
        self._configured = asyncio.Event()
        self.config = records.get(StandbyConfig, CONFIG) or StandbyConfig()

    # --- what others ask ---

    def get(self, gpu_instance_id: int) -> Association | None:
        return next((one for one in self._associations.values() if one.gpu_instance_id == gpu_instance_id), None)

    def all(self) -> list[Association]:
        return sorted(self._associations.values(), key=lambda one: one.begun_at)

    def known(self, gpu_instance_id: int) -> Association:
        """The association; 404 when there is none."""
        association = self.get(gpu_instance_id)
        if association is None:
            raise ApiError(404, f"Instance {gpu_instance_id} has no CPU standby")
        return association

    @property
    def interval(self) -> float:
        """Seconds from the begin of a sync to the begin of the next."""
        return self.config.sync_interval or self._default_interval

    def configure(self, config: StandbyConfig) -> None:
        """Holds for standbys made from now on; the interval for all, from the next sync on."""
        self.config = config
        self._records.put(CONFIG, config)
        self._configured.set()
        self._configured = asyncio.Event()

    # --- a standby's life ---

    async def settle(self) -> None:
        """Takes up what the last run of this process left, and deletes machines of ours that nobody knows of."""
        for association in self.all():
            if association.token not in self._work:
                await self._take_up(association)
        self._tasks.begin(self._delete_strangers())

    async def _delete_strangers(self) -> None:
        """Nothing else waits for this: the CPU cloud may be away."""
        while True:
            try:
                for machine in await self._cloud.machines():
                    owner = machine.labels.get(OWNER)
                    if owner is not None and owner not in self._associations:
                        _log.warning("CPU machine %s belongs to no standby: it is deleted", machine.name)
                        await self._cloud.delete(machine.zone, machine.name)
            except ApiError as error:
                _log.warning("looking for CPU machines that nobody knows of: %s", error.message)
                await asyncio.sleep(LONGEST_PAUSE)
            else:
                return

    async def _take_up(self, association: Association) -> None:
        if association.ending:
            association.removing = await self._market.instance(association.gpu_instance_id) is None
            association.ending = False
            self._save(association)
        if association.removing:
            self._tasks.begin(self._remove_at_last(association))
        elif association.state == "provisioning":
            self._begin(association, self._provision(association))
        elif association.gpu_failed:
            if association.state == "recovering":
                self._become(association, "failover_active")
        elif association.sync_enabled and association.machine_id is not None:
            self._begin(association, self._mirror(association))

    async def close(self) -> None:
        await self._tasks.close()
        await self._cloud.close()

    async def enable(self, gpu_instance_id: int) -> Association:
        """Notes that a machine shall have a standby, and begins to make it. One that failed is replaced.

        Raises:
            ApiError: 404 no such machine; 409 it is stopped or busy, or has a standby.
        """
        instance = await self._machines.instance(gpu_instance_id)
        if instance.intended_status == "stopped" or instance.actual_status in NEVER_RUNS:
            raise ApiError(
                409,
                f"Instance {gpu_instance_id} is not running (status: {instance.actual_status}): there is nothing to "
                "mirror",
            )
        self._fleet.refuse_while_busy(gpu_instance_id)
        old = self.get(gpu_instance_id)
        if old is not None:
            self._refuse_second(old)
            await self.remove(gpu_instance_id)
            if (other := self.get(gpu_instance_id)) is not None:  # somebody else was as quick
                self._refuse_second(other)
        config = self.config
        association = Association(
            gpu_instance_id=gpu_instance_id,
            machine_name=machine_name(instance.label, gpu_instance_id, time.time()),
            zone=config.gcp_zone,
            machine_type=config.gcp_machine_type,
            disk_gb=config.gcp_disk_size,
            spot=config.gcp_spot,
        )
        self._associations[association.token] = association
        self._save(association)
        self._begin(association, self._provision(association))
        return association

    def enable_when_wanted(self, gpu_instance_id: int) -> None:
        """For a machine that was just rented: gives it a standby in the background when all are to have one."""
        if self.config.enabled:
            self._tasks.begin(self.enable(gpu_instance_id))

    async def ready(self, gpu_instance_id: int) -> Association:
        """Waits until a standby is in step for the first time; raises why it is not."""
        while True:
            association = self.known(gpu_instance_id)
            if association.synced_from is not None:
                return association
            if association.sync_error is not None:
                raise ApiError(502, f"Instance {gpu_instance_id} has no working standby: {association.sync_error}")
            await asyncio.sleep(0.05)

    async def disable(self, gpu_instance_id: int, *, force: bool = False) -> None:
        """Deletes a standby and returns when its machine is gone.

        Raises:
            ApiError: 404 there is none; 409 it holds the only copy of a lost machine's workspace, and no `force`.
        """
        association = self.known(gpu_instance_id)
        if association.gpu_failed and association.can_serve and not force:
            raise ApiError(
                409,
                f"Standby {association.machine_name} holds the workspace of instance {gpu_instance_id}, which was lost "
                f"({association.failure_reason}): fail over first, or delete it by force",
            )
        await self.remove(gpu_instance_id)

    async def remove(self, gpu_instance_id: int) -> None:
        """Deletes a standby, whatever it is doing, and returns when its machine is gone. Nothing when there is none."""
        association = self.get(gpu_instance_id)
        if association is None:
            return
        association.removing = True
        self._save(association)
        try:
            await self._tasks.finish(self._remove(association))
        except ApiError as error:
            self._trouble(association, f"It could not be deleted yet: {error.message}", state="error")
            self._tasks.begin(self._remove_at_last(association))
            raise

    @asynccontextmanager
    async def leaving(self, gpu_instance_id: int) -> AsyncIterator[None]:
        """Within it a machine is destroyed on purpose: then its standby is deleted as well.

        A CPU cloud that does not answer then is asked again in the background: the machine is gone all the same.
        """
        association = self.get(gpu_instance_id)
        if association is not None:
            association.ending = True
            self._save(association)
        try:
            yield
        except BaseException:
            if association is not None:
                association.ending = False
                self._save(association)
            raise
        with suppress(ApiError):
            await self.remove(gpu_instance_id)

    async def pause(self, gpu_instance_id: int) -> None:
        """Stops syncing, and returns when nothing is under way any more. The standby keeps what it has."""
        association = self.known(gpu_instance_id)
        association.sync_enabled = False
        self._save(association)
        if association.state != "provisioning":
            await self._stop_work(association)

    async def resume(self, gpu_instance_id: int) -> None:
        """Syncs again, beginning now."""
        association = self.known(gpu_instance_id)
        if association.gpu_failed:
            raise ApiError(409, f"Instance {gpu_instance_id} was lost: there is nothing to mirror")
        if association.removing or (association.machine_id is None and association.state != "provisioning"):
            raise ApiError(409, f"Instance {gpu_instance_id} has no working standby: {association.sync_error}")
        association.sync_enabled = True
        self._save(association)
        if association.token not in self._work:
            self._begin(association, self._mirror(association))

    async def verify(self, gpu_instance_id: int, filename: str) -> dict[str, Any]:
        """Looks at one file of the workspace on both machines.

        Raises:
            ApiError: 400 no such path can be; 404 neither has it; 409 the standby is not there yet; 502 no look at it.
        """
        association = self.known(gpu_instance_id)
        path = PurePosixPath(filename)
        if path.is_absolute():
            if not path.is_relative_to(sync.WORKSPACE):
                raise ApiError(400, f"{filename} is not in {sync.WORKSPACE}")
            path = path.relative_to(sync.WORKSPACE)
        if not path.parts or ".." in path.parts or "\0" in filename:
            raise ApiError(400, f"{filename!r} is no file of {sync.WORKSPACE}")
        standby = self.standby_machine(association)
        standby_md5, standby_mtime = _read(standby, await standby.run(_LOOK_AT_FILE, str(path), within=600))
        gpu_md5 = gpu_error = None
        try:
            gpu = await self._gpu(association)
            gpu_md5, _ = _read(gpu, await gpu.run(_LOOK_AT_FILE, str(path), within=600))
        except ApiError as error:
            gpu_error = error.message
        if standby_md5 is None and gpu_md5 is None and gpu_error is None:
            raise ApiError(404, f"Neither instance {gpu_instance_id} nor its standby has {sync.WORKSPACE}/{path}")
        return {
            "filename": str(path),
            "synced": gpu_md5 is not None and gpu_md5 == standby_md5,
            "gpu_md5": gpu_md5,
            "standby_md5": standby_md5,
            "standby_mtime": standby_mtime,
            "excluded": sync.is_excluded(path),
            "gpu_error": gpu_error,
        }

    # --- failover ---

    async def fail_over(self, gpu_instance_id: int, reason: str) -> None:
        """Notes that the GPU machine is lost: from now on the standby's workspace is the one that counts.

        What had arrived here whole, and had not reached the standby, is brought there first. May be repeated.

        Raises:
            ApiError: the standby cannot serve; the message says why. The GPU machine counts as lost nevertheless.
        """
        association = self.known(gpu_instance_id)
        if not association.gpu_failed:
            association.gpu_failed, association.failure_reason, association.failed_at = True, reason, time.time()
            self._save(association)
        await self._stop_work(association)
        if not association.can_serve and not (association.copy_is_whole and association.machine_id is not None):
            self._trouble(association, "It never finished a sync", state="error")
            raise ApiError(
                409, f"Standby {association.machine_name} of instance {gpu_instance_id} never finished a sync"
            )
        try:
            await self.until_it_answers(association)  # it may be coming up again just now, as this process is
            if association.state == "failover_active":
                return
            standby = self.standby_machine(association)
            if association.copy_is_whole and association.copied_from != association.synced_from:
                await sync.push(self._copy(association), standby, thorough=True)
                association.synced_from = association.copied_from
            await sync.mark_serving(standby, serving=True)
        except ApiError as error:
            words = await self._about_standby(association, error.message)
            self._trouble(association, words, state="error")
            raise ApiError(502, words) from error
        assert association.failed_at is not None and association.synced_from is not None  # noqa: S101, PT018 - set above
        association.lag_at_failure = round(max(0.0, association.failed_at - association.synced_from), 3)
        association.sync_error = None
        self._become(association, "failover_active")

    async def bring_back(self, association: Association, machine: Machine) -> Brought:
        """Brings the standby's workspace onto a new GPU machine, and reads both sides to see that nothing differs.

        Raises:
            ApiError: it did not arrive whole. The standby serves on.
        """
        standby = self.standby_machine(association)
        self._become(association, "recovering")
        try:
            return await self._bring_back(association, standby, machine)
        except ApiError:
            self._become(association, "failover_active")
            raise

    async def _bring_back(self, association: Association, standby: Machine, machine: Machine) -> Brought:
        copy, begun = self._copy(association), time.monotonic()
        for number in range(ROUNDS):
            begun_at, again = time.time(), number > 0
            async with self._urgent_slots:
                # The standby has what was brought to it from here, unless somebody has changed it: that is seen below.
                known = association.copy_is_whole and not again
                association.copy_is_whole = False
                self._save(association)
                if not known:
                    await sync.pull(standby, copy, thorough=again)
                copied = await sync.push(copy, machine, thorough=again)
                changed, different = await asyncio.gather(
                    sync.differences(standby, copy, from_machine=True),
                    sync.differences(machine, copy, from_machine=False),
                )
            if not changed and not different:
                association.brought_to, association.brought_from = machine.instance_id, begun_at
                self._save(association)
                return Brought(copied.files, copied.bytes, round(time.monotonic() - begun, 3))
        what = "; ".join([*different, *changed][: sync.NAMES_TOLD])
        raise ApiError(502, f"{machine.name} still differs from its standby after {ROUNDS} copies: {what}")

    async def why_not_serving(self, association: Association) -> str | None:
        """Looks whether the standby of a lost machine serves its workspace: why it does not; None when it does."""
        if await _answers(association):
            return None
        words = await self._about_standby(association, f"Standby {association.machine_name} does not answer SSH")
        self._trouble(association, words, state="error")
        return words

    async def follow(self, gpu_instance_id: int, new_gpu_instance_id: int) -> None:
        """From now on the standby mirrors another machine, whatever that holds; sync goes on."""
        association = self.known(gpu_instance_id)
        await self._stop_work(association)
        machine = self._machines.enter(await self._machines.instance(new_gpu_instance_id))
        await sync.mark(machine, association.token)
        association.gpu_instance_id = new_gpu_instance_id
        association.gpu_failed, association.failure_reason, association.failed_at = False, None, None
        association.lag_at_failure, association.sync_error = None, None
        association.copied_from, association.copy_is_whole = None, False
        # What was brought back is on both; anything else is not known to be on the standby yet.
        known = association.brought_to == new_gpu_instance_id
        association.synced_from = association.brought_from if known else None
        association.brought_to = association.brought_from = None
        association.sync_enabled = True
        self._entered.pop(association.token, None)
        self._untouched.pop(association.token, None)
        self._become(association, "syncing")
        try:
            await sync.mark_serving(self.standby_machine(association), serving=False)
        except ApiError as error:
            _log.warning("standby %s: %s", association.machine_name, error.message)  # the sync will tell
        self._begin(association, self._mirror(association))

    def standby_machine(self, association: Association) -> Machine:
        """The CPU machine, to be entered; 409 when it is not there (yet)."""
        if association.machine_id is None or association.ip is None or association.ssh_port is None:
            raise ApiError(
                409,
                f"The standby of instance {association.gpu_instance_id} is not there yet (state: {association.state})",
            )
        return self._door.standby(
            association.machine_id, association.machine_name, association.ip, association.ssh_port
        )

    # --- the work behind it ---

    def _refuse_second(self, association: Association) -> None:
        gpu = association.gpu_instance_id
        if association.gpu_failed:
            raise ApiError(409, f"Instance {gpu} was lost; standby {association.machine_name} serves its workspace")
        if association.removing:
            raise ApiError(409, f"The standby of instance {gpu} is being deleted: wait until that has ended")
        if association.state != "error":
            raise ApiError(
                409,
                f"Instance {gpu} has a standby already: {association.machine_name} (state: {association.state})",
            )

    async def _provision(self, association: Association) -> None:
        try:
            await self._machines.wait_ready(association.gpu_instance_id, self._ready_within)
            cpu = await to_the_end(self._order(association))
            association.machine_id, association.hourly_usd = cpu.id, cpu.hourly_usd
            self._save(association)
            await self.until_it_answers(association)
            await sync.mark(await self._gpu(association), association.token)
        except Exception as error:  # noqa: BLE001 - whatever it is, no machine is left and it is told
            await self._give_up(association, _words(error))
            return
        self._become(association, "syncing")
        if association.sync_enabled:
            await self._mirror(association)

    async def _order(self, association: Association) -> CpuMachine:
        keys = dict.fromkeys([self._public_key, *await self._market.ssh_keys()])
        while True:
            order = CpuOrder(
                name=association.machine_name, zone=association.zone, machine_type=association.machine_type,
                disk_gb=association.disk_gb, spot=association.spot, owner=association.token, ssh_keys=list(keys),
            )  # fmt: skip
            try:
                return await self._cloud.create(order)
            except NameTaken:  # another one with this label, in the same second
                stem, _, epoch = association.machine_name.rpartition("-")
                association.machine_name = f"{stem}-{int(epoch) + 1}"
                self._save(association)

    async def until_it_answers(self, association: Association) -> None:
        """Waits until the CPU machine runs and answers SSH."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            cpu = await self._cloud.machine(association.zone, association.machine_name)
            if cpu is None:
                raise ApiError(502, f"The CPU cloud no longer has standby {association.machine_name}")
            seen = f"status: {cpu.status}"
            if cpu.status in ("TERMINATED", "STOPPING"):
                raise ApiError(502, f"Standby {cpu.name} does not run ({seen}; {cpu.status_message})")
            if cpu.is_running:
                self._note_address(association, cpu)
                try:
                    await self.standby_machine(association).run("true", within=10)
                except SshError as error:
                    seen = error.message
                else:
                    return
            waited = loop.time() - begun
            if waited > self._ready_within:
                raise ApiError(504, f"Standby {cpu.name} was not ready after {waited:.0f} s ({seen})")
            await asyncio.sleep(min(2.0, max(0.05, waited / 20)))

    def _note_address(self, association: Association, cpu: CpuMachine) -> None:
        if (association.ip, association.ssh_port) != (cpu.ip, cpu.ssh_port):
            association.ip, association.ssh_port = cpu.ip, cpu.ssh_port
            self._save(association)

    async def _give_up(self, association: Association, words: str) -> None:
        """A standby that did not come up: its machine is deleted, the reason stays to be read."""
        _log.warning("standby of instance %d: %s", association.gpu_instance_id, words)
        try:
            await self._cloud.delete(association.zone, association.machine_name)
        except ApiError as error:
            words += f". Machine {association.machine_name} could NOT be deleted: {error.message}"
        else:
            words += ". Its CPU machine was deleted"
            association.machine_id = None
        self._trouble(association, words, state="error")

    async def _mirror(self, association: Association) -> None:
        """Syncs, for as long as it is not cancelled."""
        failures = 0
        while True:
            begun = time.monotonic()
            try:
                async with self._slots:
                    await self._sync(association)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and tried again
                failures += 1
                words = _words(error)
                if association.sync_error != words:
                    _log.warning("standby of instance %d: %s", association.gpu_instance_id, words)
                self._trouble(association, words)
                pause = max(self.interval, min(LEAST_PAUSE * failures, LONGEST_PAUSE))
            else:
                failures = 0
                pause = max(self.interval - (time.monotonic() - begun), LEAST_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._configured.wait()  # a new interval holds at once

    async def _sync(self, association: Association) -> None:
        """Two hops: the second only after a whole first one. One that failed is made up for before the next first."""
        begun = time.monotonic()
        waiting = association.copy_is_whole and association.copied_from != association.synced_from
        changed = True if waiting else await self._first_hop(association)
        await self._second_hop(association, changed=changed)
        association.synced_from, association.last_sync_at = association.copied_from, time.time()
        association.last_sync_seconds = round(time.monotonic() - begun, 3)
        association.sync_count += 1
        association.sync_error = None
        self._become(association, "ready")

    async def _first_hop(self, association: Association) -> bool:
        """From the GPU machine to here. Returns whether anything was new."""
        begun_at = time.time()
        association.copy_is_whole = False
        self._save(association)
        seen = self._untouched.pop(association.token, UNTOUCHED)  # what a pull that is cut off brings is not new later
        try:
            gpu = await self._gpu(association)
            copied = await sync.mirror_down(gpu, self._copy(association), association.token)
        except ApiError as error:
            self._entered.pop(association.token, None)  # its address may have changed
            raise ApiError(error.status, await self._about_gpu(association, error.message)) from error
        association.copied_from, association.copy_is_whole = begun_at, True
        self._save(association)
        self._untouched[association.token] = seen
        return bool(copied.changes)

    async def _second_hop(self, association: Association, *, changed: bool) -> None:
        """From here to the standby: when anything is new, and now and then to see that the standby is as it was."""
        seen = self._untouched.pop(association.token, UNTOUCHED)
        try:
            standby = self.standby_machine(association)
            if changed or seen >= UNTOUCHED or not await _answers(association):
                await sync.mirror_up(self._copy(association), standby)
                seen = 0
        except ApiError as error:
            words = await self._about_standby(association, error.message)
            self._become(association, "error")
            raise ApiError(error.status, words) from error
        self._untouched[association.token] = seen + 1

    async def _gpu(self, association: Association) -> Machine:
        machine = self._entered.get(association.token)
        if machine is None:
            machine = await self._machines.running(association.gpu_instance_id, refusal=409)
            self._entered[association.token] = machine
        return machine

    async def _about_gpu(self, association: Association, words: str) -> str:
        """Why the GPU machine could not be read, with what the market says of it."""
        try:
            instance = await self._market.instance(association.gpu_instance_id)
        except ApiError:
            return words
        if instance is None:
            return f"Instance {association.gpu_instance_id} is no longer at the market"
        if not instance.is_running:
            what = f"status: {instance.actual_status}; {instance.status_msg}"
            return f"Instance {association.gpu_instance_id} is not running ({what})"
        return words

    async def _about_standby(self, association: Association, words: str) -> str:
        """Why the standby could not be written, with what the CPU cloud says of it. Notes where it is now."""
        try:
            cpu = await self._cloud.machine(association.zone, association.machine_name)
        except ApiError as error:
            return f"{words}; {error.message}"
        name = association.machine_name
        remedy = "" if association.gpu_failed else ". Enable it again to have a new one"
        if cpu is None:
            return f"Standby {name} is gone: the CPU cloud no longer has it{remedy}"
        if not cpu.is_running:
            return f"Standby {name} is down (status: {cpu.status}; {cpu.status_message}){remedy}"
        self._note_address(association, cpu)
        return words

    async def _remove(self, association: Association) -> None:
        await self._stop_work(association)
        await self._cloud.delete(association.zone, association.machine_name)
        for memory in (self._entered, self._untouched, self._associations):
            memory.pop(association.token, None)
        self._records.delete(Association, association.token)
        await asyncio.to_thread(trees.remove, self._copy(association), ignore_errors=True)

    async def _remove_at_last(self, association: Association) -> None:
        """Tries until it is gone: nothing may bill for ever because the CPU cloud did not answer once."""
        while association.token in self._associations:
            try:
                await self._remove(association)
            except ApiError as error:
                _log.warning("deleting standby %s: %s", association.machine_name, error.message)
                await asyncio.sleep(LONGEST_PAUSE)

    def _begin(self, association: Association, work: Coroutine[None, None, None]) -> None:
        task = self._tasks.begin(work)
        self._work[association.token] = task

        def ended(_: asyncio.Task[None]) -> None:
            if self._work.get(association.token) is task:
                del self._work[association.token]

        task.add_done_callback(ended)

    async def _stop_work(self, association: Association) -> None:
        task = self._work.pop(association.token, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _copy(self, association: Association) -> Path:
        return self._copies / association.token

    def _trouble(self, association: Association, words: str, *, state: str | None = None) -> None:
        association.sync_error = words
        if state == "error":
            association.state = "error"
        self._save(association)

    def _become(self, association: Association, state: Any) -> None:
        association.state = state
        self._save(association)

    def _save(self, association: Association) -> None:
        """Nothing is written for one that was removed meanwhile."""
        if self._associations.get(association.token) is association:
            self._records.put(association.token, association)


def _words(error: Exception) -> str:
    return error.message if isinstance(error, ApiError) else f"Internal error: {error!r}"


def _read(machine: Machine, done: Finished) -> tuple[str | None, float | None]:
    if done.code == _MISSING:
        return None, None
    if done.code:
        raise ApiError(502, f"{machine.name}: {done.words}")
    md5, mtime = done.stdout.decode().split()
    return md5, float(mtime)


async def _answers(association: Association) -> bool:
    """Whether an SSH server greets at the standby's address. It costs no process."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(association.ip, association.ssh_port)
            try:
                return (await reader.readline()).startswith(b"SSH-")
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return False
