"""The variables whose defaults depend on the target; `--variable NAME:value` overrides them.

The real Dumont Cloud costs money: it has no default budget, and nothing starts without one. Addresses and keys come
from the environment or from `.env`, under the names that `python -m sandbox env` prints.
"""

from __future__ import annotations

from rekindle.variables import defaults


def get_variables(target: str) -> dict[str, object]:
    """Return the defaults of a target. An unknown target has none for money; `Open The Target` rejects it."""
    return defaults("sandbox" if target.strip().lower() == "sandbox" else "live")
