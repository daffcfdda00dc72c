"""What a machine that takes another one's place inherits."""

from __future__ import annotations

from sandbox.control.agents import Agents
from sandbox.control.failover_settings import FailoverSettings
from sandbox.control.fleet import Fleet, HibernationConfig, TrackedMachine
from sandbox.control.market_client import MarketInstance


class Succession:
    def __init__(self, fleet: Fleet, agents: Agents, settings: FailoverSettings) -> None:
        self._fleet = fleet
        self._agents = agents
        self.settings = settings

    async def take_place(self, old: TrackedMachine, new: MarketInstance) -> bool:
        """Gives the new machine the settings of the old one, and an agent. May be repeated.

        Returns False when the agent could not be installed yet; it is tried again in the background.
        """
        machine = self._fleet.get(new.id) or self._fleet.add(TrackedMachine.of(new))
        # Who has got a new machine wants to use it: it is given the time to begin, whatever the old one had.
        unhurried = max(old.config.idle_timeout_seconds, HibernationConfig().idle_timeout_seconds)
        machine.config = old.config.model_copy(update={"idle_timeout_seconds": unhurried})
        self._fleet.save(machine)
        self.settings.carry_over(old.instance_id, new.id)
        return await self._agents.install(machine, new)
