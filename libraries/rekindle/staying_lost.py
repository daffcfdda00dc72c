"""A machine that shall not fail over: when it is lost it stays lost, and that is looked at for a while.

That nothing happened at one moment proves nothing: what would bring the machine back may only need another second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from rekindle.failover_views import Progression
from rekindle.rented import RentedMachine
from rekindle.ssh import HostKeyChanged
from rekindle.waiting import Clock, Waited, hold_for, wait_until
from rekindle.wording import named

ENDS_WITHIN = 30.0


class Dumont(Protocol):
    """What of the product is asked."""

    def failovers(self) -> list[Progression]: ...


class Listings(Protocol):
    """Everybody's list of machines."""

    def everything(self) -> Mapping[int, str | None]: ...


def stay_lost(
    machine: RentedMachine, dumont: Dumont, listings: Listings, seconds: float, clock: Clock | None = None
) -> Waited[Sequence[str]]:
    """Waits until nobody gets into a machine any more, then looks the whole time whether anything brings it back.

    Args:
        machine: that was taken away.
        dumont: which would tell of a failover.
        listings: where another machine with its label would stand.
        seconds: how long nothing may happen.
        clock: time and pause.

    Raises:
        Timeout: it lives on.
        Mismatch: it is back, a failover began, or a machine with its label came.
    """
    wait_until(
        f"{machine} to be lost",
        lambda: _lives(machine),
        lambda alive: not alive,
        timeout=ENDS_WITHIN,
        describe=lambda _: "it still answers",
        clock=clock,
    )

    def signs() -> list[str]:
        others = [id_ for id_, label in listings.everything().items() if label == machine.label and id_ != machine.id]
        return [
            *(["it answers again"] if _lives(machine) else []),
            *(f"failover {one.id} of it, {one.phase}" for one in dumont.failovers() if one.old_id == machine.id),
            *(f"machine {id_}, which has its label" for id_ in others),
        ]

    return hold_for(
        f"{machine} to stay lost", signs, lambda found: not found, seconds=seconds, describe=named, clock=clock
    )


def _lives(machine: RentedMachine) -> bool:
    try:
        return machine.machine.answers()
    except HostKeyChanged:  # its address was given to another machine
        return False
