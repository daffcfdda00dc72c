"""The real Dumont Cloud. It costs money: `--variable BUDGET_USD:3` allows at most 3 USD, and nothing starts without it.

Addresses and keys come from the environment or from `.env`, under the names that `python -m sandbox env` prints.
"""

BUDGET_USD = None
MAX_PRICE = 0.5
IDLE_SECONDS = 60
