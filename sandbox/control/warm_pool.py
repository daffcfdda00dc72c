"""The warm pool: for a machine whose strategy it is, a second GPU machine runs and is kept in step with it.

Which machines have one follows from the settings alone: this loop sees to it, and to the end of those nobody wants.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from sandbox import trees
from sandbox.control import sync
from sandbox.control.defaults import DEFAULT_DISK, DEFAULT_IMAGE
from sandbox.control.errors import ApiError
from sandbox.control.failover_settings import FailoverSettings
from sandbox.control.fleet import Fleet, Status, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance, Rent
from sandbox.control.offers import Offer, OfferQuery, search, why_none
from sandbox.control.race import Races
from sandbox.control.ssh import Machine

EVERYTHING: tuple[str, ...] = ()  # what is left out of the copy
LOOK = 0.5  # seconds between two looks at what is wanted
LEAST_PAUSE = 0.1  # seconds between two syncs
AGAIN_AFTER = 10.0  # seconds until a warm machine that did not come up is tried again
DEARER = 1.5  # times the price of its machine that a warm one may cost
AT_ONCE = 4  # copies that run at the same time
ALIVE: tuple[Status, ...] = ("running", "idle", "failed", "failing_over", "lost", "migrating", "hibernating")
TENDED: tuple[Status, ...] = ("running", "idle", "failed")

_log = logging.getLogger(__name__)


class WarmMachine(BaseModel):
    """The second machine of a machine. Times are epoch seconds."""

    token: str = Field(default_factory=lambda: uuid.uuid4().hex)
    gpu_instance_id: int
    state: Literal["provisioning", "syncing", "ready", "taking_over", "removing", "error"] = "provisioning"
    race_id: str | None = None
    warm_instance_id: int | None = None
    gpu_name: str | None = None
    hourly_usd: float | None = None
    copied_from: float | None = None  # begin of the last pull that was whole
    copy_is_whole: bool = False
    synced_from: float | None = None  # the warm machine is of that moment
    last_sync_at: float | None = None
    last_sync_seconds: float | None = None
    sync_count: int = 0
    error: str | None = None
    error_at: float = 0

    def public(self) -> dict[str, Any]:
        lag = None if self.synced_from is None else round(max(0.0, time.time() - self.synced_from), 3)
        hidden = {"token", "copied_from", "copy_is_whole", "synced_from", "error_at"}
        return self.model_dump(exclude=hidden) | {"lag_seconds": lag}


class WarmPool:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        races: Races,
        settings: FailoverSettings,
        *,
        copies: Path,
        interval: float,
    ) -> None:
        """`copies`: the folder for what is on its way; `interval`: seconds between two syncs."""
        self._fleet = fleet
        self._records = fleet.records
        self._market = market
        self._machines = machines
        self._races = races
        self._settings = settings
        self._copies = copies
        self._interval = interval
        self._warm = {one.gpu_instance_id: one for one in self._records.all(WarmMachine)}
        self._work: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def get(self, gpu_instance_id: int) -> WarmMachine | None:
        return self._warm.get(gpu_instance_id)

    def machine_ids(self) -> set[int]:
        """The warm machines, which belong to no user yet."""
        return {one.warm_instance_id for one in self._warm.values() if one.warm_instance_id is not None}

    def serves(self, instance_id: int) -> int | None:
        """The machine whose warm machine this is."""
        return next((one.gpu_instance_id for one in self._warm.values() if one.warm_instance_id == instance_id), None)

    async def keep(self) -> None:
        """Sees to it that there are the warm machines that the settings want, for as long as it is not cancelled."""
        while True:
            for machine in self._fleet:
                if self._is_due(machine):
                    self._begin(machine.instance_id, self._provision(machine.instance_id))
            for warm in list(self._warm.values()):
                if not self._is_wanted(warm.gpu_instance_id) and warm.state not in ("taking_over", "removing"):
                    await self._stop_work(warm.gpu_instance_id)
                    self._become(warm, "removing")
                if warm.state == "removing" and warm.gpu_instance_id not in self._work:
                    self._begin(warm.gpu_instance_id, self._remove(warm))
                elif warm.state in ("syncing", "ready") and warm.gpu_instance_id not in self._work:
                    self._begin(warm.gpu_instance_id, self._mirror(warm))
            await asyncio.sleep(LOOK)

    async def settle(self) -> None:
        """What was being provisioned has been given back with its race."""
        for warm in list(self._warm.values()):
            race = self._races.get(warm.race_id) if warm.race_id else None
            if warm.state == "provisioning" and race is not None and race.winner_id is not None:
                warm.warm_instance_id = race.winner_id
                await self._remove(warm)
            elif warm.state in ("provisioning", "error"):
                self._forget(warm)

    async def close(self) -> None:
        tasks = list(self._work.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def end(self, gpu_instance_id: int) -> None:
        """Destroys the warm machine of a machine, if it has one, and sees it gone."""
        warm = self._warm.get(gpu_instance_id)
        if warm is not None:
            await self._stop_work(gpu_instance_id)
            await self._remove(warm)

    # --- failover ---

    async def take_over(self, gpu_instance_id: int) -> tuple[WarmMachine, str]:
        """Stops the mirroring; what had arrived here whole is brought to the warm machine first.

        Returns it and its state in words. Raises ApiError when it cannot take over.
        """
        warm = self._warm.get(gpu_instance_id)
        if warm is None or warm.warm_instance_id is None or warm.synced_from is None:
            raise ApiError(409, self.why_not(gpu_instance_id) or "")
        self._become(warm, "taking_over")
        await self._stop_work(gpu_instance_id)
        try:
            machine = await self._machine(warm)
            if warm.copy_is_whole and warm.copied_from != warm.synced_from:
                await sync.push(self._copy(warm), machine, excludes=EVERYTHING, thorough=True)
                warm.synced_from = warm.copied_from
                self._save(warm)
        except ApiError:
            self._become(warm, "syncing")  # it is not the one that takes over, and ends with the lost machine
            raise
        return warm, f"warm instance {warm.warm_instance_id} ({warm.gpu_name}) is in step"

    async def compare(self, warm: WarmMachine) -> tuple[int, int, str]:
        """Sees that the warm machine has what was last brought to it. Returns files, bytes and what was compared."""
        machine, copy = await self._machine(warm), self._copy(warm)
        if warm.copy_is_whole:
            differing = await sync.differences(machine, copy, from_machine=False, excludes=EVERYTHING)
            if differing:
                names = "; ".join(differing[: sync.NAMES_TOLD])
                raise ApiError(502, f"{machine.name} differs from what was brought to it: {names}")
            words = "compared with the last copy of the lost machine"
        else:
            words = "as the last finished sync left them (the next one was cut off by the loss)"
        found = await sync.pull(machine, copy, excludes=EVERYTHING)
        return found.files, found.bytes, words

    async def release(self, warm: WarmMachine) -> None:
        """The warm machine has become its user's machine."""
        self._forget(warm)
        await asyncio.to_thread(trees.remove, self._copy(warm), ignore_errors=True)

    def why_not(self, gpu_instance_id: int) -> str | None:
        """Why no warm machine could take over now; None when one could."""
        warm = self._warm.get(gpu_instance_id)
        if warm is None:
            return f"instance {gpu_instance_id} has no warm machine"
        if warm.synced_from is None:
            return f"its warm machine has not synced yet (state: {warm.state})" + (
                f": {warm.error}" if warm.error else ""
            )
        return None

    # --- the work behind it ---

    def _is_wanted(self, gpu_instance_id: int) -> bool:
        machine = self._fleet.get(gpu_instance_id)
        return (
            machine is not None and machine.status in ALIVE and self._settings.strategy(gpu_instance_id) == "warm_pool"
        )

    def _is_due(self, machine: TrackedMachine) -> bool:
        warm = self._warm.get(machine.instance_id)
        due = warm is None or (warm.state == "error" and time.time() > warm.error_at + AGAIN_AFTER)
        return (
            due
            and machine.instance_id not in self._work
            and machine.status in TENDED
            and self._is_wanted(machine.instance_id)
        )

    async def _provision(self, gpu_instance_id: int) -> None:
        race = self._races.order()
        warm = self._warm[gpu_instance_id] = WarmMachine(gpu_instance_id=gpu_instance_id, race_id=race.race_id)
        self._save(warm)
        try:
            instance, gpu = await self._machines.wait_ready(gpu_instance_id, self._races.ready_within)
            rent = Rent(
                image=instance.image_uuid or DEFAULT_IMAGE, disk=instance.disk_space or DEFAULT_DISK,
                label=instance.label,
            )  # fmt: skip
            won = await self._races.run(
                race, await self._offers(instance), lambda: self._offers(instance), rent, width=1
            )
            warm.warm_instance_id, warm.gpu_name = won.instance.id, won.instance.gpu_name
            warm.hourly_usd = won.instance.dph_total
            self._save(warm)
            await sync.mark(gpu, warm.token)
        except ApiError as error:
            await self._trouble(warm, error.message)
            return
        self._become(warm, "syncing")
        await self._mirror(warm)

    async def _offers(self, like: MarketInstance) -> list[Offer]:
        query = OfferQuery(
            gpu_name=like.gpu_name, max_price=(like.dph_total or 10.0) * DEARER, num_gpus=like.num_gpus or 1,
            min_disk=like.disk_space or DEFAULT_DISK, min_inet_down=0, limit=100,
        )  # fmt: skip
        found = await search(self._market, query)
        if not found:
            raise ApiError(503, await why_none(self._market, query))
        offers = [offer for offer in found if offer.machine_id != str(like.machine_id)]
        if not offers:
            raise ApiError(503, f"All offers for a warm machine are on the host of instance {like.id} itself")
        return offers

    async def _mirror(self, warm: WarmMachine) -> None:
        """Syncs, for as long as it is not cancelled."""
        while True:
            begun = time.monotonic()
            try:
                async with self._slots:
                    await self._sync(warm)
            except ApiError as error:
                if warm.error != error.message:
                    _log.warning("warm machine of instance %d: %s", warm.gpu_instance_id, error.message)
                warm.error = error.message
                self._save(warm)
                if warm.warm_instance_id is not None and await self._is_gone(warm.warm_instance_id):
                    with suppress(ApiError):  # should the market be wrong, it must not be rented beside the next one
                        await self._races.disposals.end(f"warm-{warm.token}", warm.warm_instance_id, "warm pool")
                    self._forget(warm)  # another one will be rented
                    return
            await asyncio.sleep(max(LEAST_PAUSE, self._interval - (time.monotonic() - begun)))

    async def _sync(self, warm: WarmMachine) -> None:
        """Two hops: the second only after a whole first one."""
        begun, begun_at, copy = time.monotonic(), time.time(), self._copy(warm)
        gpu = await self._machines.running(warm.gpu_instance_id, refusal=409)
        warm.copy_is_whole = False
        self._save(warm)
        await sync.mirror_down(gpu, copy, warm.token, excludes=EVERYTHING)
        warm.copied_from, warm.copy_is_whole = begun_at, True
        self._save(warm)
        await sync.mirror_up(copy, await self._machine(warm), excludes=EVERYTHING)
        warm.synced_from, warm.last_sync_at = begun_at, time.time()
        warm.last_sync_seconds = round(time.monotonic() - begun, 3)
        warm.sync_count, warm.error = warm.sync_count + 1, None
        self._become(warm, "ready")

    async def _machine(self, warm: WarmMachine) -> Machine:
        assert warm.warm_instance_id is not None  # noqa: S101 - who has synced was rented
        _, machine = await self._machines.wait_ready(warm.warm_instance_id, self._races.ready_within)
        return machine

    async def _is_gone(self, instance_id: int) -> bool:
        with suppress(ApiError):
            return await self._market.instance(instance_id) is None
        return False

    async def _trouble(self, warm: WarmMachine, words: str) -> None:
        _log.warning("warm machine of instance %d: %s", warm.gpu_instance_id, words)
        with suppress(ApiError):  # it is tried again in the background
            if warm.warm_instance_id is not None:
                await self._races.disposals.end(f"warm-{warm.token}", warm.warm_instance_id, "warm pool")
        warm.warm_instance_id, warm.error, warm.error_at = None, words, time.time()
        self._become(warm, "error")

    async def _remove(self, warm: WarmMachine) -> None:
        race = self._races.get(warm.race_id) if warm.race_id else None
        if race is not None and not race.over:
            await self._races.abandon(race, "The warm machine is not wanted any more")
        if warm.warm_instance_id is not None:
            await self._races.disposals.end(f"warm-{warm.token}", warm.warm_instance_id, "warm pool")
        await self.release(warm)

    def _begin(self, gpu_instance_id: int, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._work[gpu_instance_id] = task
        task.add_done_callback(lambda ended: self._ended(gpu_instance_id, ended))

    def _ended(self, gpu_instance_id: int, task: asyncio.Task[None]) -> None:
        if self._work.get(gpu_instance_id) is task:
            del self._work[gpu_instance_id]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("the warm machine of instance %d", gpu_instance_id, exc_info=error)

    async def _stop_work(self, gpu_instance_id: int) -> None:
        task = self._work.pop(gpu_instance_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    def _copy(self, warm: WarmMachine) -> Path:
        return self._copies / warm.token

    def _become(self, warm: WarmMachine, state: Any) -> None:
        warm.state = state
        self._save(warm)

    def _forget(self, warm: WarmMachine) -> None:
        if self._warm.get(warm.gpu_instance_id) is warm:
            del self._warm[warm.gpu_instance_id]
            self._records.delete(WarmMachine, warm.gpu_instance_id)

    def _save(self, warm: WarmMachine) -> None:
        """Nothing is written for one that was removed meanwhile."""
        if self._warm.get(warm.gpu_instance_id) is warm:
            self._records.put(warm.gpu_instance_id, warm)
