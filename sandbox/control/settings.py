"""How patient Dumont Cloud is. Seconds everywhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tuning:
    """The times that a profile sets."""

    heartbeat: float  # between two heartbeats of an agent
    market_pause: float  # before the first retry of a market call; it doubles
    ready_within: float  # a rented machine must run and answer SSH
    look_for_agents: float  # between two looks for machines whose agent is silent


_PROFILES = {
    "instant": Tuning(heartbeat=0.5, market_pause=0.25, ready_within=60, look_for_agents=2),
    "realistic": Tuning(heartbeat=30, market_pause=2, ready_within=300, look_for_agents=15),
}


def tuning(profile: str) -> Tuning:
    return _PROFILES[profile]
