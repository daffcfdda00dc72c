"""Instances: the market's machines in the API's words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from sandbox.control import process
from sandbox.control.agents import Agents
from sandbox.control.defaults import DEFAULT_IMAGE
from sandbox.control.errors import ApiError
from sandbox.control.failover import Failovers
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.hibernation import Hibernations
from sandbox.control.homes import Homes
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance, Rent
from sandbox.control.migration import Migrations
from sandbox.control.offers import find
from sandbox.control.progress import ProgressOf
from sandbox.control.volumes import region_of, with_volume
from sandbox.control.wake import Wakes

LEAST_BALANCE = 0.10  # USD
COMMAND_WITHIN = 600.0  # seconds
USER_REQUEST = "user_request"


class NewInstance(BaseModel):
    """The body of `POST /instances`; other fields are ignored, as the product does."""

    offer_id: int
    image: str = DEFAULT_IMAGE
    disk_size: float = Field(default=100, ge=10, description="GB")
    label: str | None = None
    ports: list[int] = [8080]
    onstart_cmd: str | None = None
    failover_strategy: str | None = Field(
        default=None, description="regional_volume puts the workspace onto a volume; unknown ones are ignored"
    )
    skip_standby: bool = Field(default=False, description="no CPU standby, even when new machines get one")
    skip_validation: bool = Field(default=False, description="does not look at the balance first")


class Instances:
    def __init__(
        self,
        market: MarketClient,
        machines: Machines,
        fleet: Fleet,
        agents: Agents,
        hibernations: Hibernations,
        wakes: Wakes,
        progress_of: ProgressOf,
        homes: Homes,
        failovers: Failovers,
        migrations: Migrations,
    ) -> None:
        self._market = market
        self._machines = machines
        self._fleet = fleet
        self._agents = agents
        self._hibernations = hibernations
        self._wakes = wakes
        self._homes = homes
        self._standbys = homes.standbys
        self._volumes = homes.volumes
        self._failovers = failovers
        self._migrations = migrations
        self._progress_of = progress_of

    async def create(self, wish: NewInstance) -> dict[str, Any]:
        """Rents an offer. The machine boots in the background: readiness is in `get`."""
        if not wish.skip_validation:
            await self.check_balance()
        instance_id = await self._rent(wish)
        machine = self._fleet.add(TrackedMachine(instance_id=instance_id, label=wish.label, image=wish.image))
        self._failovers.settings.choose(instance_id, wish.failover_strategy)
        self._agents.wanted()
        if not wish.skip_standby:
            self._standbys.enable_when_wanted(instance_id)
        try:
            instance = await self._machines.instance(instance_id)
        except ApiError:
            # It is rented and must not be lost: what is not known yet can be asked for later.
            instance = MarketInstance(id=instance_id, label=machine.label, disk_space=wish.disk_size)
        return self._shown(instance)

    async def _rent(self, wish: NewInstance) -> int:
        """Rents the offer; for a workspace on a volume, that is made first, and deleted when it is in vain."""
        rent = Rent(image=wish.image, disk=wish.disk_size, label=wish.label, onstart=wish.onstart_cmd, ports=wish.ports)
        if wish.failover_strategy != "regional_volume":
            return await self._market.rent(wish.offer_id, rent)
        offer = await find(self._market, wish.offer_id)
        if offer is None:
            raise ApiError(404, f"Oferta {wish.offer_id} indisponível")
        lease = await self._volumes.order(region_of(offer.geolocation), wish.disk_size, wish.label)
        try:
            instance_id = await self._market.rent(wish.offer_id, with_volume(rent, lease))
        except ApiError:
            self._volumes.give_back(lease)
            raise
        self._volumes.belongs_to(lease, instance_id)
        return instance_id

    async def check_balance(self) -> None:
        """Refuses what would be rented without money."""
        account = await self._market.account()
        balance = float(account.get("credit") or 0) + float(account.get("balance") or 0)
        if balance < LEAST_BALANCE:
            raise ApiError(402, f"Saldo insuficiente: {balance:.2f} USD; at least {LEAST_BALANCE:.2f} USD is needed")

    async def listing(self, status: str | None) -> list[dict[str, Any]]:
        shown = []
        listed = await self._market.instances()
        for instance in [*listed, *self._ghosts({instance.id for instance in listed})]:
            row = self._shown(instance)
            row["actual_status"] = row["actual_status"] or row["status"]
            if status in (None, row["status"], row["actual_status"]):
                shown.append(row)
        return shown

    async def get(self, instance_id: int) -> dict[str, Any]:
        instance = await self._market.instance(instance_id)
        instance = instance or next((one for one in self._ghosts(set()) if one.id == instance_id), None)
        restore = self._wakes.progress(instance_id)
        if instance is None:
            raise ApiError(404, self._why_missing(instance_id, restore))
        machine = self._fleet.get(instance_id)
        return self._shown(instance) | {"restore": restore, "hibernation": machine.state if machine else None}

    def _ghosts(self, listed: set[int]) -> list[MarketInstance]:
        """Machines that the market no longer has, and that are being replaced, or are alive in their standby."""
        ghosts = []
        for machine in self._fleet:
            if machine.instance_id in listed:
                continue
            served = machine.status == "lost" and self._homes.keep(machine.instance_id)
            if machine.status == "failing_over" or served:
                was = self._failovers.as_it_was(machine.instance_id)
                if was is not None:
                    gone = {"actual_status": "offline", "status_msg": machine.error, "ports": None, "gpu_util": None}
                    ghosts.append(was.model_copy(update=gone))
        return ghosts

    def _why_missing(self, instance_id: int, restore: dict[str, object] | None) -> str:
        words = f"Instance {instance_id} not found"
        machine = self._fleet.get(instance_id)
        if machine is not None and machine.status == "hibernated":
            return f"{words}: it is hibernated in snapshot {machine.snapshot_id}; wake it to have it back"
        if machine is not None and machine.status == "woken":
            return f"{words}: it was woken as instance {machine.new_instance_id}"
        if restore is not None and restore["error"]:
            return f"{words}: {restore['error']}"
        fate = self._failovers.fate(instance_id) or self._migrations.fate(instance_id)
        return f"{words}: {fate}" if fate else words

    async def delete(self, instance_id: int, *, destroy_standby: bool = True, reason: str = USER_REQUEST) -> None:
        """Destroys a machine for good, also in the middle of a hibernation or a failover, and sees that it is gone.

        Its standby goes with it, unless it shall stay, or the machine ends for another reason than its user's wish.
        """
        known = self._homes.keep(instance_id) or self._failovers.of(instance_id) is not None
        if not known:
            await self._machines.instance(instance_id)
        await self._failovers.cancel(instance_id)
        await self._migrations.cancel(instance_id)
        await self._hibernations.cancel(instance_id)
        if destroy_standby and reason == USER_REQUEST:
            async with self._standbys.leaving(instance_id):
                await self._market.destroy(instance_id)
        else:
            await self._market.destroy(instance_id)
            if self._standbys.get(instance_id) is not None:
                await self._standbys.fail_over(instance_id, reason)
        self._failovers.settings.forget(instance_id)
        await self._homes.warm_pool.end(instance_id)
        await self._volumes.end(instance_id)
        self._fleet.remove(instance_id)

    async def set_state(self, instance_id: int, state: str) -> None:
        self._fleet.refuse_while_busy(instance_id)
        await self._machines.instance(instance_id)
        await self._market.set_state(instance_id, state)

    async def execute(self, instance_id: int, command: str) -> process.Finished:
        machine = await self._machines.running(instance_id, refusal=409)
        return await machine.execute(command, within=COMMAND_WITHIN)

    async def tracked(self, instance_id: int) -> TrackedMachine:
        """What is remembered of a machine; one that was rented elsewhere is taken in."""
        machine = self._fleet.get(instance_id)
        return machine or self._fleet.add(TrackedMachine.of(await self._machines.instance(instance_id)))

    async def balance(self) -> dict[str, Any]:
        account = await self._market.account()
        return {name: account.get(name) for name in ("credit", "balance", "balance_threshold", "email")}

    def _shown(self, instance: MarketInstance) -> dict[str, Any]:
        failover, association = self._failovers.of(instance.id), self._standbys.get(instance.id)
        migration = self._migrations.of(instance.id)
        competing = self._failovers.races.of(instance)
        return _row(instance) | {
            "progress": self._progress_of.public(instance.id),
            "failover": failover.brief() if failover else None,
            "migration": {"migration_id": migration.migration_id, "phase": migration.phase} if migration else None,
            "standby": association.brief() if association else None,
            "cpu_standby": association.listed() if association else None,
            "total_dph": _sum(instance.dph_total, association.hourly_usd if association else None),
            # These three are no machines that a user has (yet).
            "race": {"race_id": competing[0].race_id, "state": competing[1].state} if competing else None,
            "replaces": self._failovers.replaced_by(instance.id) or self._migrations.replaced_by(instance.id),
            "warm_for": self._homes.warm_pool.serves(instance.id),
        }


def _sum(price: float | None, standby: float | None) -> float | None:
    return None if price is None else round(price + (standby or 0), 6)


def _row(instance: MarketInstance) -> dict[str, Any]:
    started = instance.start_date
    return {
        "id": instance.id,
        "instance_id": instance.id,
        "status": instance.intended_status,
        "actual_status": instance.actual_status,
        "status_msg": instance.status_msg,
        "label": instance.label,
        "gpu_name": instance.gpu_name,
        "num_gpus": instance.num_gpus,
        "gpu_ram": instance.gpu_ram,
        "cpu_cores": instance.cpu_cores,
        "cpu_ram": instance.cpu_ram,
        "disk_space": instance.disk_space,
        "dph_total": instance.dph_total,
        "total_dph": None,
        "public_ipaddr": instance.public_ipaddr,
        "ssh_host": instance.ssh_host,
        "ssh_port": instance.ssh_port,
        "start_date": datetime.fromtimestamp(started, UTC).isoformat() if started else None,
        "ports": instance.ports,
        "gpu_util": instance.gpu_util,
        "gpu_temp": instance.gpu_temp,
        "cpu_util": None,
        "ram_used": None,
        "ram_total": None,
        "provider": "vast.ai",
        "machine_id": instance.machine_id,
        "geolocation": instance.geolocation,
        "image": instance.image_uuid,
        "cpu_standby": None,
    }
