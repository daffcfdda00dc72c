"""Machines for volumes that their users have made: each of them has one user at a time."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.control.agents import Agents
from sandbox.control.defaults import DEFAULT_DISK, DEFAULT_IMAGE
from sandbox.control.errors import ApiError
from sandbox.control.failover_settings import FailoverSettings
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.market_client import MarketClient, MarketInstance, Rent
from sandbox.control.offers import Offer, OfferQuery, search
from sandbox.control.race import Races
from sandbox.control.volumes import Lease, RegionalVolumes, region_of, with_volume

ANY_PRICE = 1e6  # USD an hour
HIGHEST_PRICE = 10.0  # USD an hour, unless another one is given


class VolumeMachines:
    def __init__(
        self,
        fleet: Fleet,
        market: MarketClient,
        races: Races,
        volumes: RegionalVolumes,
        settings: FailoverSettings,
        agents: Agents,
    ) -> None:
        self._fleet = fleet
        self._market = market
        self._races = races
        self._volumes = volumes
        self._settings = settings
        self._agents = agents

    async def offers(
        self, region: str, *, gpu_names: Sequence[str] = (), max_price: float | None = None, disk: float = DEFAULT_DISK
    ) -> list[Offer]:
        """The offers in a region, a country code: the first model first, and of each the cheapest first."""
        query = OfferQuery(region=region, max_price=max_price or ANY_PRICE, min_disk=disk, min_inet_down=0, limit=100)
        found = [one for one in await search(self._market, query) if region_of(one.geolocation) == region]
        wanted = list(gpu_names)
        return sorted(
            (one for one in found if not wanted or one.gpu_name in wanted),
            key=lambda one: wanted.index(str(one.gpu_name)) if wanted else 0,
        )

    async def make(self, region: str, size_gb: float, label: str | None) -> Lease:
        """Makes a volume that stays until it is deleted. Raises ApiError: 404 no machine could use it there."""
        if not await self.offers(region, disk=0):
            raise ApiError(404, f"No machine is offered in region {region}: nothing could use a volume there")
        return await self._volumes.order(region, size_gb, label, kept=True)

    async def rent(
        self, lease: Lease, *, gpu_names: Sequence[str], image: str, max_price: float | None
    ) -> MarketInstance:
        """Rents a machine that has the volume as its workspace, and returns when that answers SSH.

        Raises:
            ApiError: 409 a machine has the volume; 503 no offer. Nothing is left rented.
        """
        if (user := lease.gpu_instance_id) is not None and await self._market.instance(user) is not None:
            raise ApiError(409, f"Volume {lease.volume_id} is the workspace of instance {user}: name that one")

        limit = max_price or HIGHEST_PRICE

        async def look() -> list[Offer]:
            return await self.offers(lease.region, gpu_names=gpu_names, max_price=limit)

        offers = await look()
        if not offers:
            what = " or ".join(gpu_names) or "any GPU"
            raise ApiError(503, f"No offer up to {limit:g} USD/h with {what} in region {lease.region}")
        rent = with_volume(Rent(image=image or DEFAULT_IMAGE, disk=DEFAULT_DISK, label=lease.label), lease)
        won = await self._races.run(self._races.order(), offers, look, rent, width=1)
        self._fleet.add(TrackedMachine.of(won.instance))
        self._settings.choose(won.instance.id, "regional_volume")
        self._volumes.belongs_to(lease, won.instance.id)
        self._agents.wanted()
        return won.instance
