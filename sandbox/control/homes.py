"""Where a workspace lives besides its machine."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.control.standby import Standbys
from sandbox.control.volumes import RegionalVolumes
from sandbox.control.warm_pool import WarmPool


@dataclass(frozen=True)
class Homes:
    standbys: Standbys
    warm_pool: WarmPool
    volumes: RegionalVolumes

    def keep(self, instance_id: int) -> bool:
        """Whether one of them would have the workspace of a machine that is no more."""
        homes = (self.standbys.get(instance_id), self.warm_pool.get(instance_id), self.volumes.get(instance_id))
        return any(home is not None for home in homes)
