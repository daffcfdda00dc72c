"""A machine that is ours: what was agreed when it was rented, and what has been seen of it since."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rekindle.budget import Reservation
from rekindle.clocks import local_epoch
from rekindle.cost import Cost, Life
from rekindle.errors import Unknown
from rekindle.ssh import Machine

# So a machine is shown that does not run, but is still there: only its disk is paid for.
STOPPED = frozenset({"exited", "stopped", "offline"})


@dataclass(frozen=True)
class Held:
    """What the product rents on a machine's account for as long as it lives: a warm machine, a volume.

    `since` is monotonic; until it is gone it is held to cost `hourly_usd`. `warm`: it is a machine that is kept warm.
    """

    reservation: Reservation
    hourly_usd: float
    since: float
    warm: bool = False


@dataclass
class RentedMachine:
    """A rented machine.

    Times are monotonic seconds.

    Attributes:
        id: number at the market and in Dumont Cloud.
        label: name that only this machine carries; it proves that this run rented it.
        gpu_name: GPU model as the offer names it, such as `RTX 4090`.
        hourly_usd: price in USD/h, disk included: the agreed maximum until the machine is ready, then the actual price.
        asked_at: when the create call went out; the contract is not older.
        intent: its row in the ledger.
        reservation: the money set aside for it.
        provision_seconds: seconds from the create call until a command ran on it over SSH; 0 before that.
        ssh: access over SSH; None until the machine has an address.
        gone: whether it is proven to be destroyed.
        beside: what is paid for on its account beside it.
        traffic_prices: prices in USD per GB under the keys `upload` and `download`; empty if the market lists none.
        before: the ids of all machines that were there before it was asked for.
        unclaimed: ids of machines that came meanwhile and carry no label, so that nobody can tell whose they are.
    """

    id: int
    label: str
    gpu_name: str
    hourly_usd: float
    asked_at: float
    intent: int
    reservation: Reservation
    provision_seconds: float = 0.0
    ssh: Machine | None = None
    gone: bool = False
    beside: list[Held] = field(default_factory=list)
    traffic_prices: Mapping[str, float] = field(default_factory=dict)
    before: frozenset[int] = field(default=frozenset(), repr=False)
    unclaimed: list[int] = field(default_factory=list)
    _seen_alive_at: float = field(default=0.0, repr=False)
    _interrupted: bool = field(default=False, repr=False)

    def __str__(self) -> str:
        return f"machine {self.id} ({self.gpu_name}, label {self.label or 'none'})"

    @property
    def machine(self) -> Machine:
        """The way in over SSH.

        Raises:
            Unknown: it has not come so far that it has an SSH address.
        """
        if self.ssh is None:
            raise Unknown(f"{self} has no SSH address yet, so nothing can be asked of it.")
        return self.ssh

    def seen_alive(self, at: float | None = None) -> None:
        """Remembers that it surely ran at this moment (now); sharpens what its life can have cost."""
        self._seen_alive_at = max(self._seen_alive_at, time.monotonic() if at is None else at)

    def was_interrupted(self) -> None:
        """Remembers that it stood still for a while and need not be billed for it: its least cost is unknown."""
        self._interrupted = True

    @property
    def interrupted(self) -> bool:
        """Whether it is known that it stood still for a while."""
        return self._interrupted

    def moved(self) -> dict[str, int]:
        """The bytes that we ourselves have surely moved over SSH, under `upload` (from it) and `download`."""
        if self.ssh is None or self._interrupted:
            return {}
        return {"upload": self.ssh.received_bytes, "download": self.ssh.sent_bytes}

    def asked_at_epoch(self) -> float:
        """When the create call went out, in seconds since the epoch: what bills are asked from."""
        return local_epoch(self.asked_at)

    def cost(self, gone_at: float) -> Cost:
        """What it cost, when `gone_at` is the first moment at which it was surely gone."""
        # While it boots, only its disk may be charged; how long it booted is for the market to tell.
        ready_at = self.asked_at + self.provision_seconds
        surely = self.provision_seconds and not self._interrupted
        at_least = max(self._seen_alive_at - ready_at, 0.0) if surely else 0.0
        return Cost(self.hourly_usd, Life(at_least, gone_at - self.asked_at))
