"""How machines fail over: what holds for all of them, and what for one."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from sandbox.records import Records

Strategy = Literal["cpu_standby", "snapshot", "warm_pool", "regional_volume", "disabled"]
ALL = "all"

STRATEGIES: tuple[dict[str, str], ...] = (
    {
        "id": "cpu_standby",
        "name": "CPU Standby",
        "description": "A CPU machine mirrors the workspace and serves it until a new GPU machine has it back. "
        "Without a standby, the newest snapshot is restored.",
        "data_loss": "what changed since the begin of the last sync",
        "cost": "one CPU machine",
        "requirements": "a CPU standby that has synced",
    },
    {
        "id": "snapshot",
        "name": "Snapshot",
        "description": "The newest snapshot is restored onto a new GPU machine.",
        "data_loss": "what changed since the newest snapshot",
        "cost": "the storage of the snapshots",
        "requirements": "a snapshot of the workspace",
    },
    {
        "id": "warm_pool",
        "name": "Warm Pool",
        "description": "A second GPU machine runs, kept in step; it takes over as it is.",
        "data_loss": "what changed since the begin of the last sync",
        "cost": "one more GPU machine",
        "requirements": "a second GPU machine that has synced",
    },
    {
        "id": "regional_volume",
        "name": "Regional Volume",
        "description": "The workspace is on a volume of the market, which a new GPU machine of that region uses.",
        "data_loss": "none of what was written",
        "cost": "the storage of the volume",
        "requirements": "a machine that was rented with failover_strategy regional_volume",
    },
    {
        "id": "disabled",
        "name": "Disabled",
        "description": "A machine that is lost stays lost.",
        "data_loss": "everything",
        "cost": "none",
        "requirements": "none",
    },
)


class GlobalSettings(BaseModel):
    """What holds for every machine that has no settings of its own. Price in USD an hour."""

    model_config = ConfigDict(extra="ignore")

    default_strategy: Strategy = "cpu_standby"
    auto_failover: bool = Field(default=True, description="a machine that is lost fails over by itself")
    max_price: float | None = Field(default=None, gt=0, description="of a new machine; twice the old one's by default")

    def public(self) -> dict[str, Any]:
        by_itself = "by themselves" if self.auto_failover else "only when told to"
        return self.model_dump() | {
            "summary": {
                "warm_pool_enabled": self.default_strategy == "warm_pool",
                "cpu_standby_enabled": self.default_strategy == "cpu_standby",
                "description": f"Machines fail over {by_itself}; strategy: {self.default_strategy}",
            }
        }


class MachineSettings(BaseModel):
    """What holds for one machine."""

    model_config = ConfigDict(extra="ignore")

    use_global_settings: bool = True
    strategy: Strategy | None = None

    @property
    def own(self) -> Strategy | None:
        return None if self.use_global_settings else self.strategy


class FailoverSettings:
    def __init__(self, records: Records) -> None:
        self._records = records

    @property
    def for_all(self) -> GlobalSettings:
        return self._records.get(GlobalSettings, ALL) or GlobalSettings()

    def set_for_all(self, settings: GlobalSettings) -> None:
        self._records.put(ALL, settings)

    def of(self, instance_id: int) -> MachineSettings:
        return self._records.get(MachineSettings, instance_id) or MachineSettings()

    def set_of(self, instance_id: int, settings: MachineSettings) -> None:
        self._records.put(instance_id, settings)

    def choose(self, instance_id: int, strategy: str | None) -> None:
        """Takes what was chosen when the machine was rented; what is no strategy here is ignored."""
        known = next((one for one in get_args(Strategy) if one == strategy), None)
        if known is not None:
            self.set_of(instance_id, MachineSettings(use_global_settings=False, strategy=known))

    def forget(self, instance_id: int) -> None:
        self._records.delete(MachineSettings, instance_id)

    def strategy(self, instance_id: int) -> Strategy:
        """The one that counts."""
        return self.of(instance_id).own or self.for_all.default_strategy

    def carry_over(self, old_id: int, new_id: int) -> None:
        """A machine that takes another one's place has its settings."""
        settings = self._records.get(MachineSettings, old_id)
        if settings is not None:
            self.set_of(new_id, settings)
            self.forget(old_id)
