"""Hibernation: snapshot, audit, destroy; in that order, and each only when the one before has proved itself."""

from __future__ import annotations

import asyncio
import logging
import time

from sandbox.control.errors import ApiError
from sandbox.control.fleet import BUSY, Fleet, GpuMetrics, TrackedMachine
from sandbox.control.history import History
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient
from sandbox.control.snapshots import Snapshots
from sandbox.control.ssh import Machine
from sandbox.control.standby import Standbys
from sandbox.events import Events

WORKSPACE = "/workspace"
ROUNDS = 3  # snapshots at most, while the workspace keeps changing
_CHANGED_SINCE = 'find "$1" -newerct "@$2" ! -type s -print -quit'

_log = logging.getLogger(__name__)


class Hibernations:
    """The idle detector and the work it starts."""

    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        snapshots: Snapshots,
        history: History,
        events: Events,
        heartbeat: float,
        standbys: Standbys,
    ) -> None:
        self._fleet = fleet
        self._market = market
        self._machines = machines
        self._snapshots = snapshots
        self._history = history
        self._events = events
        self._heartbeat = heartbeat
        self._standbys = standbys
        self._running: dict[int, asyncio.Task[TrackedMachine]] = {}
        self._cut = [machine for machine in fleet if machine.status == "hibernating"]

    async def settle(self) -> None:
        """Ends truthfully what the last run of this process left unfinished.

        A machine that is still there stays: whatever snapshot there is, the machine went on without us since.
        """
        while self._cut:
            machine = self._cut[0]
            if machine.snapshot_id is not None and await self._market.instance(machine.instance_id) is None:
                self._hibernated(machine, "finished before Dumont Cloud was stopped")
            else:
                self._failed(machine, "Dumont Cloud was stopped during the hibernation; the machine was not destroyed")
            self._cut.pop(0)

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def beat(self, instance_id: int, metrics: GpuMetrics | None) -> TrackedMachine:
        """Takes a heartbeat in, and begins a hibernation when it is time."""
        machine = self._fleet.get(instance_id) or self._fleet.add(TrackedMachine(instance_id=instance_id))
        before = machine.status
        due = machine.beat(metrics.busiest if metrics else None, time.time(), self._heartbeat)
        if machine.status != before:
            self._fleet.save(machine)
            if machine.status == "idle":
                self._history.add(machine, "idle_detected", f"GPU below {machine.config.gpu_usage_threshold:g} %")
        if due:
            self._begin(machine, f"idle for {machine.config.idle_timeout_seconds:g} s", only_while_idle=True)
        return machine

    def lost(self, machine: TrackedMachine) -> None:
        """The market no longer has a machine. One whose snapshot was audited is hibernated; any other is forgotten."""
        if machine.status in BUSY:
            return  # who is at work on it finds out
        if machine.snapshot_id is not None:
            self._hibernated(machine, "the market ended the machine after its hibernation had failed")
        else:
            self._history.add(machine, "heartbeat_lost", "the market no longer has the machine")
            self._fleet.remove(machine.instance_id)

    async def hibernate(self, instance_id: int) -> TrackedMachine:
        """Hibernates a machine at once. Raises what went wrong; then the machine is still there."""
        instance = await self._machines.instance(instance_id)
        self._fleet.refuse_while_busy(instance_id)
        machine = self._fleet.get(instance_id) or self._fleet.add(TrackedMachine.of(instance))
        task = self._begin(machine, "asked for", only_while_idle=False)
        await asyncio.wait({task})  # a caller that hangs up does not stop it
        if task.cancelled():
            raise ApiError(
                409, f"The hibernation of instance {instance_id} was stopped: the machine is being destroyed"
            )
        return task.result()

    async def cancel(self, instance_id: int) -> None:
        """Stops a hibernation that is under way, if one is. For the user who wants the machine gone instead."""
        task = self._running.get(instance_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _begin(self, machine: TrackedMachine, reason: str, *, only_while_idle: bool) -> asyncio.Task[TrackedMachine]:
        machine.status, machine.error, machine.snapshot_id = "hibernating", None, None
        self._fleet.save(machine)
        task = asyncio.create_task(self._run(machine, reason, only_while_idle=only_while_idle))
        self._running[machine.instance_id] = task
        task.add_done_callback(lambda ended: self._ended(machine.instance_id, ended))
        return task

    def _ended(self, instance_id: int, task: asyncio.Task[TrackedMachine]) -> None:
        if self._running.get(instance_id) is task:
            del self._running[instance_id]
        if not task.cancelled():
            task.exception()  # who started it may not listen; the machine's state tells what went wrong

    async def _run(self, machine: TrackedMachine, reason: str, *, only_while_idle: bool) -> TrackedMachine:
        begun = time.monotonic()
        try:
            await self._snapshot_audit_destroy(machine, only_while_idle=only_while_idle)
        except ApiError as error:
            await self._failed_and_told(machine, error.message)
            raise
        except Exception as error:
            _log.exception("hibernation of instance %d", machine.instance_id)
            await self._failed_and_told(machine, f"Internal error: {error}")
            raise
        self._hibernated(machine, reason, seconds=round(time.monotonic() - begun, 3))
        await self._events.publish(
            "hibernation.finished", instance_id=machine.instance_id, snapshot_id=machine.snapshot_id, success=True
        )
        return machine

    async def _snapshot_audit_destroy(self, machine: TrackedMachine, *, only_while_idle: bool) -> None:
        instance = await self._machines.instance(machine.instance_id)
        if not instance.is_running:
            raise ApiError(
                400, f"Instance {machine.instance_id} is not running (status: {instance.actual_status}): "
                "its workspace cannot be saved"
            )  # fmt: skip
        machine.describe(instance)
        entered = self._machines.enter(instance)
        snapshot_id = await self._snapshot(machine.instance_id, entered)
        await self._snapshots.audit(snapshot_id)
        if only_while_idle and machine.idle_since is None:
            raise ApiError(409, f"Instance {machine.instance_id} was used again during its hibernation; it stays")
        # From here on the machine may be destroyed, and a restart must know that its data is safe.
        machine.snapshot_id = snapshot_id
        self._fleet.save(machine)
        async with self._standbys.leaving(machine.instance_id):
            await self._market.destroy(machine.instance_id)

    async def _snapshot(self, instance_id: int, machine: Machine) -> str:
        """Snapshots the workspace until nothing has changed in it since the beginning of the last one."""
        name = f"{instance_id}_hibernate_{int(time.time())}"
        for _ in range(ROUNDS):
            record = self._snapshots.order(instance_id, WORKSPACE, name, ["hibernate"])
            backup = await self._snapshots.take(record, machine)
            changed = await machine.run(_CHANGED_SINCE, WORKSPACE, f"{backup.begun:.6f}")
            if not changed.stdout and not changed.code:
                return backup.snapshot_id
        raise ApiError(
            409, f"The workspace of instance {instance_id} kept changing during {ROUNDS} snapshots "
            f"({(changed.stdout or changed.stderr).decode(errors='replace').strip()}); the machine stays"
        )  # fmt: skip

    def _hibernated(self, machine: TrackedMachine, reason: str, **metadata: float) -> None:
        machine.status, machine.error, machine.hibernated_at, machine.failures = "hibernated", None, time.time(), 0
        self._fleet.save(machine)
        self._history.add(machine, "hibernated", reason, **metadata)

    async def _failed_and_told(self, machine: TrackedMachine, error: str) -> None:
        self._failed(machine, error)
        await self._events.publish(
            "hibernation.finished", instance_id=machine.instance_id, snapshot_id=None, success=False, error=error
        )

    def _failed(self, machine: TrackedMachine, error: str) -> None:
        machine.fail(error, time.time())
        self._fleet.save(machine)
        self._history.add(machine, "hibernation_failed", error)
