"""The agents: put onto machines when these run, and again when they fall silent."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from importlib.resources import files

from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance

NEW = 0.25  # seconds between two looks while a machine waits for its first agent
AT_ONCE = 8  # installations; each is a few processes

_AGENT = (files("sandbox.control") / "agent.sh").read_bytes()
_INSTALL = (files("sandbox.control") / "scripts" / "install_agent.sh").read_text()

_log = logging.getLogger(__name__)


class Agents:
    def __init__(
        self, fleet: Fleet, market: MarketClient, machines: Machines, *, port: int, heartbeat: float, look: float
    ) -> None:
        """`port`: of this API, on the machines' own loopback. `heartbeat`, `look`: seconds."""
        self._fleet = fleet
        self._market = market
        self._machines = machines
        self._port = port
        self._heartbeat = heartbeat
        self._look = look
        self._something_new = asyncio.Event()
        self._installing: dict[int, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def wanted(self) -> None:
        """A machine was rented: look now."""
        self._something_new.set()

    async def keep(self) -> None:
        """Looks after the agents for as long as it is not cancelled."""
        await self._adopt()
        try:
            while True:
                silent = self._fleet.silent(self._heartbeat)
                if silent:
                    await self._install_where_running(silent)
                is_new = any(machine.last_heartbeat is None for machine in silent)
                with suppress(TimeoutError):
                    async with asyncio.timeout(NEW if is_new else self._look):
                        await self._something_new.wait()
                    self._something_new.clear()
                    continue
        finally:
            for task in self._installing.values():
                task.cancel()

    async def _adopt(self) -> None:
        """Takes in machines that were rented here and not noted: the process was killed before the market's answer."""
        for instance in await self._patiently_listed():
            if instance.rent_token and self._fleet.get(instance.id) is None:
                self._fleet.add(TrackedMachine.of(instance))

    async def _patiently_listed(self) -> list[MarketInstance]:
        while True:
            try:
                return await self._market.instances()
            except ApiError as error:
                _log.warning("listing machines: %s", error.message)
                await asyncio.sleep(1)

    async def _install_where_running(self, silent: list[TrackedMachine]) -> None:
        try:
            listed = {instance.id: instance for instance in await self._market.instances()}
        except ApiError as error:
            _log.warning("listing machines: %s", error.message)
            return
        for machine in silent:
            instance = listed.get(machine.instance_id)
            if instance is not None and instance.is_running and machine.instance_id not in self._installing:
                self._installing[instance.id] = asyncio.create_task(self._install(machine, instance))

    async def _install(self, machine: TrackedMachine, instance: MarketInstance) -> None:
        machine.describe(instance)
        self._fleet.save(machine)
        config = {
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": self._port,
            "INSTANCE_ID": instance.id,
            "INTERVAL": self._heartbeat,
        }
        try:
            async with self._slots:
                lines = [f"{name}={value}" for name, value in config.items()]
                done = await self._machines.enter(instance).run(_INSTALL, *lines, payload=_AGENT)
        except ApiError as error:
            _log.warning("agent on instance %d: %s", instance.id, error.message)
        else:
            if done.code:
                _log.warning("agent on instance %d: %s", instance.id, done.words)
        finally:
            self._installing.pop(instance.id, None)
