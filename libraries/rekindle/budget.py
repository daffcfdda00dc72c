"""The budget: money is set aside before a machine is rented, so that the sum of all worst cases never exceeds it."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

from rekindle.errors import Misconfigured
from rekindle.money import dollars_down, dollars_up

# What a GB of disk costs at most, USD a month, where the offer does not tell: the dear end of the market.
STORAGE_USD_PER_GB_MONTH = 0.30
HOURS_PER_MONTH = 730
# The share of the budget that raises an alarm.
ALARM_AT = 0.5
RACE_MINUTES = 3.0  # longest life of a machine that loses a race: two rounds of 90 s


@dataclass(frozen=True)
class Beside:
    """What the product may rent beside a machine, on our behalf, and what all of that costs at most, USD."""

    what: str
    usd: float


@dataclass(frozen=True)
class Reservation:
    """Money set aside for one machine, USD; given back, but for what was spent, by `Budget.settle`.

    `minutes` is how long the machine may live.
    """

    what: str
    usd: float
    minutes: float = 0.0


class Budget:
    """The user's limit, what machines in use may still cost at worst, and what ended ones did cost. Thread-safe."""

    def __init__(self, limit_usd: float) -> None:
        """Starts with nothing spent. `limit_usd` is `math.inf` where machines cost nothing (the embedded cloud).

        Raises:
            Misconfigured: the limit is no amount of money.
        """
        if math.isnan(limit_usd) or limit_usd < 0:
            raise Misconfigured(f"BUDGET_USD must be an amount of money, zero or more; it is {limit_usd:g}.")
        self.limit_usd = limit_usd
        self._lock = threading.Lock()
        self._reserved: list[Reservation] = []
        self._spent = 0.0
        self._alarmed = False

    @property
    def spent_usd(self) -> float:
        """What the machines that have ended did cost, their traffic included."""
        return self._spent

    @property
    def reserved_usd(self) -> float:
        """What the machines in use may cost at worst."""
        with self._lock:
            return sum(reservation.usd for reservation in self._reserved)

    @property
    def left_usd(self) -> float:
        """What may still be reserved."""
        return self.limit_usd - self.spent_usd - self.reserved_usd

    def reserve(
        self, what: str, price: float, minutes: float, disk_gb: float = 0, beside: Beside | None = None
    ) -> Reservation:
        """Sets the worst case of a machine aside.

        Args:
            what: the machine, as the refusal names it: "offer 7 (RTX A4000, $0.32/h)".
            price: USD an hour.
            minutes: how long it may live, at worst.
            disk_gb: its disk, which is paid for beside the machine.
            beside: what else the product may rent on its account.

        Raises:
            Misconfigured: it is more than is left.
        """
        usd = hourly_at_most(price, disk_gb) * minutes / 60 + (beside.usd if beside else 0)
        if not usd >= 0:
            raise Misconfigured(f"{what} for {minutes:g} min cannot be priced: {usd} USD is no amount of money.")
        reservation = Reservation(what, usd, minutes)
        with self._lock:
            left = self.limit_usd - self._spent - sum(other.usd for other in self._reserved)
            if usd > left + 1e-9:  # the sum of many floats
                disk = f" and {disk_gb:g} GB of disk" if disk_gb else ""
                more = f" ({dollars_up(beside.usd)} of it for {beside.what})" if beside else ""
                raise Misconfigured(
                    f"Renting {what}{disk} for up to {minutes:g} min reserves {dollars_up(usd)}{more}, but only "
                    f"{dollars_down(max(left, 0))} of the budget of {dollars_up(self.limit_usd)} is left. Raise "
                    "BUDGET_USD, lower MAX_PRICE, or allow the machine fewer minutes."
                )
            self._reserved.append(reservation)
        return reservation

    def settle(self, reservation: Reservation, spent_usd: float) -> None:
        """Gives a reservation back and books what was spent instead. Settling twice books once."""
        with self._lock:
            # By identity: two equal machines have equal reservations, and each is settled once.
            for index, other in enumerate(self._reserved):
                if other is reservation:
                    del self._reserved[index]
                    self._spent += spent_usd
                    return

    def book(self, spent_usd: float) -> None:
        """Books what was spent without a reservation of its own, such as on those that lost a race."""
        with self._lock:
            self._spent += spent_usd

    def alarm(self, growing_usd: float) -> str | None:
        """Half of the budget is spent: says so once, with the numbers; None before and ever after.

        Args:
            growing_usd: what the machines that still live have cost so far.
        """
        spent = self.spent_usd + growing_usd
        with self._lock:
            if self._alarmed or spent < self.limit_usd * ALARM_AT or not spent:
                return None
            self._alarmed = True
        return f"At least half of the budget is spent: {dollars_up(spent)} of {dollars_up(self.limit_usd)}."

    def overdrawn(self, growing_usd: float, billed_usd: float = 0.0) -> str | None:
        """More is spent than the budget: says so, with the numbers; None as long as it is kept.

        Args:
            growing_usd: as for `alarm`.
            billed_usd: what the clouds ask for all of it, which counts when it is more than what was booked.
        """
        spent = max(self.spent_usd + growing_usd, billed_usd)
        if spent <= self.limit_usd + 1e-9:
            return None
        return (
            f"The budget of {dollars_up(self.limit_usd)} is overdrawn: {dollars_up(spent)} is spent. Nothing more is "
            "rented, and no further test is begun; what is rented is destroyed. Raise BUDGET_USD, or choose fewer "
            "tests."
        )


def hourly_at_most(price: float, disk_gb: float) -> float:
    """What a machine of this price costs with this disk, USD an hour, when storage is at its dearest."""
    return price + disk_gb * STORAGE_USD_PER_GB_MONTH / HOURS_PER_MONTH
