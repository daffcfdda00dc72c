"""The embedded cloud on this machine. Everything is free and near, so the waits are short."""

BUDGET_USD = 5.0
MAX_PRICE = 1.0
IDLE_SECONDS = 3
