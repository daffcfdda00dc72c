"""Idleness and hibernation, as the machine itself and the product tell of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.ssh import ConnectionLost, Machine, SshRefused
from rekindle.waiting import Clock, Timeout, Waited, hold_for, wait_until
from rekindle.wording import counted

UTILISATION = "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits"
IDLE_BELOW = 5.0  # percent; the product's own default threshold

BEGUN = frozenset({"hibernating", "hibernated"})

# Between our clock and the product's, seconds.
SLACK = 1.0
# How late a hibernation may begin: heartbeats come now and then, and when some are lost the product counts anew.
COUNTED, HEARTBEATS = 2, 30.0
# A wake begins and ends with the call that asks for it, so the product can tell less only by what lies around its work:
# a call that waits for its turn, on a busy machine or at a limit of calls. This much is more than that.
FOLD, AROUND = 3, 10.0


class Detector(Protocol):
    """The product's idle detector."""

    def hibernation(self, instance_id: int, /) -> dict[str, Any]: ...


@dataclass(frozen=True)
class IdleTime:
    """What the product was told of a machine. Times are monotonic seconds of our clock.

    Attributes:
        seconds: after so much idle time it is to be hibernated.
        rented_at: nothing of the machine, and so no idleness of it, is older.
        told_at: when the product was told.
    """

    seconds: float
    rented_at: float
    told_at: float

    def check_not_early(self, instance_id: int, begun_at: float) -> None:
        """Makes sure that the machine can have been idle for so long.

        Raises:
            Mismatch: it is too young for that.
        """
        if (lived := begun_at - self.rented_at) < self.seconds - SLACK:
            raise Mismatch(
                f"Dumont Cloud was told to hibernate machine {instance_id} when its GPU has been idle for "
                f"{self.seconds:g} s, but began when the machine was no more than {lived:.1f} s old."
            )

    def overdue(self, now: float) -> str | None:
        """In words, when the hibernation should have begun long ago."""
        most = self.seconds * COUNTED + HEARTBEATS
        if now - self.told_at <= most:
            return None
        return (
            f"Dumont Cloud was told {now - self.told_at:.1f} s ago to do so after {self.seconds:g} s without work on "
            f"the GPU; it should take {most:g} s at most"
        )


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
    told: IdleTime | None = None,
) -> Waited[dict[str, Any]]:
    """Waits until the product has noticed that a machine is idle, and has begun to hibernate it.

    Args:
        detector: the product.
        instance_id: which machine.
        utilisation: what the machine itself says, in percent; it may be gone already when the product is fast.
        timeout: seconds.
        clock: time and pause.
        told: after how much idle time; None when that is not known.

    Raises:
        Timeout: it has not, or should have long ago, or its hibernation failed; says what it knew last.
        Mismatch: the machine was not idle, or cannot have been for so long.
        Unknown: nobody could see whether it was, although it was there.
    """
    now = (clock or Clock()).now
    percent: float | None = None
    unseen: RekindleError | None = None

    def look() -> dict[str, Any]:
        nonlocal percent, unseen
        try:
            percent = utilisation()
        except RekindleError as error:
            unseen = error
        return detector.hibernation(instance_id)

    waited = wait_until(
        f"Dumont Cloud to notice that machine {instance_id} is idle and hibernate it",
        look,
        lambda seen: seen.get("status") in BEGUN,
        timeout=timeout,
        hopeless=lambda seen: _failed(seen) or (told.overdue(now()) if told else None),
        describe=_described,
        clock=clock,
    )
    if told:
        told.check_not_early(instance_id, now())
    # A machine that does not answer is gone, but only if nobody has seen that its hibernation had not begun.
    gone = waited.looks == 1 and isinstance(unseen, (SshRefused, ConnectionLost, Timeout))
    if percent is None and not gone:
        raise Unknown(
            f"Whether machine {instance_id} was idle when Dumont Cloud began to hibernate it is not known: its GPU was "
            f"not seen in {counted(waited.looks, 'look')}. {str(unseen).removeprefix(Unknown.prefix)}"
        )
    if percent is not None and percent >= IDLE_BELOW:
        raise Mismatch(
            f"Dumont Cloud hibernates machine {instance_id} because it is idle, but nvidia-smi on it says "
            f"{percent:g} %."
        )
    return waited


def wait_until_hibernated(
    detector: Detector, instance_id: int, timeout: float, clock: Clock | None = None, told: IdleTime | None = None
) -> Waited[str]:
    """Wait until the product reports that it has hibernated a machine, and return the id of its snapshot.

    Args:
        detector: the product.
        instance_id: which machine.
        timeout: seconds.
        clock: time and pause.
        told: the idle time after which it must begin; None when that is not known.

    Raises:
        Timeout: it has not, it failed, or it is overdue and has not begun; names the last status and the reason.
        Mismatch: it says so without naming a snapshot.
    """
    now = (clock or Clock()).now
    waited = wait_until(
        f"machine {instance_id} to be hibernated",
        lambda: detector.hibernation(instance_id),
        lambda seen: seen.get("status") == "hibernated",
        timeout=timeout,
        hopeless=lambda seen: (
            _failed(seen) or (told.overdue(now()) if told and seen.get("status") not in BEGUN else None)
        ),
        describe=_described,
        clock=clock,
    )
    snapshot_id = waited.value.get("snapshot_id")
    if not snapshot_id:
        raise Mismatch(f"Dumont Cloud says that machine {instance_id} is hibernated, but names no snapshot of it.")
    return Waited(str(snapshot_id), waited.seconds, waited.looks)


def check_wake_time(instance_id: int, claimed: float, measured: float) -> None:
    """Compares how long a wake took by the product's word with how long the call lasted by our clock, seconds.

    Raises:
        Mismatch: it cannot have taken so long, or nothing like so little.
    """
    if claimed > measured + SLACK or claimed * FOLD + AROUND < measured:
        raise Mismatch(
            f"Dumont Cloud says that it woke machine {instance_id} in {claimed:.1f} s, but by our clock it took "
            f"{measured:.1f} s."
        )


def _failed(seen: dict[str, Any]) -> str | None:
    if seen.get("status") == "failed":
        return f"its hibernation failed: {seen.get('error') or 'Dumont Cloud does not say why'}"
    return None


def _described(seen: dict[str, Any]) -> str:
    if not seen:
        return "Dumont Cloud has not heard of it (no heartbeat yet)"
    told = ("status", "gpu_utilization", "idle_since", "will_hibernate_at", "snapshot_id", "error")
    return ", ".join(f"{name} {seen[name]}" for name in told if seen.get(name) is not None)
