"""Notices that a machine is lost: its heartbeats are missing, and SSH does not let anybody in.

One of the two is not enough: a machine under load may be late with its heartbeats, and a connection may fail once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance
from sandbox.control.ssh import Machine, SshError

ANSWER_WITHIN = 2.0  # seconds for the first line of an SSH server
ENTER_WITHIN = 8.0  # seconds for a command that does nothing
SILENT_TRIES = 3  # connections in a row that were not refused, and brought no answer either
AGAIN_AFTER = 0.5  # seconds until a machine that let us in is looked at again
GONE_WITHIN = 60.0  # seconds in which a machine that was ended must be silent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loss:
    """How it is known that a machine is lost. `since`: its last sign of life, in epoch seconds."""

    since: float
    words: str
    interrupted: bool = False  # by the market, which needed it for somebody else

    @property
    def reason(self) -> str:
        return "spot_interruption" if self.interrupted else "gpu_lost"


class Watch:
    """Looks at the machines that are protected for as long as it is not stopped."""

    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        *,
        missed_after: float,
        look: float,
    ) -> None:
        """`missed_after`: seconds without a heartbeat that are too many; `look`: seconds between two looks."""
        self._fleet = fleet
        self._market = market
        self._machines = machines
        self._missed_after = missed_after
        self._pause = look
        self._begun = time.time()
        self._looking: dict[int, asyncio.Task[None]] = {}
        self._answered: dict[int, float] = {}
        self._silent_tries: dict[int, int] = {}

    async def keep(
        self, protected: Callable[[TrackedMachine], bool], lost: Callable[[TrackedMachine, MarketInstance, Loss], None]
    ) -> None:
        """Tells of each protected machine that is lost."""
        try:
            while True:
                for machine in self._fleet:
                    if self._is_due(machine) and protected(machine):
                        self._looking[machine.instance_id] = asyncio.create_task(self._look_at(machine, lost))
                await asyncio.sleep(self._pause)
        finally:
            for task in self._looking.values():
                task.cancel()

    async def until_silent(self, instance: MarketInstance, since: float) -> Loss:
        """Waits until a machine that was ended is seen to be lost.

        Raises:
            ApiError: it goes on living.
        """
        deadline = time.monotonic() + GONE_WITHIN
        while True:
            silent = self._silent_for(instance.id, since)
            refusal = await self.refusal(instance) if silent > self._missed_after else None
            if refusal:
                return Loss(since, f"no heartbeat for {silent:.2f} s, {refusal}")
            if time.monotonic() > deadline:
                raise ApiError(504, f"Instance {instance.id} was ended, and is alive {GONE_WITHIN:g} s later")
            await asyncio.sleep(min(0.1, max(0.01, self._missed_after - silent)))

    def _is_due(self, machine: TrackedMachine) -> bool:
        instance_id = machine.instance_id
        if instance_id in self._looking or machine.status not in ("running", "idle", "failed"):
            return False
        answered = self._answered.get(instance_id, 0.0)
        again = time.monotonic() > answered + AGAIN_AFTER
        return again and self._silent_for(instance_id, self._begun) > self._missed_after

    def _silent_for(self, instance_id: int, since: float) -> float:
        """Seconds without a heartbeat; for a machine that never sent one, since then."""
        machine = self._fleet.get(instance_id)
        silent = time.time() - (machine.last_heartbeat if machine and machine.last_heartbeat else since)
        return silent if silent >= 0 else 2 * self._missed_after  # our clock was put back: nobody knows

    async def _look_at(
        self, machine: TrackedMachine, lost: Callable[[TrackedMachine, MarketInstance, Loss], None]
    ) -> None:
        try:
            instance = await self._market.instance(machine.instance_id)
            if instance is not None and _should_live(instance):  # else whoever destroyed or stopped it wanted it so
                await self._judge(machine, instance, lost)
        except ApiError as error:
            _log.warning("instance %d sends no heartbeats: %s", machine.instance_id, error.message)
        finally:
            self._looking.pop(machine.instance_id, None)

    async def _judge(
        self,
        machine: TrackedMachine,
        instance: MarketInstance,
        lost: Callable[[TrackedMachine, MarketInstance, Loss], None],
    ) -> None:
        refusal = await self.refusal(instance)
        silent = self._silent_for(machine.instance_id, self._begun)
        if refusal and silent > self._missed_after:
            words = f"no heartbeat for {silent:.2f} s, {refusal}; the market says: {instance.actual_status}"
            words += f" ({instance.status_msg})" if instance.status_msg else ""
            since = time.time() - silent
            lost(machine, instance, Loss(since, words, interrupted=_was_interrupted(instance)))

    async def refusal(self, instance: MarketInstance) -> str | None:
        """Why nobody gets into the machine; None when we do, or cannot tell yet."""
        if not instance.ssh_host or not instance.ssh_port:
            return None
        refusal = await _refused(instance.ssh_host, instance.ssh_port)
        if refusal is None:
            refusal = await _shut_out(self._machines.enter(instance))
        if refusal is None:
            self._answered[instance.id] = time.monotonic()
            self._silent_tries.pop(instance.id, None)
            return None
        if refusal.decisive:
            return refusal.words
        tries = self._silent_tries[instance.id] = self._silent_tries.get(instance.id, 0) + 1
        return f"{refusal.words} ({tries} times)" if tries >= SILENT_TRIES else None


@dataclass(frozen=True)
class _Refusal:
    words: str
    decisive: bool  # a host under load does not give such an answer


async def _refused(host: str, port: int) -> _Refusal | None:
    writer = None
    try:
        async with asyncio.timeout(ANSWER_WITHIN):
            reader, writer = await asyncio.open_connection(host, port)
            line = await reader.readline()
    except ConnectionRefusedError:
        return _Refusal(f"SSH refused on port {port}", decisive=True)
    except (OSError, ValueError, TimeoutError):
        return _Refusal(f"SSH on port {port} does not answer", decisive=False)
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    return None if line.startswith(b"SSH-") else _Refusal(f"no SSH server on port {port}", decisive=False)


async def _shut_out(machine: Machine) -> _Refusal | None:
    try:
        await machine.run("true", within=ENTER_WITHIN)
    except SshError as error:
        return _Refusal(error.message, decisive="host key" in error.message)
    return None


def _was_interrupted(instance: MarketInstance) -> bool:
    return "interrupted" in (instance.status_msg or "").lower()


def _should_live(instance: MarketInstance) -> bool:
    """A machine that is still coming up is not lost, nor one that its owner has stopped."""
    if instance.actual_status in ("created", "loading", None):
        return False
    return instance.intended_status == "running" or _was_interrupted(instance)
