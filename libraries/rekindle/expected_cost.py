"""What tests are expected to cost, and the most that they can: told, and agreed to, before anything is rented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rekindle.budget import hourly_at_most
from rekindle.errors import Misconfigured
from rekindle.money import dollars, dollars_down, dollars_up
from rekindle.wording import counted


@dataclass(frozen=True)
class Plan:
    """What one test is going to rent: so many machines, each for about so many minutes."""

    machines: int
    minutes: float


@dataclass(frozen=True)
class ExpectedCost:
    """Of all tests that are about to run.

    Attributes:
        machines: how many are rented in all.
        machine_minutes: about how long, added up.
        gpu_name, price: of the cheapest offer that fits; USD/h.
        max_price: the dearest that may be rented, USD/h.
        most_minutes: how long one machine can live at most.
        disk_gb: the disk of each.
    """

    machines: int
    machine_minutes: float
    gpu_name: str
    price: float
    max_price: float
    most_minutes: float
    disk_gb: float

    @property
    def usd(self) -> float:
        """What is expected."""
        return hourly_at_most(self.price, self.disk_gb) * self.machine_minutes / 60

    @property
    def most_usd(self) -> float:
        """What it can be, when every machine is as dear and lives as long as it may."""
        return hourly_at_most(self.max_price, self.disk_gb) * self.machines * self.most_minutes / 60

    def lines(self) -> list[str]:
        """For a person who may still say no."""
        rented = counted(self.machines, "machine")
        minutes = f"{self.machine_minutes:g} minutes in all"
        cheapest = f"{dollars(self.price)}/h ({self.gpu_name}, the cheapest that fits)"
        longest = f"{self.most_minutes:g} minutes at {dollars(self.max_price)}/h"
        return [
            f"Expected cost: {dollars_up(self.usd)}, for {rented} and {minutes} at {cheapest}",
            f"At most: {dollars_up(self.most_usd)}, when each of them lives {longest}",
        ]

    def raise_unless_agreed(self, *, real: bool, left_usd: float) -> None:
        """Stops what was not meant, or cannot be paid.

        Args:
            real: whether the user has said that real money may be spent.
            left_usd: what is left of the budget.

        Raises:
            Misconfigured: says what is missing, and which variable gives it.
        """
        rented = counted(self.machines, "machine")
        longest = f"{self.most_minutes:g} minutes at up to {dollars(self.max_price)}/h"
        if not real:
            raise Misconfigured(
                f"These tests would rent {rented} on the real market, for about {dollars_up(self.usd)} and at most "
                f"{dollars_up(self.most_usd)}. When that is meant, say so: --variable REAL:True"
            )
        if self.most_usd > left_usd + 1e-9:  # the sum of many floats
            raise Misconfigured(
                f"These tests can cost {dollars_up(self.most_usd)} ({rented}, each for up to {longest}, and its disk; "
                f"about {dollars_up(self.usd)} is expected), but {dollars_down(max(left_usd, 0))} of BUDGET_USD is "
                "left. Raise BUDGET_USD, lower MAX_PRICE or MACHINE_MINUTES, or choose fewer tests."
            )


def sum_of(plans: Sequence[Plan]) -> Plan:
    """How many machines in all, and for how many minutes all of them together."""
    return Plan(sum(plan.machines for plan in plans), sum(plan.machines * plan.minutes for plan in plans))
