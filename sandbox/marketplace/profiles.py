"""How fast the market is."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Delays are ranges in seconds, added to what a machine needs by itself."""

    created: tuple[float, float]  # from the rent until the host has taken the order up
    loading: tuple[float, float]  # until the image is on the host
    cpu_boot: tuple[float, float]  # until a machine of the CPU cloud boots
    requests_per_second: float  # to one endpoint, by one key
    burst: int  # requests at once to one endpoint, by one key

    def delays(self, seed: int, instance_id: int) -> tuple[float, float]:
        """The two delays of a machine. Same seed and machine, same delays."""
        chance = random.Random(f"{seed}/{instance_id}")  # noqa: S311 - repeatable by design
        return chance.uniform(*self.created), chance.uniform(*self.loading)

    def cpu_delay(self, seed: int, machine_id: int) -> float:
        """The delay of a machine of the CPU cloud."""
        return random.Random(f"{seed}/{machine_id}").uniform(*self.cpu_boot)  # noqa: S311 - repeatable by design


# A real GPU takes one to two and a half minutes from rent to SSH, a CPU machine about ten seconds.
PROFILES = {
    "instant": Profile((0, 0), (0, 0), (0, 0), requests_per_second=500, burst=1000),
    "realistic": Profile((2, 15), (55, 130), (8, 12), requests_per_second=10, burst=50),
}
