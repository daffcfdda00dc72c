"""Failovers that are rehearsed: a snapshot of a machine that lives is restored onto a second one, and compared.

The second machine stays, for whoever ordered the rehearsal; when that fails, nothing it has rented stays. On demand
the first one is ended for real: then what follows is a failover from that snapshot, as any other.
"""

from __future__ import annotations

import logging
import statistics
import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel

from sandbox.control.agents import Agents
from sandbox.control.defaults import CUT, DEFAULT_DISK, DEFAULT_IMAGE
from sandbox.control.errors import ApiError
from sandbox.control.failover import DEARER, HIGHEST_PRICE, Failovers
from sandbox.control.failover_record import RaceSummary, as_time
from sandbox.control.failover_report import DAY
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance, Rent
from sandbox.control.offers import Offer, OfferQuery, search, why_none
from sandbox.control.phases import Phased
from sandbox.control.race import WIDTH
from sandbox.control.restic import Backup
from sandbox.control.snapshots import Snapshots
from sandbox.control.sources import WORKSPACE, file_sizes
from sandbox.tasks import Tasks

NO_MODEL = "No model was asked: the GPUs of this cloud do not compute"
LEAST_GPU_RAM = 10.0  # GB
# A failover's phases, in the words of a rehearsal.
OF_FAILOVER = {
    "detecting": "gpu_failure_simulation",
    "searching_gpu": "gpu_search",
    "provisioning": "gpu_provision",
    "restoring": "restore",
}

_log = logging.getLogger(__name__)


class RehearsalOrder(BaseModel):
    """What is wanted. No model runs here; who does not leave the inference out is told so."""

    workspace_path: Literal["/workspace"] = "/workspace"
    model: str = "qwen2.5:0.5b"
    test_prompt: str = "Hello"
    skip_inference: bool = False
    destroy_original_gpu: bool = False


class Rehearsal(Phased):
    """One rehearsal. Phases: snapshot_creation, gpu_failure_simulation (when the machine is ended), gpu_search,
    gpu_provision, restore, validation, complete or failed."""

    failover_id: str
    order: RehearsalOrder
    machine: TrackedMachine
    snapshot: Backup | None = None
    race_id: str | None = None
    race: RaceSummary | None = None
    new_instance: MarketInstance | None = None
    files_restored: int | None = None
    error: str | None = None
    failed_phase: str | None = None

    @property
    def success(self) -> bool:
        return self.phase == "complete"

    def inference(self) -> dict[str, Any] | None:
        if self.order.skip_inference:
            return None
        asked = {"model": self.order.model, "prompt": self.order.test_prompt}
        return {**asked, "success": False, "response": None, "error": NO_MODEL}

    def public(self) -> dict[str, Any]:
        """The report of it. Times in milliseconds, sizes in bytes, and MB for those who read that."""
        snapshot, new, times = self.snapshot, self.new_instance, self.timings_ms
        size = snapshot.total_bytes_processed if snapshot else None
        megabytes = None if size is None else round(size / 1e6, 3)
        return {
            "failover_id": self.failover_id,
            "gpu_instance_id": self.machine.instance_id,
            "phase": self.phase,
            "started_at": as_time(self.phases[0].entered.epoch),
            "completed_at": as_time(self.phases[-1].entered.epoch) if self.over else None,
            "snapshot": {
                "id": snapshot.snapshot_id if snapshot else None,
                "size_bytes": size,
                "size_mb": megabytes,
                "creation_time_ms": times.get("snapshot_creation"),
                "files_count": snapshot.total_files_processed if snapshot else None,
            },
            "restore": {
                "time_ms": times.get("restore"),
                "data_bytes": size if self.success else None,
                "data_mb": megabytes if self.success else None,
                "files": self.files_restored,
            },
            "inference": self.inference(),
            "gpu": {
                "original_id": self.machine.instance_id,
                "original_type": self.machine.gpu_name,
                "original_destroyed": self.order.destroy_original_gpu,
                "new_type": new.gpu_name if new else None,
                "new_instance_id": new.id if new else None,
                "search_time_ms": times.get("gpu_search"),
                "provision_time_ms": times.get("gpu_provision"),
            },
            "race": self.race.model_dump() if self.race else None,
            "totals": {
                "total_time_ms": self.total_ms,
                "total_time_seconds": round(self.total_ms / 1000, 3),
                "success": self.success,
                "failure_reason": self.error,
                "failure_phase": self.failed_phase,
            },
            "phase_timings": times,
        }


