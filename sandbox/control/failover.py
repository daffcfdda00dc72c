"""Failover: a machine that is lost is replaced by a new one that has its workspace.

A failover is a record from its first moment, and each of its phases may be begun again: so the engine goes on where
the last process was killed. Whatever goes wrong, nothing that it has rented stays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from sandbox.control.defaults import DEFAULT_DISK, DEFAULT_IMAGE
from sandbox.control.detection import Loss, Watch
from sandbox.control.errors import ApiError, not_found
from sandbox.control.failover_record import Failover, FailoverPhase, RaceSummary, Refusal
from sandbox.control.failover_settings import Strategy
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.homes import Homes
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance, Rent
from sandbox.control.offers import Offer, OfferQuery, search, why_none
from sandbox.control.phases import Moment
from sandbox.control.race import WIDTH, Races, Won
from sandbox.control.sources import Source
from sandbox.control.succession import Succession
from sandbox.control.together import Listeners
from sandbox.events import Events

DEARER = 2.0  # times the old price that a new machine may cost, unless the settings say it
HIGHEST_PRICE = 10.0  # USD an hour, when the old price is not known

# Which sources are tried, in this order.
SOURCES: Mapping[Strategy, tuple[str, ...]] = {
    "cpu_standby": ("cpu_standby", "snapshot"),
    "snapshot": ("snapshot",),
    "warm_pool": ("warm_pool", "cpu_standby", "snapshot"),
    "regional_volume": ("regional_volume", "cpu_standby", "snapshot"),
    "disabled": (),
}

_log = logging.getLogger(__name__)


class Failovers:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        succession: Succession,
        races: Races,
        homes: Homes,
        sources: list[Source],
        watch: Watch,
        events: Events,
    ) -> None:
        self._fleet = fleet
        self._records = fleet.records
        self._market = market
        self._machines = machines
        self._succession = succession
        self.races = races
        self._homes = homes
        self._standbys = homes.standbys
        self._sources: dict[str, Source] = {source.name: source for source in sources}
        self.settings = succession.settings
        self._watch = watch
        self._events = events
        self._running: dict[int, tuple[Failover, asyncio.Task[None]]] = {}
        self._steps: dict[str, Callable[[Failover], Coroutine[None, None, None]]] = {
            "detecting": self._detect,
            "gpu_lost": self._make_sure_it_is_gone,
            "failover_to_cpu": self._hand_over,
            "searching_gpu": self._search,
            "provisioning": self._provision,
            "restoring": self._restore,
        }
        self.listeners: Listeners[dict[str, Any]] = Listeners()
        self._cut = [one for one in self.all() if not one.over]

    # --- what others ask ---

    def all(self) -> list[Failover]:
        """The oldest first."""
        return sorted(self._records.all(Failover), key=lambda one: one.phases[0].entered.epoch)

    def get(self, failover_id: str) -> Failover:
        failover = self._records.get(Failover, failover_id)
        if failover is None:
            raise ApiError(404, f"Failover {failover_id} not found")
        return failover

    def active(self) -> list[Failover]:
        return [failover for failover, _ in self._running.values()]

    def of(self, instance_id: int) -> Failover | None:
        """The failover that replaces this machine now, or the last one that could not."""
        if instance_id in self._running:
            return self._running[instance_id][0]
        machine = self._fleet.get(instance_id)
        if machine is None or machine.status != "lost":
            return None
        return next((one for one in reversed(self.all()) if one.gpu_instance_id == instance_id), None)

    def replaced_by(self, instance_id: int) -> int | None:
        """The machine whose place this one is taking just now: it does not have all of the workspace yet."""
        return next((one.gpu_instance_id for one in self.active() if one.new_instance_id == instance_id), None)

    def fate(self, instance_id: int) -> str | None:
        """What became of a machine that failed over, for whoever asks for it."""
        last = next((one for one in reversed(self.all()) if one.gpu_instance_id == instance_id and one.over), None)
        if last is None:
            return None
        if last.success and last.new_instance_id:
            return f"it was lost, and failed over to instance {last.new_instance_id} (failover {last.failover_id})"
        return f"it was lost, and failover {last.failover_id} ended in {last.phase}" + (
            f": {last.error}" if last.error else ""
        )

    async def readiness(self, instance_id: int, strategy: Strategy | None = None) -> dict[str, str | None]:
        """For each source of the machine's strategy, or of another one, why it could not serve; None when it could."""
        sources = self._sources_of(strategy or self.settings.strategy(instance_id))
        return {source.name: await source.readiness(instance_id) for source in sources}

    async def until_over(self, failover: Failover) -> None:
        """Waits until a failover has ended, in whatever."""
        with self.listeners.listening() as told:
            while not failover.over:
                await told.get()

    def _sources_of(self, strategy: Strategy) -> list[Source]:
        return [self._sources[name] for name in SOURCES[strategy] if name in self._sources]

    async def _refuse_without_source(self, instance_id: int, strategy: Strategy) -> None:
        """One source that could serve is enough: the others are not looked at, for a look may take its time."""
        reasons = []
        for source in self._sources_of(strategy):
            reason = await source.readiness(instance_id)
            if reason is None:
                return
            reasons.append(reason)
        words = f"Instance {instance_id} has nothing to fail over to ({'; '.join(reasons)}). It was left as it is"
        raise ApiError(404, words)

    # --- beginnings ---

    async def order(
        self,
        instance_id: int,
        reason: str,
        *,
        with_restore: bool = True,
        with_new_gpu: bool = True,
        strategy: Strategy | None = None,
        gpu_names: Sequence[str] = (),
        max_price: float | None = None,
    ) -> Failover:
        """Ends a machine for real, and begins its failover. A machine that was lost before is given another one.

        `strategy`: another one than the machine's own, this time. `gpu_names`: what the new machine may be, else the
        same model or one with as much memory. `max_price`: of the new machine, USD an hour, else that of the settings.

        Raises:
            ApiError: 404 no such machine, or nothing it could come back from; 409 it is busy, also with a failover, or
                it shall not fail over. The machine is as it was.
        """
        moment = Moment()
        self._refuse_second(instance_id)
        instance = await self._market.instance(instance_id) or self.as_it_was(instance_id)
        if instance is None:
            raise not_found(instance_id)
        strategy = strategy or self.settings.strategy(instance_id)
        if strategy == "disabled":
            raise ApiError(409, f"Failover is disabled for instance {instance_id}")
        await self._refuse_without_source(instance_id, strategy)
        # Nothing is awaited from here to the record: of two orders at the same time one is refused.
        self._refuse_second(instance_id)
        self._fleet.refuse_while_busy(instance_id)
        return self._begin(
            instance, moment, reason=reason, strategy=strategy, ordered=True,
            with_restore=with_restore, with_new_gpu=with_new_gpu, gpu_names=tuple(gpu_names), max_price=max_price,
        )  # fmt: skip

    def as_it_was(self, instance_id: int) -> MarketInstance | None:
        """A machine that the market no longer has, and whose workspace is kept."""
        before = self.of(instance_id)
        if before is not None:
            return before.instance
        known = self._fleet.get(instance_id)
        if known is None and self._standbys.get(instance_id) is None:
            return None
        known = known or TrackedMachine(instance_id=instance_id)
        return MarketInstance(
            id=instance_id, label=known.label, image_uuid=known.image, disk_space=known.disk_space,
            gpu_name=known.gpu_name, num_gpus=known.num_gpus, dph_total=known.dph_total,
        )  # fmt: skip

    def is_protected(self, machine: TrackedMachine) -> bool:
        """Whether a machine fails over by itself when it is lost."""
        settings = self.settings
        strategy = settings.strategy(machine.instance_id)
        if not settings.for_all.auto_failover or not self._standbys.config.auto_failover or strategy == "disabled":
            return False
        association = self._standbys.get(machine.instance_id)
        if association is not None and association.can_serve:
            return True
        # A strategy that was chosen counts; that all machines have a default one does not make it wanted for each.
        return settings.of(machine.instance_id).own is not None

    def vanished(self, machine: TrackedMachine) -> bool:
        """The market no longer has a machine, and nobody here has ended it. True when it is remembered nevertheless:
        its workspace is somewhere else as well, and its owner says what shall become of it."""
        if not self._homes.keep(machine.instance_id) or machine.status not in ("running", "idle", "failed"):
            return False
        machine.status, machine.error = "lost", "It was destroyed at the market; its workspace is kept"
        self._fleet.save(machine)
        return True

    def lost(self, machine: TrackedMachine, instance: MarketInstance, loss: Loss) -> None:
        """A protected machine was seen to be lost: begins its failover."""
        if machine.instance_id in self._running or self._fleet.get(machine.instance_id) is not machine:
            return
        if machine.status not in ("running", "idle", "failed"):
            return
        _log.warning("instance %d is lost: %s", machine.instance_id, loss.words)
        strategy = self.settings.strategy(machine.instance_id)
        failover = self._begin(instance, Moment.at(loss.since), reason=loss.reason, strategy=strategy, ordered=False)
        failover.lost_at, failover.loss = loss.since, loss.words
        self._save(failover)

    def _begin(self, instance: MarketInstance, moment: Moment, **order: Any) -> Failover:
        machine = self._fleet.get(instance.id) or self._fleet.add(TrackedMachine.of(instance))
        machine.describe(instance)
        before = machine.model_copy()
        machine.status, machine.error = "failing_over", None
        self._fleet.save(machine)
        failover = Failover(gpu_instance_id=instance.id, machine=before, instance=instance, **order)
        failover.enter("detecting", moment)
        self._save(failover)
        self._go(failover)
        return failover

    def _refuse_second(self, instance_id: int) -> None:
        if instance_id in self._running:
            running = self._running[instance_id][0]
            raise ApiError(
                409, f"Instance {instance_id} is failing over already: {running.failover_id} is {running.phase}",
                failover_id=running.failover_id,
            )  # fmt: skip

    async def settle(self) -> None:
        """Goes on with what the last run of this process left. What its races had rented was given back before."""
        while self._cut:
            failover = self._cut.pop(0)
            failover.note("Dumont Cloud was started again")
            self._go(failover)
        for failover in self.all():
            machine = self._fleet.get(failover.gpu_instance_id)
            if failover.over and machine is not None and machine.status == "failing_over":
                self._end_old_machine(failover)  # the process was killed just before it would have done it

    async def cancel(self, instance_id: int) -> bool:
        """Ends a failover for the user who wants the machine gone instead. False when there is none."""
        if instance_id not in self._running:
            return False
        failover, task = self._running[instance_id]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        race = self.races.get(failover.race_id) if failover.race_id else None
        if race is not None and not race.over:
            await self.races.abandon(race, "The machine was not wanted any more")
        await self._give_up(failover, "The machine was destroyed by its user")
        return True

    async def close(self) -> None:
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the engine ---

    def _go(self, failover: Failover) -> None:
        task = asyncio.create_task(self._run(failover))
        self._running[failover.gpu_instance_id] = (failover, task)
        task.add_done_callback(lambda _: self._running.pop(failover.gpu_instance_id, None))

    async def _run(self, failover: Failover) -> None:
        try:
            await self._tell(failover)
            while not failover.over:
                await self._steps[failover.phase](failover)
        except ApiError as error:
            await self._give_up(failover, error.message)
        except Exception as error:  # noqa: BLE001 - whatever it is, the failover must end, and nothing rented may stay
            _log.exception("failover %s", failover.failover_id)
            await self._give_up(failover, f"Internal error: {error!r}")

    async def _detect(self, failover: Failover) -> None:
        """Of a machine that is to be lost by order, too: its loss is real, and is noticed as any other."""
        instance = failover.instance
        if failover.loss is None:
            failover.lost_at = failover.lost_at or time.time()
            self._save(failover)
            await self._market.destroy(instance.id)
            if instance.ssh_port is None:
                failover.loss = "the market does not have it"
            else:
                loss = await self._watch.until_silent(instance, failover.lost_at)
                failover.loss = loss.words
        failover.note(failover.loss)
        await self._enter(failover, "gpu_lost")

    async def _make_sure_it_is_gone(self, failover: Failover) -> None:
        """A machine that nobody can enter must not be paid for."""
        instance_id = failover.gpu_instance_id
        left = await self._market.instance(instance_id)
        if left is not None:
            await self.races.disposals.end(f"lost-{instance_id}", instance_id, f"failover {failover.failover_id}")
            failover.note(f"the market listed it as {left.actual_status}: it was destroyed")
        failover.note("the market no longer has it, its bill has ended")
        await self._enter(failover, "failover_to_cpu")

    async def _hand_over(self, failover: Failover) -> None:
        """Chooses what the workspace comes back from: the first source that can serve."""
        reasons = []
        for source in self._sources_of(failover.strategy):
            begun = time.monotonic()
            try:
                words = await source.take_over(failover)
            except ApiError as error:
                reasons.append(error.message)
                failover.note(error.message)
                failover.refusals[source.name] = Refusal(
                    error=error.message, seconds=round(time.monotonic() - begun, 6)
                )
                continue
            failover.data_source = source.name
            failover.note(words)
            await self._enter(failover, "searching_gpu" if failover.with_new_gpu else "complete")
            return
        raise ApiError(409, f"Nothing holds the workspace any more: {'; '.join(reasons)}")

    async def _search(self, failover: Failover) -> None:
        if (ready := self._source(failover).machine(failover)) is not None:
            failover.note(f"no search: instance {ready} is ready")
            await self._enter(failover, "provisioning")
            return
        offers = await self._offers(failover)
        if not offers:
            raise ApiError(503, await self._why_none(failover))
        model = failover.machine.gpu_name
        same = sum(offer.gpu_name == model for offer in offers)
        failover.note(f"{len(offers)} offers up to {self._price(failover):.4f} USD/h, {same} of them with {model}")
        await self._enter(failover, "provisioning")

    def _source(self, failover: Failover) -> Source:
        assert failover.data_source is not None  # noqa: S101 - it was chosen
        return self._sources[failover.data_source]

    async def _provision(self, failover: Failover) -> None:
        if (ready := self._source(failover).machine(failover)) is not None:
            instance, _ = await self._machines.wait_ready(ready, self.races.ready_within)
            failover.race = RaceSummary()
            failover.new_instance_id = ready
            failover.new_gpu_name, failover.new_hourly_usd = instance.gpu_name, instance.dph_total
            failover.note(f"instance {ready} answers SSH; nothing was rented")
            await self._enter(failover, "restoring")
            return
        race = self.races.get(failover.race_id) if failover.race_id else None
        if race is None or race.status != "won":
            race = self.races.order()
            failover.race_id = race.race_id
            self._save(failover)
            try:
                await self.races.run(
                    race, await self._offers(failover), lambda: self._offers(failover), self._rent(failover),
                    width=1 if failover.data_source == "regional_volume" else WIDTH,  # it has one user at a time
                )  # fmt: skip
            finally:
                failover.race = RaceSummary.of(race)
        failover.race = RaceSummary.of(race)
        failover.new_instance_id = race.winner_id
        winner = next(one for one in race.candidates if one.state == "won")
        failover.new_gpu_name, failover.new_hourly_usd = winner.gpu_name, winner.hourly_usd
        failover.note(
            f"instance {race.winner_id} ({winner.gpu_name}) answered SSH first of {len(race.candidates)}; "
            f"losers destroyed: {', '.join(map(str, failover.race.losers)) or 'none'}"
        )
        await self._enter(failover, "restoring")

    async def _restore(self, failover: Failover) -> None:
        assert failover.new_instance_id is not None  # noqa: S101 - it was rented
        source = self._source(failover)
        instance, machine = await self._machines.wait_ready(failover.new_instance_id, self.races.ready_within)
        if failover.with_restore and not failover.data_restored:
            back = await source.restore(failover, machine)
            failover.files_restored, failover.bytes_restored = back.files, back.bytes
            failover.data_restored = True
            failover.note(f"{back.files} files are on instance {instance.id}, {back.words}")
            self._save(failover)
        await self._take_place(failover, Won(instance, machine), source)
        await self._enter(failover, "complete")

    async def _take_place(self, failover: Failover, new: Won, source: Source) -> None:
        """Makes the new machine what the old one was: its settings, its agent, its standby."""
        new_id = new.instance.id
        failover.agent_installed = await self._succession.take_place(failover.machine, new.instance)
        failover.note("agent installed" if failover.agent_installed else "the agent is tried again")
        if failover.with_restore:
            failover.note(await source.follow(failover, new_id))

    def _query(self, failover: Failover) -> OfferQuery:
        machine = failover.machine
        return OfferQuery(
            region=self._source(failover).region(failover), max_price=self._price(failover),
            min_disk=machine.disk_space or DEFAULT_DISK, num_gpus=machine.num_gpus or 1, min_inet_down=0, limit=100,
        )  # fmt: skip

    async def _offers(self, failover: Failover) -> list[Offer]:
        """The same model first, then any with as much memory; the cheapest first of each."""
        model, memory = failover.machine.gpu_name, (failover.instance.gpu_ram or 0) / 1024
        found = await search(self._market, self._query(failover))
        wanted = failover.gpu_names
        fitting = [
            offer
            for offer in found
            if (offer.gpu_name in wanted if wanted else offer.gpu_name == model or offer.gpu_ram >= memory)
        ]
        fitting = self._source(failover).fitting(failover, fitting)
        return sorted(fitting, key=lambda offer: offer.gpu_name != model)

    async def _why_none(self, failover: Failover) -> str:
        query = self._query(failover)
        if not await search(self._market, query):
            return await why_none(self._market, query)
        memory = (failover.instance.gpu_ram or 0) / 1024
        model = failover.machine.gpu_name
        what = " or ".join(failover.gpu_names) or f"{model}, or another GPU with at least {memory:g} GB"
        words = f"No offer up to {query.max_price:.4f} USD/h with {what}"
        volume = failover.data_source == "regional_volume"
        return f"{words}, where the volume of the workspace can be used" if volume else words

    def _price(self, failover: Failover) -> float:
        old = failover.machine.dph_total
        return failover.max_price or self.settings.for_all.max_price or (old * DEARER if old else HIGHEST_PRICE)

    def _rent(self, failover: Failover) -> Rent:
        machine = failover.machine
        rent = Rent(image=machine.image or DEFAULT_IMAGE, disk=machine.disk_space or DEFAULT_DISK, label=machine.label)
        return self._source(failover).rent(failover, rent)

    async def _enter(self, failover: Failover, phase: FailoverPhase) -> None:
        failover.success = phase == "complete"
        failover.enter(phase)
        self._save(failover)
        if failover.over:
            self._end_old_machine(failover)
        await self._tell(failover)

    def _end_old_machine(self, failover: Failover) -> None:
        if failover.success and failover.new_instance_id is not None:
            self._fleet.remove(failover.gpu_instance_id)
        else:
            self._become(failover, "lost", failover.error)

    async def _give_up(self, failover: Failover, words: str) -> None:
        """Ends what was begun for a failover that cannot succeed. What serves the workspace goes on serving it."""
        phase = failover.phase
        new_id = failover.new_instance_id
        if new_id is not None and failover.data_source == "warm_pool":
            words += f". Warm instance {new_id} is kept: it has the workspace"
        elif new_id is not None:
            try:
                await self.races.disposals.end(f"unused-{new_id}", new_id, f"failover {failover.failover_id}")
            except ApiError as error:
                words += f". The new machine {new_id} could NOT be destroyed yet: {error.message}"
            else:
                words += f". The new machine {new_id} was destroyed"
            self._fleet.remove(new_id)
        association = self._standbys.get(failover.gpu_instance_id)
        if failover.data_source == "cpu_standby" and association is not None:
            silent = await self._standbys.why_not_serving(association)
            words += f". {silent or f'Standby {association.machine_name} goes on serving the workspace'}"
        failover.error, failover.failed_phase = words, phase
        failover.enter("failed")
        self._save(failover)
        # While it was being detected nothing had happened to the machine, as far as anybody knows.
        self._become(failover, "running" if phase == "detecting" else "lost", words)
        _log.warning("failover %s of instance %d: %s", failover.failover_id, failover.gpu_instance_id, words)
        await self._tell(failover)

    def _become(self, failover: Failover, status: Any, error: str | None) -> None:
        machine = self._fleet.get(failover.gpu_instance_id)
        if machine is not None:
            machine.status, machine.error = status, error
            self._fleet.save(machine)

    def _save(self, failover: Failover) -> None:
        self._records.put(failover.failover_id, failover)
        self.listeners.tell(failover.public())

    async def _tell(self, failover: Failover) -> None:
        await self._events.publish(
            "failover.phase", failover_id=failover.failover_id, phase=failover.phase,
            instance_id=failover.gpu_instance_id, new_instance_id=failover.new_instance_id,
        )  # fmt: skip
