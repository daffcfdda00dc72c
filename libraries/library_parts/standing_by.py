"""The standbys that this run has made, by the machines that they stand by."""

from __future__ import annotations

from rekindle import target
from rekindle.errors import Mismatch, Unknown
from rekindle.rented import RentedMachine
from rekindle.standby import Standby, Synced

OWN_EYES = "SSH to the GPU machine, then to its standby"


def standby_of(machine: RentedMachine) -> Standby | None:
    """The standby that this run has made for a machine, if any."""
    return next((one for one in target.current().made_standbys if one.machine is machine and not one.gone), None)


def should_follow(standby: Standby, new: RentedMachine, root: str, timeout: float) -> Synced:
    """Proves that a standby mirrors another machine from now on: the product says so, and a nonce arrives.

    Raises:
        Mismatch: the product has another standby for the new machine, or none.
    """
    opened = target.current()
    view = opened.dumont.standby(new.id)
    if view is None:
        raise Mismatch(f"{new} has no CPU standby, although {standby.name} stood by the machine that it replaces.")
    if view.name != standby.name:
        raise Mismatch(f"{new} has the CPU standby {view.name}; the machine that it replaces had {standby.name}.")
    if view.gpu_failed:
        raise Unknown(f"Dumont Cloud says of {standby.name} that {new} has failed.")
    standby.machine = new
    return opened.standbys.wait_until_synced(standby, root, timeout)