class Rehearsals:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        machines: Machines,
        snapshots: Snapshots,
        agents: Agents,
        failovers: Failovers,
    ) -> None:
        self._fleet = fleet
        self._records = fleet.records
        self._market = market
        self._machines = machines
        self._snapshots = snapshots
        self._agents = agents
        self._failovers = failovers
        self._races = failovers.races
        self._tasks = Tasks("a rehearsal", expected=ApiError)
        self._rehearsed: set[int] = set()
        self._cut = [one for one in self._records.all(Rehearsal) if not one.over]

    async def settle(self) -> None:
        """Gives back what those that the last run of this process left had rented."""
        while self._cut:
            rehearsal = self._cut[0]
            race = self._races.get(rehearsal.race_id) if rehearsal.race_id else None
            await self._give_up(rehearsal, CUT, race.winner_id if race else None)
            self._cut.pop(0)

    async def close(self) -> None:
        await self._tasks.close()

    def get(self, failover_id: str) -> Rehearsal:
        rehearsal = self._records.get(Rehearsal, failover_id)
        if rehearsal is None:
            raise ApiError(404, f"Failover test {failover_id} not found")
        return rehearsal

    def history(self, days: int, limit: int) -> dict[str, Any]:
        """What all of the last days came to. Means are of those that succeeded; null where there is none."""
        since = time.time() - days * DAY
        found = [one for one in self._records.all(Rehearsal) if one.phases[0].entered.epoch >= since and one.over]
        found.sort(key=lambda one: one.phases[0].entered.epoch, reverse=True)
        good = [one for one in found if one.success]

        def mean(values: list[float]) -> float | None:
            return round(statistics.fmean(values), 3) if values else None

        mttr = mean([one.total_ms for one in good])
        return {
            "period_days": days,
            "total_tests": len(found),
            "successful_tests": len(good),
            "failed_tests": len(found) - len(good),
            "success_rate": round(100 * len(good) / len(found), 2) if found else 0.0,
            "mttr_ms": mttr,
            "mttr_seconds": None if mttr is None else round(mttr / 1000, 3),
            "averages": {
                "snapshot_creation_ms": mean([one.timings_ms["snapshot_creation"] for one in good]),
                "restore_ms": mean([one.timings_ms["restore"] for one in good]),
                "inference_ready_ms": None,
            },
            "tests": [one.public() for one in found[:limit]],
        }

    async def run(self, instance_id: int, order: RehearsalOrder, *, fast: bool) -> Rehearsal:
        """Rehearses a failover and returns when it is over, in whatever. `fast` races for the second machine.

        Raises:
            ApiError: 404 no such machine, 400 it does not run, 409 it is busy; nothing was begun.
        """
        await self._machines.running(instance_id)
        self._fleet.refuse_while_busy(instance_id)
        if instance_id in self._rehearsed:
            raise ApiError(409, f"A failover of instance {instance_id} is being rehearsed already")
        self._rehearsed.add(instance_id)
        try:
            return await self._tasks.finish(self._run(instance_id, order, fast=fast))
        finally:
            self._rehearsed.discard(instance_id)

    async def _run(self, instance_id: int, order: RehearsalOrder, *, fast: bool) -> Rehearsal:
        instance = await self._machines.instance(instance_id)
        machine = self._fleet.get(instance_id) or self._fleet.add(TrackedMachine.of(instance))
        machine.describe(instance)
        name = f"{'fast' if fast else 'real'}-{uuid.uuid4().hex[:8]}"
        rehearsal = Rehearsal(failover_id=name, order=order, machine=machine.model_copy())
        self._enter(rehearsal, "snapshot_creation")
        try:
            await self._take_snapshot(rehearsal, instance)
            if order.destroy_original_gpu:
                await self._fail_over(rehearsal)
            else:
                await self._bring_second(rehearsal, width=WIDTH if fast else 1)
            self._enter(rehearsal, "validation")
            await self._validate(rehearsal)
            self._enter(rehearsal, "complete")
        except ApiError as error:
            await self._give_up(rehearsal, error.message)
        except Exception as error:
            await self._give_up(rehearsal, f"Internal error: {error!r}")
            raise
        return rehearsal

    async def _take_snapshot(self, rehearsal: Rehearsal, instance: MarketInstance) -> None:
        tags = ["failover-test"]
        record = self._snapshots.order(instance.id, WORKSPACE, f"failover-test-{rehearsal.failover_id}", tags)
        rehearsal.snapshot = await self._snapshots.take(record, self._machines.enter(instance))
        self._save(rehearsal)

    async def _fail_over(self, rehearsal: Rehearsal) -> None:
        """Ends the machine; the newest snapshot is the one that was just taken."""
        failover = await self._failovers.order(rehearsal.machine.instance_id, "failover_test", strategy="snapshot")
        await self._failovers.until_over(failover)
        for one in failover.phases:
            if one.phase in OF_FAILOVER:
                rehearsal.enter(OF_FAILOVER[one.phase], one.entered)
        self._save(rehearsal)
        rehearsal.race = failover.race
        if not failover.success or failover.new_instance_id is None:
            raise ApiError(502, f"Failover {failover.failover_id} failed: {failover.error}")
        rehearsal.files_restored = failover.files_restored
        rehearsal.new_instance = await self._machines.instance(failover.new_instance_id)

    async def _bring_second(self, rehearsal: Rehearsal, *, width: int) -> None:
        self._enter(rehearsal, "gpu_search")
        query = self._query(rehearsal.machine)

        async def look() -> list[Offer]:
            return await search(self._market, query)

        offers = await look()
        if not offers:
            raise ApiError(503, await why_none(self._market, query))
        self._enter(rehearsal, "gpu_provision")
        machine, race = rehearsal.machine, self._races.order()
        rehearsal.race_id = race.race_id
        self._save(rehearsal)
        rent = Rent(image=machine.image or DEFAULT_IMAGE, disk=query.min_disk, label=machine.label)
        try:
            won = await self._races.run(race, offers, look, rent, width=width)
        finally:
            rehearsal.race = RaceSummary.of(race)
        rehearsal.new_instance = won.instance
        self._fleet.add(TrackedMachine.of(won.instance))
        self._agents.wanted()
        self._enter(rehearsal, "restore")
        assert rehearsal.snapshot is not None  # noqa: S101 - it was taken
        snapshot = await self._snapshots.find(rehearsal.snapshot.snapshot_id)
        restored = await self._snapshots.restore(snapshot, won.machine, WORKSPACE, verify=True)
        rehearsal.files_restored = restored.files_restored

    async def _validate(self, rehearsal: Rehearsal) -> None:
        """The new machine has as many files, and as many bytes in them, as went into the snapshot."""
        assert rehearsal.snapshot is not None  # noqa: S101 - both are there by now
        assert rehearsal.new_instance is not None  # noqa: S101
        machine = self._machines.enter(rehearsal.new_instance)
        sizes = await file_sizes(machine)
        there = len(sizes), sum(sizes)
        wanted = rehearsal.snapshot.total_files_processed, rehearsal.snapshot.total_bytes_processed
        if there != wanted:
            raise ApiError(
                502, f"Instance {machine.instance_id} has {there[0]} files with {there[1]} bytes; the snapshot holds "
                f"{wanted[0]} with {wanted[1]}",
            )  # fmt: skip

    def _query(self, machine: TrackedMachine) -> OfferQuery:
        return OfferQuery(
            max_price=machine.dph_total * DEARER if machine.dph_total else HIGHEST_PRICE,
            min_disk=machine.disk_space or DEFAULT_DISK, num_gpus=machine.num_gpus or 1, min_gpu_ram=LEAST_GPU_RAM,
            min_inet_down=0, limit=100,
        )  # fmt: skip

    async def _give_up(self, rehearsal: Rehearsal, words: str, won: int | None = None) -> None:
        """Ends what was rented beside the machine. What a real failover has brought is its own."""
        new_id = rehearsal.new_instance.id if rehearsal.new_instance else won
        if new_id is not None and not rehearsal.order.destroy_original_gpu:
            self._fleet.remove(new_id)
            try:
                await self._races.disposals.end(f"unused-{new_id}", new_id, f"rehearsal {rehearsal.failover_id}")
            except ApiError as error:
                words += f". The new machine {new_id} could NOT be destroyed yet: {error.message}"
            else:
                words += f". The new machine {new_id} was destroyed"
        rehearsal.error, rehearsal.failed_phase = words, rehearsal.phase
        _log.warning("rehearsal %s of instance %d: %s", rehearsal.failover_id, rehearsal.machine.instance_id, words)
        self._enter(rehearsal, "failed")

    def _enter(self, rehearsal: Rehearsal, phase: str) -> None:
        rehearsal.enter(phase)
        self._save(rehearsal)

    def _save(self, rehearsal: Rehearsal) -> None:
        self._records.put(rehearsal.failover_id, rehearsal)
