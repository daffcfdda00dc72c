"""What has happened to machines: the hibernation events and what they saved."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from itertools import islice
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from sandbox.control.fleet import TrackedMachine
from sandbox.control.restic import as_text
from sandbox.records import Records

EventType = Literal[
    "idle_detected", "hibernated", "hibernation_failed", "woke_up", "wake_failed", "keep_alive", "heartbeat_lost"
]


class HibernationEvent(BaseModel):
    id: str = Field(default_factory=lambda: f"{time.time_ns():020d}-{uuid.uuid4().hex[:6]}")
    instance_id: int
    event_type: EventType
    at: float = Field(default_factory=time.time)
    gpu_utilization: float | None = None
    snapshot_id: str | None = None
    reason: str | None = None
    dph_total: float | None = None
    metadata: dict[str, JsonValue] = {}


class History:
    """Kept in the records, one row an event."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def add(self, machine: TrackedMachine, event_type: EventType, reason: str, **metadata: JsonValue) -> None:
        event = HibernationEvent(
            instance_id=machine.instance_id, event_type=event_type, reason=reason, snapshot_id=machine.snapshot_id,
            gpu_utilization=machine.gpu_utilization, dph_total=machine.dph_total, metadata=metadata,
        )  # fmt: skip
        self._records.put(event.id, event)

    def events(self, limit: int, instance_id: int | None, event_type: str | None) -> list[dict[str, object]]:
        """The newest first, as the API shows them."""
        rest = self._rests()
        chosen = (
            event
            for event in reversed(list(self._records.all(HibernationEvent)))
            if instance_id in (None, event.instance_id) and event_type in (None, event.event_type)
        )
        return [
            event.model_dump(exclude={"at"}) | {"timestamp": as_text(datetime.fromtimestamp(event.at, UTC))}
            | {"idle_hours": rest.get(event.id), "savings_usd": _savings(event, rest.get(event.id))}
            for event in islice(chosen, limit)
        ]  # fmt: skip

    def statistics(self) -> dict[str, object]:
        """What all hibernations together saved so far."""
        rest = self._rests()
        hibernations = [event for event in self._records.all(HibernationEvent) if event.event_type == "hibernated"]
        machines: dict[int, dict[str, float]] = {}
        for event in hibernations:
            sums = machines.setdefault(event.instance_id, {"hibernations": 0, "savings": 0.0})
            sums["hibernations"] += 1
            sums["savings"] += _savings(event, rest[event.id]) or 0.0
        return {
            "total_hibernations": len(hibernations),
            "total_hours_saved": sum(rest.values()),
            "total_savings": sum(one["savings"] for one in machines.values()),
            "machines": [{"instance_id": key, **sums} for key, sums in machines.items()],
        }

    def _rests(self) -> dict[str, float]:
        """For each hibernation, by its id, the hours until the machine was woken, or until now."""
        begun: dict[int, HibernationEvent] = {}
        hours: dict[str, float] = {}
        for event in self._records.all(HibernationEvent):
            if event.event_type == "hibernated":
                begun[event.instance_id] = event
                hours[event.id] = (time.time() - event.at) / 3600
            elif event.event_type == "woke_up" and event.instance_id in begun:
                slept = begun.pop(event.instance_id)
                hours[slept.id] = (event.at - slept.at) / 3600
        return hours


def _savings(event: HibernationEvent, hours: float | None) -> float | None:
    return None if hours is None or event.dph_total is None else hours * event.dph_total
