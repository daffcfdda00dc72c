"""The agents: put onto machines when these run, and again when they fall silent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files
from urllib.parse import urlsplit

from sandbox.control.errors import ApiError
from sandbox.control.fleet import UNSEEN_AFTER, Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance

NEW = 0.25  # seconds between two looks after a machine was rented
SLOWER = 1.1  # times longer after each look
AT_ONCE = 8  # installations; each is a few processes
UNLISTED_FOR = 60.0  # seconds after which a machine that never ran, and is not listed, is forgotten

_AGENT = (files("sandbox.control") / "agent.sh").read_bytes()
_INSTALL = (files("sandbox.control") / "scripts" / "install_agent.sh").read_text()

_log = logging.getLogger(__name__)


class Agents:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        lost: Callable[[TrackedMachine], None],
        refusal: Callable[[MarketInstance], Awaitable[str | None]],
        *,
        address: str,
        heartbeat: float,
        look: float,
    ) -> None:
        """`lost` is told of machines that the market no longer has; `refusal` tells why nobody gets into a machine, or
        None; `address`: of this API; times in seconds."""
        self._fleet = fleet
        self._market = market
        self._machines = machines
        self._lost = lost
        self._refusal = refusal
        self._unlisted_since: dict[int, float] = {}
        self._address = urlsplit(address)
        self._heartbeat = heartbeat
        self._look = look
        self._something_new = asyncio.Event()
        self._installing: dict[int, asyncio.Task[bool]] = {}
        self._first_beat_within = max(UNSEEN_AFTER * heartbeat, 5.0)
        self._first_beat_until: dict[int, float] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def wanted(self) -> None:
        """A machine was rented: look now."""
        self._something_new.set()

    async def keep(self, spares: Callable[[], set[int]]) -> None:
        """Looks after the agents for as long as it is not cancelled: often after a rent, then ever less.

        `spares`: machines that shall have none, as nobody uses them yet.
        """
        await self._adopt(spares)
        pause = NEW
        try:
            while True:
                if silent := [one for one in self._fleet.silent(self._heartbeat) if not self._is_starting(one)]:
                    await self._look_after(silent)
                try:
                    async with asyncio.timeout(pause):
                        await self._something_new.wait()
                except TimeoutError:
                    pause = min(pause * SLOWER, self._look)
                else:
                    self._something_new.clear()
                    pause = NEW
        finally:
            for task in self._installing.values():
                task.cancel()

    def _is_starting(self, machine: TrackedMachine) -> bool:
        """Whether an agent was put onto it just now: another one would end it before its first heartbeat."""
        return time.monotonic() < self._first_beat_until.get(machine.instance_id, 0.0)

    async def _adopt(self, spares: Callable[[], set[int]]) -> None:
        """Takes in machines that were rented here and not noted: the process was killed before the market's answer."""
        for instance in await self._patiently_listed():
            if instance.rent_token and self._fleet.get(instance.id) is None and instance.id not in spares():
                self._fleet.add(TrackedMachine.of(instance))

    async def _patiently_listed(self) -> list[MarketInstance]:
        while True:
            try:
                return await self._market.instances()
            except ApiError as error:
                _log.warning("listing machines: %s", error.message)
                await asyncio.sleep(1)

    async def _look_after(self, silent: list[TrackedMachine]) -> None:
        """Puts an agent onto those that run, and forgets those that the market no longer has."""
        try:
            listed = {instance.id: instance for instance in await self._market.instances()}
        except ApiError as error:
            _log.warning("listing machines: %s", error.message)
            return
        for machine in silent:
            instance = listed.get(machine.instance_id)
            if instance is None:
                if await self._is_gone(machine):
                    self._unlisted_since.pop(machine.instance_id, None)
                    self._lost(machine)
                continue
            self._unlisted_since.pop(machine.instance_id, None)
            if instance.is_running:
                self._begin(machine, instance)

    async def _is_gone(self, machine: TrackedMachine) -> bool:
        """Whether a machine that the market does not list, and that is silent, is really gone.

        Listings have had gaps. A machine that lets us in is there, and one whose address we never knew may yet come.
        """
        if machine.ssh_port is None:
            now = time.monotonic()
            return now - self._unlisted_since.setdefault(machine.instance_id, now) > UNLISTED_FOR
        address = MarketInstance(id=machine.instance_id, ssh_host=machine.ssh_host, ssh_port=machine.ssh_port)
        refusal = await self._refusal(address)
        if refusal is None:
            _log.warning("instance %d is not listed by the market, and is not seen to be gone", machine.instance_id)
        return refusal is not None

    async def install(self, machine: TrackedMachine, instance: MarketInstance) -> bool:
        """Puts an agent onto a machine that runs. False: it was not possible, and will be tried again."""
        return await asyncio.shield(self._begin(machine, instance))

    def _begin(self, machine: TrackedMachine, instance: MarketInstance) -> asyncio.Task[bool]:
        if instance.id not in self._installing:
            self._installing[instance.id] = asyncio.create_task(self._install(machine, instance))
        return self._installing[instance.id]

    async def _install(self, machine: TrackedMachine, instance: MarketInstance) -> bool:
        machine.describe(instance)
        self._fleet.save(machine)
        config = {
            "SERVER_HOST": self._address.hostname,
            "SERVER_PORT": self._address.port,
            "INSTANCE_ID": instance.id,
            "INTERVAL": self._heartbeat,
        }
        try:
            async with self._slots:
                lines = [f"{name}={value}" for name, value in config.items()]
                done = await self._machines.enter(instance).run(_INSTALL, *lines, payload=_AGENT)
        except ApiError as error:
            _log.warning("agent on instance %d: %s", instance.id, error.message)
            return False
        else:
            if done.code:
                _log.warning("agent on instance %d: %s", instance.id, done.words)
            else:
                self._first_beat_until[instance.id] = time.monotonic() + self._first_beat_within
            return done.code == 0
        finally:
            self._installing.pop(instance.id, None)
