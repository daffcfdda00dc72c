"""Migration: a machine with another GPU takes a machine's place, with all of its workspace.

Most is copied while the old machine works. Then its processes are halted, the rest is copied, both sides are read and
compared, and only then the old machine is destroyed. Until then it can always go on.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import uuid
from collections.abc import Callable, Coroutine
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from sandbox import trees
from sandbox.control import sync
from sandbox.control.defaults import CUT, DEFAULT_DISK, DEFAULT_IMAGE
from sandbox.control.errors import ApiError
from sandbox.control.failover_record import RaceSummary, as_time
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, Rent
from sandbox.control.offers import Offer, OfferQuery, search, why_none
from sandbox.control.phases import Phased
from sandbox.control.race import WIDTH, Races
from sandbox.control.ssh import Machine
from sandbox.control.standby import Standbys
from sandbox.control.succession import Succession
from sandbox.control.together import Listeners
from sandbox.events import Events

ROUNDS = 3  # last copies at most, while somebody still changes files
EVERYTHING: tuple[str, ...] = ()  # what is left out of the copy

_QUIET = (files("sandbox.control") / "scripts" / "quiet.sh").read_text()
_log = logging.getLogger(__name__)


class MigrationWish(BaseModel):
    """The GPU that the machine shall have. Price in USD an hour. `gpu_name` is the other name of `gpu_type`.

    Only a GPU is a target, and the old machine always goes: two would diverge. Disk in GB; never
    less than that of the old one.
    """

    target_type: Literal["gpu"] = "gpu"
    auto_destroy_source: Literal[True] = True
    disk_size: float | None = Field(default=None, ge=10)
    gpu_type: str = ""
    gpu_name: str | None = Field(default=None, exclude=True)
    max_price: float = Field(default=10.0, gt=0)
    region: str | None = None
    strategy: Literal["race", "cheapest"] = "race"

    @model_validator(mode="after")
    def _is_named(self) -> MigrationWish:
        self.gpu_type = self.gpu_type or self.gpu_name or ""
        if not self.gpu_type:
            raise ValueError("gpu_type is missing: the GPU that the machine shall have")
        return self


class Migration(Phased):
    """One migration of one machine. `quiet_seconds`: how long the old machine was halted before it was replaced."""

    migration_id: str = Field(default_factory=lambda: uuid.uuid4().hex[:8])
    instance_id: int
    machine: TrackedMachine
    wish: MigrationWish
    race_id: str | None = None
    race: RaceSummary | None = None
    new_instance_id: int | None = None
    new_gpu_name: str | None = None
    new_hourly_usd: float | None = None
    files: int | None = None
    bytes: int | None = None
    quiet_seconds: float | None = None
    success: bool = False
    error: str | None = None
    failed_phase: str | None = None

    def public(self) -> dict[str, Any]:
        """As the API tells it. Times in milliseconds and seconds, sizes in bytes."""
        return {
            "migration_id": self.migration_id,
            "instance_id": self.instance_id,
            "old_instance_id": self.instance_id,
            "label": self.machine.label,
            "old_gpu_name": self.machine.gpu_name,
            "gpu_type": self.wish.gpu_type,
            "max_price": self.wish.max_price,
            "phase": self.phase,
            "started_at": as_time(self.phases[0].entered.epoch),
            "completed_at": as_time(self.phases[-1].entered.epoch) if self.over else None,
            "success": self.success,
            "new_instance_id": self.new_instance_id,
            "new_gpu_name": self.new_gpu_name,
            "new_hourly_usd": self.new_hourly_usd,
            "files": self.files,
            "bytes": self.bytes,
            "quiet_seconds": self.quiet_seconds,
            "error": self.error,
            "failed_phase": self.failed_phase,
            "race": self.race.model_dump() if self.race else None,
            "phases": self.shown_phases(),
            "phase_timings_ms": self.timings_ms,
            "total_time_ms": self.total_ms if self.over else None,
        }


class Migrations:
    """Phases: searching_gpu, provisioning, copying, final_sync, verifying, switching, complete or failed."""

    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        races: Races,
        standbys: Standbys,
        succession: Succession,
        events: Events,
        copies: Path,
    ) -> None:
        """`copies`: the folder for what is on its way."""
        self._fleet = fleet
        self._records = fleet.records
        self._market = market
        self._machines = machines
        self._races = races
        self._standbys = standbys
        self._succession = succession
        self._events = events
        self._copies = copies
        self._running: dict[int, tuple[Migration, asyncio.Task[None]]] = {}
        self._steps: dict[str, Callable[[Migration], Coroutine[None, None, None]]] = {
            "searching_gpu": self._search,
            "provisioning": self._provision,
            "copying": self._copy,
            "final_sync": self._copy_the_rest,
            "verifying": self._verify,
            "switching": self._switch,
        }
        self.listeners: Listeners[dict[str, Any]] = Listeners()
        self._cut = [one for one in self._records.all(Migration) if not one.over]

    def get(self, migration_id: str) -> Migration:
        migration = self._records.get(Migration, migration_id)
        if migration is None:
            raise ApiError(404, f"Migration {migration_id} not found")
        return migration

    def of(self, instance_id: int) -> Migration | None:
        """The migration that goes on with a machine, as the old one or the new one."""
        return next(
            (one for one, _ in self._running.values() if instance_id in (one.instance_id, one.new_instance_id)), None
        )

    def replaced_by(self, instance_id: int) -> int | None:
        """The machine whose place this one is taking just now."""
        migration = self.of(instance_id)
        return migration.instance_id if migration and migration.new_instance_id == instance_id else None

    def last_of(self, instance_id: int) -> Migration | None:
        found = [one for one in self._records.all(Migration) if one.instance_id == instance_id]
        return max(found, key=lambda one: one.phases[0].entered.epoch, default=None)

    def fate(self, instance_id: int) -> str | None:
        """What became of a machine that was migrated, for whoever asks for it."""
        last = self.last_of(instance_id)
        if last is None or not last.success:
            return None
        return f"it was migrated to instance {last.new_instance_id} ({last.new_gpu_name})"

    async def order(self, instance_id: int, wish: MigrationWish) -> Migration:
        """Begins a migration. Raises ApiError: 404 no such machine, 409 it does not run or is busy."""
        instance = await self._machines.instance(instance_id)
        if not instance.is_running:
            raise ApiError(409, f"Instance {instance_id} is not running (status: {instance.actual_status})")
        if instance_id in self._running:
            running = self._running[instance_id][0]
            raise ApiError(
                409, f"Instance {instance_id} is migrating already: {running.migration_id} is {running.phase}",
                migration_id=running.migration_id,
            )  # fmt: skip
        self._fleet.refuse_while_busy(instance_id)
        machine = self._fleet.get(instance_id) or self._fleet.add(TrackedMachine.of(instance))
        machine.describe(instance)
        migration = Migration(instance_id=instance_id, machine=machine.model_copy(), wish=wish)
        machine.status, machine.error = "migrating", None
        self._fleet.save(machine)
        migration.enter("searching_gpu")
        self._save(migration)
        task = asyncio.create_task(self._run(migration))
        self._running[instance_id] = (migration, task)
        task.add_done_callback(lambda _: self._running.pop(instance_id, None))
        return migration

    async def estimate(self, instance_id: int, wish: MigrationWish) -> dict[str, Any]:
        """What a migration would come to. How long is what the past ones took; null when there was none."""
        instance = await self._machines.instance(instance_id)
        query = self._query(TrackedMachine.of(instance), wish)
        offers = await search(self._market, query)
        past = [one.total_ms for one in self._records.all(Migration) if one.success]
        error = None if offers else await why_none(self._market, query)
        if not instance.is_running:
            error = f"Instance {instance_id} is not running (status: {instance.actual_status})"
        best = offers[0] if offers else None
        return {
            "available": error is None,
            "error": error,
            "source": {"id": instance_id, "gpu_name": instance.gpu_name, "dph_total": instance.dph_total},
            "target": {"gpu_name": best.gpu_name, "dph_total": best.dph_total, "offer_id": best.id} if best else None,
            "estimated_time_minutes": round(statistics.median(past) / 60_000, 3) if past else None,
            "estimated_from_migrations": len(past),
            "offers_available": len(offers),
        }

    async def settle(self) -> None:
        """Ends what the last run of this process left: forward when the old machine is gone already, else back."""
        while self._cut:
            migration = self._cut[0]
            if migration.phase == "switching" and await self._market.instance(migration.instance_id) is None:
                await self._switch(migration)
            else:
                race = self._races.get(migration.race_id) if migration.race_id else None
                migration.new_instance_id = migration.new_instance_id or (race.winner_id if race else None)
                await self._give_up(migration, CUT)
            self._cut.pop(0)
        await asyncio.to_thread(trees.remove, self._copies, ignore_errors=True)

    async def cancel(self, instance_id: int) -> None:
        """Ends a migration for the user who wants the machine gone instead."""
        if instance_id in self._running:
            migration, task = self._running[instance_id]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            race = self._races.get(migration.race_id) if migration.race_id else None
            if race is not None and not race.over:
                await self._races.abandon(race, "The machine was not wanted any more")
            await self._give_up(migration, "The machine was destroyed by its user")

    async def close(self) -> None:
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, migration: Migration) -> None:
        try:
            while not migration.over:
                await self._tell(migration)
                await self._steps[migration.phase](migration)
            await self._tell(migration)
        except ApiError as error:
            await self._give_up(migration, error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the migration must end, and nothing rented may stay
            _log.exception("migration %s", migration.migration_id)
            await self._give_up(migration, f"Internal error: {error!r}")

    async def _search(self, migration: Migration) -> None:
        offers = await self._offers(migration)
        if not offers:
            raise ApiError(503, await why_none(self._market, self._query(migration.machine, migration.wish)))
        migration.note(f"{len(offers)} offers with {migration.wish.gpu_type}")
        self._enter(migration, "provisioning")

    async def _provision(self, migration: Migration) -> None:
        machine = migration.machine
        race = self._races.order()
        migration.race_id = race.race_id
        self._save(migration)
        query = self._query(machine, migration.wish)
        rent = Rent(image=machine.image or DEFAULT_IMAGE, disk=query.min_disk, label=machine.label)
        width = WIDTH if migration.wish.strategy == "race" else 1
        try:
            won = await self._races.run(
                race, await self._offers(migration), lambda: self._offers(migration), rent, width=width
            )
        finally:
            migration.race = RaceSummary.of(race)
        migration.race = RaceSummary.of(race)
        migration.new_instance_id, migration.new_gpu_name = won.instance.id, won.instance.gpu_name
        migration.new_hourly_usd = won.instance.dph_total
        migration.note(f"instance {won.instance.id} answered SSH first of {len(race.candidates)}")
        self._enter(migration, "copying")

    async def _copy(self, migration: Migration) -> None:
        """While the old machine works: what changes meanwhile comes with the last copy."""
        old, new = await self._both(migration)
        copied = await self._hops(migration, old, new)
        migration.note(f"{copied.files} files, {copied.bytes} bytes, while instance {migration.instance_id} worked")
        self._enter(migration, "final_sync")

    async def _copy_the_rest(self, migration: Migration) -> None:
        old, new = await self._both(migration)
        await old.run(_QUIET, "STOP")
        copied = await self._hops(migration, old, new)
        migration.files, migration.bytes = copied.files, copied.bytes
        migration.note(f"its processes are halted; {len(copied.changes)} changes were left to copy")
        self._enter(migration, "verifying")

    async def _verify(self, migration: Migration) -> None:
        """Reads all of both sides. Whoever can log in can still change files: then it is copied again."""
        old, new = await self._both(migration)
        copy = self._copies / migration.migration_id
        for _ in range(ROUNDS):
            found = await asyncio.gather(
                sync.differences(old, copy, from_machine=True, excludes=EVERYTHING),
                sync.differences(new, copy, from_machine=False, excludes=EVERYTHING),
            )
            if not any(found):
                migration.note(f"{migration.files} files are equal on both machines")
                self._enter(migration, "switching")
                return
            copied = await self._hops(migration, old, new, thorough=True)
            migration.files, migration.bytes = copied.files, copied.bytes
        what = "; ".join([name for names in found for name in names][: sync.NAMES_TOLD])
        raise ApiError(409, f"The workspace of instance {migration.instance_id} kept changing: {what}")

    async def _switch(self, migration: Migration) -> None:
        """Nothing is lost from here on: the new machine has all. May be repeated once the old one is gone."""
        old_id, new_id = migration.instance_id, migration.new_instance_id
        assert new_id is not None  # noqa: S101 - it was rented
        instance, _ = await self._machines.wait_ready(new_id, self._races.ready_within)
        await self._market.destroy(old_id)
        migration.note(f"the market no longer has instance {old_id}")
        if not await self._succession.take_place(migration.machine, instance):
            migration.note("the agent is tried again")
        if self._standbys.get(old_id) is not None:
            await self._standbys.follow(old_id, new_id)
            migration.note("the standby mirrors the new machine")
        halted = next((one.entered for one in migration.phases if one.phase == "final_sync"), None)
        migration.success = True
        self._enter(migration, "complete")
        if halted is not None:
            migration.quiet_seconds = round(halted.until(migration.phases[-1].entered), 3)
            self._save(migration)
        self._fleet.remove(old_id)
        await self._forget_copy(migration)

    async def _hops(self, migration: Migration, old: Machine, new: Machine, *, thorough: bool = False) -> sync.Copied:
        copy = self._copies / migration.migration_id
        await sync.pull(old, copy, excludes=EVERYTHING, thorough=thorough)
        return await sync.push(copy, new, excludes=EVERYTHING, thorough=thorough)

    async def _both(self, migration: Migration) -> tuple[Machine, Machine]:
        assert migration.new_instance_id is not None  # noqa: S101 - it was rented
        old = await self._machines.running(migration.instance_id, refusal=409)
        return old, await self._machines.running(migration.new_instance_id, refusal=502)

    def _query(self, machine: TrackedMachine, wish: MigrationWish) -> OfferQuery:
        return OfferQuery(
            gpu_name=wish.gpu_type, region=wish.region, max_price=wish.max_price,
            min_disk=max(wish.disk_size or 0.0, machine.disk_space or DEFAULT_DISK), num_gpus=machine.num_gpus or 1,
            min_inet_down=0, limit=100,
        )  # fmt: skip

    async def _offers(self, migration: Migration) -> list[Offer]:
        return await search(self._market, self._query(migration.machine, migration.wish))

    async def _give_up(self, migration: Migration, words: str) -> None:
        """The old machine goes on as before, and the new one is destroyed: unless nobody can tell whether the old one
        is gone, then both stay."""
        phase, old_id, new_id = migration.phase, migration.instance_id, migration.new_instance_id
        left = await self._old_machine(migration)
        if isinstance(left, str) and phase == "switching":
            words += (
                f". Instance {new_id} has the whole workspace; whether instance {old_id} is gone is not known: {left}"
            )
        else:
            if new_id is not None:
                words += await self._destroyed(migration, new_id)
            words += f". Instance {old_id} goes on" if isinstance(left, Machine) else f". {left}"
        migration.error, migration.failed_phase = words, phase
        self._enter(migration, "failed")
        machine = self._fleet.get(old_id)
        if machine is not None:
            machine.status, machine.error = "running", words
            self._fleet.save(machine)
        _log.warning("migration %s of instance %d: %s", migration.migration_id, old_id, words)
        await self._forget_copy(migration)
        await self._tell(migration)

    async def _old_machine(self, migration: Migration) -> Machine | str:
        """Lets the old machine's processes go on. Returns it, or why that is not possible."""
        try:
            machine = await self._machines.running(migration.instance_id, refusal=409)
            await machine.run(_QUIET, "CONT")
        except ApiError as error:
            return error.message
        return machine

    async def _destroyed(self, migration: Migration, new_id: int) -> str:
        self._fleet.remove(new_id)
        try:
            await self._races.disposals.end(f"unused-{new_id}", new_id, f"migration {migration.migration_id}")
        except ApiError as error:
            return f". The new machine {new_id} could NOT be destroyed yet: {error.message}"
        return f". The new machine {new_id} was destroyed"

    async def _forget_copy(self, migration: Migration) -> None:
        await asyncio.to_thread(trees.remove, self._copies / migration.migration_id, ignore_errors=True)

    def _enter(self, migration: Migration, phase: str) -> None:
        migration.enter(phase)
        self._save(migration)

    def _save(self, migration: Migration) -> None:
        self._records.put(migration.migration_id, migration)
        self.listeners.tell(migration.public())

    async def _tell(self, migration: Migration) -> None:
        await self._events.publish(
            "migration.phase", migration_id=migration.migration_id, phase=migration.phase,
            instance_id=migration.instance_id, new_instance_id=migration.new_instance_id,
        )  # fmt: skip
