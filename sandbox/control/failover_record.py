"""What is remembered of a failover, and how the API tells it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from sandbox.control.failover_settings import Strategy
from sandbox.control.fleet import TrackedMachine
from sandbox.control.market_client import MarketInstance
from sandbox.control.phases import Phased
from sandbox.control.race import Race

FailoverPhase = Literal[
    "detecting", "gpu_lost", "failover_to_cpu", "searching_gpu", "provisioning", "restoring", "complete", "failed"
]
DataSource = Literal["cpu_standby", "snapshot", "warm_pool", "regional_volume"]


class RaceSummary(BaseModel):
    """What the race for the new machine came to."""

    offers_tried: int = 0
    losers: list[int] = []
    losers_gone: bool = True

    @classmethod
    def of(cls, race: Race) -> RaceSummary:
        losers = [one.instance_id for one in race.losers if one.instance_id is not None]
        return cls(offers_tried=len(race.candidates), losers=losers, losers_gone=race.losers_gone)


class Refusal(BaseModel):
    """Why a source of the workspace could not serve, and how long it took to know that."""

    error: str
    seconds: float


class Failover(Phased):
    """One failover of one machine. Its first phase begins with the order, or with the machine's last sign of life."""

    failover_id: str = Field(default_factory=lambda: uuid.uuid4().hex[:8])
    gpu_instance_id: int
    reason: str
    strategy: Strategy
    ordered: bool  # by somebody; else it began by itself
    with_restore: bool = True
    with_new_gpu: bool = True
    gpu_names: tuple[str, ...] = ()  # what the new machine may be, if that was said
    max_price: float | None = None  # USD an hour, if that was said

    machine: TrackedMachine  # as it was
    instance: MarketInstance  # as the market listed it last
    lost_at: float | None = None  # epoch seconds of the machine's last sign of life
    loss: str | None = None  # how it is known

    # Of the sources that were asked before the one that serves.
    refusals: dict[DataSource, Refusal] = Field(default_factory=dict)
    data_source: DataSource | None = None
    snapshot_id: str | None = None
    rpo_seconds: float | None = None
    race_id: str | None = None
    race: RaceSummary | None = None
    new_instance_id: int | None = None
    new_gpu_name: str | None = None
    new_hourly_usd: float | None = None
    files_restored: int | None = None
    bytes_restored: int | None = None
    data_restored: bool = False
    agent_installed: bool = False

    success: bool = False
    error: str | None = None
    failed_phase: str | None = None

    def brief(self) -> dict[str, Any]:
        """As a row of the instances tells it."""
        return {"failover_id": self.failover_id, "phase": self.phase}

    def public(self) -> dict[str, Any]:
        """The event of the API. Phase times in milliseconds, those of a failover that goes on so far."""
        over = self.over
        return {
            "failover_id": self.failover_id,
            "gpu_instance_id": self.gpu_instance_id,
            "label": self.machine.label,
            "old_gpu_name": self.machine.gpu_name,
            "reason": self.reason,
            "automatic": not self.ordered,
            "strategy": self.strategy,
            "phase": self.phase,
            "started_at": as_time(self.phases[0].entered.epoch),
            "completed_at": as_time(self.phases[-1].entered.epoch) if over else None,
            "success": self.success,
            "new_gpu_id": self.new_instance_id,
            "new_instance_id": self.new_instance_id,
            "new_gpu_name": self.new_gpu_name,
            "new_hourly_usd": self.new_hourly_usd,
            "data_source": self.data_source,
            "data_restored": self.data_restored,
            "files_restored": self.files_restored,
            "bytes_restored": self.bytes_restored,
            "snapshot_id": self.snapshot_id,
            "rpo_seconds": self.rpo_seconds,
            "error": self.error,
            "failed_phase": self.failed_phase,
            "race": self.race.model_dump() if self.race else None,
            "phases": self.shown_phases(),
            "phase_timings_ms": self.timings_ms,
            "total_time_ms": self.total_ms if over else None,
        }


def as_time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, UTC).isoformat()
