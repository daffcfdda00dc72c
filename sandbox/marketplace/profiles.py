"""How fast the market is."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """Delays are ranges in seconds, added to what a machine needs by itself."""

    created: tuple[float, float]  # from the rent until the host has taken the order up
    loading: tuple[float, float]  # until the image is on the host
    requests_per_second: float  # to one endpoint, by one key
    burst: int  # requests at once to one endpoint, by one key

    def delays(self, seed: int, instance_id: int) -> tuple[float, float]:
        """The two delays of a machine. Same seed and machine, same delays."""
        chance = random.Random(f"{seed}/{instance_id}")  # noqa: S311 - repeatable by design
        return chance.uniform(*self.created), chance.uniform(*self.loading)


# A real GPU takes one to two and a half minutes from rent to SSH.
PROFILES = {
    "instant": Profile((0, 0), (0, 0), requests_per_second=500, burst=1000),
    "realistic": Profile((2, 15), (55, 130), requests_per_second=10, burst=50),
}
