"""The variables that each target brings along; each can be given another value by `--variable NAME:value`."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Target:
    """Names as they are in suites: USD, USD/h, seconds."""

    BUDGET_USD: float | None
    MAX_PRICE: float
    IDLE_SECONDS: float


# The real Dumont Cloud. It costs money: `--variable BUDGET_USD:3` allows at most 3 USD, and nothing starts without it.
# Addresses and keys come from the environment or from `.env`, under the names that `python -m sandbox env` prints.
LIVE = Target(BUDGET_USD=None, MAX_PRICE=0.5, IDLE_SECONDS=60)

# The embedded cloud on this machine. Everything is free and near, so the waits are short. The budget is that of twenty
# failovers at once, for each of which the product may have many machines race.
SANDBOX = Target(BUDGET_USD=30.0, MAX_PRICE=1.0, IDLE_SECONDS=3)


def get_variables(target: str) -> dict[str, float | None]:
    """What Robot imports. A target that does not exist gets no budget either: opening it says which ones there are."""
    return asdict(SANDBOX if target.lower() == "sandbox" else LIVE)
