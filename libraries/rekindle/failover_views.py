"""Standbys, failovers and migrations as the product tells of them. All of it is claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rekindle.errors import Unknown

OVER = frozenset({"complete", "failed"})


@dataclass(frozen=True)
class StandbyView:
    """An association as the product shows it. Seconds; None: not told."""

    gpu_instance_id: int
    name: str
    zone: str
    ip: str | None
    ssh_port: int | None
    machine_type: str | None
    hourly_usd: float | None
    state: str
    sync_count: int
    lag_seconds: float | None
    sync_error: str | None
    gpu_failed: bool

    def __str__(self) -> str:
        lag = "" if self.lag_seconds is None else f", {self.lag_seconds:.2f} s behind"
        return f"{self.name or 'standby'} is {self.state} after {self.sync_count} syncs{lag}" + (
            f" ({self.sync_error})" if self.sync_error else ""
        )


@dataclass(frozen=True)
class PhaseView:
    """One phase: when it was entered (epoch seconds) and how long it lasted, so far or at all."""

    phase: str
    entered_at: float
    seconds: float
    detail: str | None


@dataclass(frozen=True)
class Progression:
    """A failover or a migration as the product tells it; seconds, None where it does not tell.

    `quiet_seconds`: for how long the machine was halted while it was migrated.
    """

    id: str
    old_id: int
    phase: str
    phases: tuple[PhaseView, ...]
    phase_seconds: Mapping[str, float]
    total_seconds: float | None
    success: bool
    new_id: int | None
    new_gpu_name: str | None
    strategy: str | None
    data_source: str | None
    rpo_seconds: float | None
    losers: tuple[int, ...]
    error: str | None
    failed_phase: str | None
    automatic: bool | None
    reason: str | None
    quiet_seconds: float | None = None

    @property
    def over(self) -> bool:
        return self.phase in OVER

    @property
    def names(self) -> list[str]:
        """The phases in the order in which they were entered."""
        return [one.phase for one in self.phases]


@dataclass(frozen=True)
class FailoverReport:
    """What the product says that all failovers of a time came to. None: not told.

    Attributes:
        rows: the failovers of that time one by one, the newest first; of many only the newest.
        total: how many ended.
        going_on: how many have begun and not ended.
        success_rate: percent of those that ended.
    """

    rows: tuple[Progression, ...]
    total: int | None
    going_on: int | None
    success_rate: float | None


def standby_view(row: Mapping[str, Any]) -> StandbyView:
    """Reads an association. Raises Unknown when it cannot be one."""
    cpu = row.get("cpu_standby") or {}
    return StandbyView(
        gpu_instance_id=_integer(row.get("gpu_instance_id"), "gpu_instance_id"),
        name=str(cpu.get("name") or ""),
        zone=str(cpu.get("zone") or ""),
        ip=cpu.get("ip"),
        ssh_port=None if cpu.get("ssh_port") is None else int(cpu["ssh_port"]),
        machine_type=cpu.get("machine_type"),
        hourly_usd=_number(cpu.get("hourly_usd")),
        state=str(row.get("state") or "unknown"),
        sync_count=int(row.get("sync_count") or 0),
        lag_seconds=_number(row.get("lag_seconds")),
        sync_error=row.get("sync_error"),
        gpu_failed=bool(row.get("gpu_failed")),
    )


def progression(row: Mapping[str, Any]) -> Progression:
    """Reads the event of a failover or of a migration. Raises Unknown when it cannot be one."""
    total = _number(row.get("total_time_ms"))
    race = row.get("race") or {}
    new_id = row.get("new_instance_id") or row.get("new_gpu_id")
    return Progression(
        id=str(row.get("failover_id") or row.get("migration_id") or ""),
        old_id=_integer(row.get("gpu_instance_id") or row.get("instance_id"), "the old machine's id"),
        phase=str(row.get("phase") or "unknown"),
        phases=tuple(
            PhaseView(
                str(one.get("phase")),
                float(one.get("entered_at") or 0),
                float(one.get("seconds") or 0),
                one.get("detail"),
            )
            for one in row.get("phases") or ()
        ),
        phase_seconds={name: float(value) / 1000 for name, value in (row.get("phase_timings_ms") or {}).items()},
        total_seconds=None if total is None else total / 1000,
        success=row.get("success") is True,
        new_id=None if new_id is None else int(new_id),
        new_gpu_name=row.get("new_gpu_name"),
        strategy=row.get("strategy"),
        data_source=row.get("data_source"),
        rpo_seconds=_number(row.get("rpo_seconds")),
        losers=tuple(int(one) for one in race.get("losers") or ()),
        error=row.get("error"),
        failed_phase=row.get("failed_phase"),
        automatic=row.get("automatic"),
        reason=row.get("reason"),
        quiet_seconds=_number(row.get("quiet_seconds")),
    )


def failover_report(answer: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> FailoverReport:
    """Reads a report and its rows."""
    total, active = answer.get("total_failovers"), answer.get("active_failovers")
    return FailoverReport(
        rows=tuple(progression(row) for row in rows),
        total=None if total is None else int(total),
        going_on=None if active is None else int(active),
        success_rate=_number(answer.get("success_rate")),
    )


def _integer(value: Any, what: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise Unknown(f"Dumont API tells {what} as {value!r}: which machine is meant cannot be told.") from None


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
