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
    standby_sync: float  # between two syncs of a CPU standby, unless configured
    missed_after: float  # without a heartbeat: a protected machine is looked at
    look_for_losses: float  # between two such looks


_PROFILES = {
    "instant": Tuning(
        heartbeat=0.5,
        market_pause=0.25,
        ready_within=60,
        look_for_agents=2,
        standby_sync=0.5,
        missed_after=0.7,
        look_for_losses=0.05,
    ),
    "realistic": Tuning(
        heartbeat=30,
        market_pause=2,
        ready_within=300,
        look_for_agents=15,
        standby_sync=30,
        missed_after=45,
        look_for_losses=2,
    ),
}


def tuning(profile: str) -> Tuning:
    return _PROFILES[profile]
