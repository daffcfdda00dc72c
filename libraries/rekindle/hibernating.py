"""Idleness and hibernation, as the machine itself and the product tell of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.ssh import Machine
from rekindle.waiting import Clock, Waited, hold_for, wait_until

UTILISATION = "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits"
IDLE_BELOW = 5.0  # percent; the product's own default threshold

BEGUN = frozenset({"hibernating", "hibernated"})


class Detector(Protocol):
    """The product's idle detector."""

    def hibernation(self, instance_id: int, /) -> dict[str, Any]: ...


def gpu_utilisation(machine: Machine) -> float:
    """The busiest GPU's utilisation in percent, as `nvidia-smi` on the machine tells.

    Raises:
        Unknown: it tells nothing that is a number.
    """
    said = machine.run(UTILISATION).text
    try:
        return max(float(line) for line in said.splitlines())
    except ValueError:
        raise Unknown(f"nvidia-smi on the machine does not tell the GPU's utilisation, but: {said!r}.") from None


def stay_idle(machine: Machine, what: str, seconds: float) -> Waited[float]:
    """Watches a machine whose GPU must do nothing for the whole time.

    Raises:
        Mismatch: the GPU worked; says how much and when.
        Unknown: its utilisation could not be read.
    """
    return hold_for(
        f"the GPU of {what} to stay idle (under {IDLE_BELOW:g} %)",
        lambda: gpu_utilisation(machine),
        lambda percent: percent < IDLE_BELOW,
        seconds=seconds,
        describe=lambda percent: f"{percent:g} %",
    )


def wait_until_begun(
    detector: Detector,
    instance_id: int,
    utilisation: Callable[[], float],
    timeout: float,
    clock: Clock | None = None,
) -> Waited[dict[str, Any]]:
    """Waits until the product has noticed that a machine is idle, and has begun to hibernate it.

    Args:
        detector: the product.
        instance_id: which machine.
        utilisation: what the machine itself says, in percent; it may be gone already when the product is fast.
        timeout: seconds.
        clock: time and pause.

    Raises:
        Timeout: it has not, or its hibernation failed; says what it knew last.
        Mismatch: the machine was not idle.
    """
    percent = 0.0

    def look() -> dict[str, Any]:
        nonlocal percent
        with suppress(RekindleError):
            percent = utilisation()
        return detector.hibernation(instance_id)

    waited = wait_until(
        f"Dumont Cloud to notice that machine {instance_id} is idle and hibernate it",
        look,
        lambda seen: seen.get("status") in BEGUN,
        timeout=timeout,
        hopeless=_failed,
        describe=_described,
        clock=clock,
    )
    if percent >= IDLE_BELOW:
        raise Mismatch(
            f"Dumont Cloud hibernates machine {instance_id} because it is idle, but nvidia-smi on it says "
            f"{percent:g} %."
        )
    return waited


def wait_until_hibernated(
    detector: Detector, instance_id: int, timeout: float, clock: Clock | None = None
) -> Waited[str]:
    """Waits until the product says that it has hibernated a machine, and returns the id of its snapshot.

    Raises:
        Timeout: it has not, or it failed; says what it knew last, and why it failed.
        Mismatch: it says so without naming a snapshot.
    """
    waited = wait_until(
        f"machine {instance_id} to be hibernated",
        lambda: detector.hibernation(instance_id),
        lambda seen: seen.get("status") == "hibernated",
        timeout=timeout,
        hopeless=_failed,
        describe=_described,
        clock=clock,
    )
    snapshot_id = waited.value.get("snapshot_id")
    if not snapshot_id:
        raise Mismatch(f"Dumont Cloud says that machine {instance_id} is hibernated, but names no snapshot of it.")
    return Waited(str(snapshot_id), waited.seconds, waited.looks)


def _failed(seen: dict[str, Any]) -> str | None:
    if seen.get("status") == "failed":
        return f"its hibernation failed: {seen.get('error') or 'Dumont Cloud does not say why'}"
    return None


def _described(seen: dict[str, Any]) -> str:
    if not seen:
        return "Dumont Cloud has not heard of it (no heartbeat yet)"
    told = ("status", "gpu_utilization", "idle_since", "will_hibernate_at", "snapshot_id", "error")
    return ", ".join(f"{name} {seen[name]}" for name in told if seen.get(name) is not None)
