"""What all failovers of a period came to. Every number is measured; where there is none, it is null or zero."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sandbox.control.failover_record import Failover

DAY = 24 * 3600.0
HISTORY = 50  # failovers that are told one by one


def report(failovers: Sequence[Failover], days: int) -> dict[str, Any]:
    """Of the failovers that began in the last days. Means are of those that succeeded."""
    since = time.time() - days * DAY
    begun = [one for one in failovers if one.phases[0].entered.epoch >= since]
    over = [one for one in begun if one.over]
    good = [one for one in over if one.success]
    times = [one.total_ms for one in good]
    losses = [one.rpo_seconds for one in good if one.rpo_seconds is not None]
    causes = Counter(one.reason for one in begun)
    mttr = statistics.fmean(times) if times else 0.0
    return {
        "period_days": days,
        "total_failovers": len(over),
        "active_failovers": len(begun) - len(over),
        "successful_failovers": len(good),
        "failed_failovers": len(over) - len(good),
        "success_rate": round(100 * len(good) / len(over), 2) if over else 0.0,
        "mttr_ms": round(mttr, 3),
        "mttr_seconds": round(mttr / 1000, 3),
        "latency_by_phase_ms": _by_phase(good),
        "rto_ms": percentiles(times),
        "rpo_seconds": percentiles(losses),
        "data_restored_count": sum(one.data_restored for one in good),
        "gpus_provisioned_count": sum(one.new_instance_id is not None for one in good),
        "primary_cause": causes.most_common(1)[0][0] if causes else None,
        "by_strategy": _by_strategy(over),
        "history": [one.public() for one in reversed(begun[-HISTORY:])],
        **({} if begun else {"message": f"No failover in the last {days} days"}),
    }


def percentiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """p50 and p95 (between the two nearest values), and of how many values they are."""
    if not values:
        return {"p50": None, "p95": None, "count": 0}
    ordered = sorted(values)
    return {"p50": _percentile(ordered, 0.50), "p95": _percentile(ordered, 0.95), "count": len(ordered)}


def _percentile(ordered: Sequence[float], part: float) -> float:
    position = part * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return round(ordered[below] + (ordered[above] - ordered[below]) * (position - below), 3)


def _by_phase(failovers: Sequence[Failover]) -> dict[str, float]:
    spent: defaultdict[str, list[float]] = defaultdict(list)
    for failover in failovers:
        for phase, milliseconds in failover.timings_ms.items():
            spent[phase].append(milliseconds)
    return {phase: round(statistics.fmean(values), 3) for phase, values in spent.items()}


def _by_strategy(failovers: Sequence[Failover]) -> dict[str, dict[str, Any]]:
    """By where the data came back from; those that came to nothing by the strategy that was wanted."""
    groups: defaultdict[str, list[Failover]] = defaultdict(list)
    for failover in failovers:
        groups[failover.data_source or failover.strategy].append(failover)
    return {
        name: {
            "total": len(group),
            "successful": sum(one.success for one in group),
            "rto_ms": percentiles([one.total_ms for one in group if one.success]),
            "rpo_seconds": percentiles(
                [one.rpo_seconds for one in group if one.success and one.rpo_seconds is not None]
            ),
        }
        for name, group in groups.items()
    }
