"""Failovers ordered and waited for in one call, by a strategy that may be chosen for once; and what would happen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator

from sandbox.control.errors import ApiError
from sandbox.control.failover import SOURCES
from sandbox.control.failover_record import Failover
from sandbox.control.failover_settings import Strategy
from sandbox.control.services import Services


def _of_the_product(name: object) -> object:
    """`both` is the product's name for a warm machine first, and a standby when there is none."""
    return "warm_pool" if name == "both" else name


AnyStrategy = Annotated[Strategy, BeforeValidator(_of_the_product)]


class Execution(BaseModel):
    """`ssh_host` and `ssh_port` are taken and not needed: the market knows where its machine is."""

    machine_id: int
    gpu_instance_id: int
    ssh_host: str | None = None
    ssh_port: int | None = None
    workspace_path: Literal["/workspace"] = "/workspace"
    force_strategy: AnyStrategy | None = None


class Execute(BaseModel):
    gpu_instance_id: int
    ssh_host: str | None = None
    ssh_port: int | None = None
    strategy: AnyStrategy | None = None
    dry_run: bool = True


def router(services: Services) -> APIRouter:
    failovers = services.failovers
    routes = APIRouter(prefix="/failover", tags=["failover"], dependencies=[Depends(services.accounts.user)])

    async def executed(instance_id: int, strategy: Strategy | None, reason: str) -> Failover | ApiError:
        """A failover that is over, or why there was none."""
        try:
            failover = await failovers.order(instance_id, reason, strategy=strategy)
        except ApiError as refusal:
            return refusal
        await failovers.until_over(failover)
        return failover

    @routes.post("/execute")
    async def execute(wish: Execution) -> dict[str, Any]:
        """Answers 200 when the failover is over, whatever it came to: `success` tells."""
        strategy = wish.force_strategy or failovers.settings.strategy(wish.gpu_instance_id)
        done = await executed(wish.gpu_instance_id, wish.force_strategy, "ordered")
        new = None
        if isinstance(done, Failover) and done.success and done.new_instance_id is not None:
            new = await services.machines.instance(done.new_instance_id)
        return {
            "machine_id": wish.machine_id,
            "strategy_attempted": strategy,
            **_outcome(done),
            "new_gpu_id": new.id if new else None,
            "new_ssh_host": new.ssh_host if new else None,
            "new_ssh_port": new.ssh_port if new else None,
            "new_gpu_name": new.gpu_name if new else None,
            **_attempts(done),
        }

    @routes.post("/test/{machine_id}")
    async def test(machine_id: int, wish: Annotated[Execute, Query()]) -> dict[str, Any]:
        """A dry run looks whether it would succeed. Else the machine is ended, and fails over."""
        if not wish.dry_run:
            done = await executed(wish.gpu_instance_id, wish.strategy, "failover_test")
            new_id = done.new_instance_id if isinstance(done, Failover) else None
            return {"dry_run": False, "machine_id": machine_id, **_outcome(done), "new_instance": new_id}
        await services.machines.instance(wish.gpu_instance_id)
        readiness = await failovers.readiness(wish.gpu_instance_id, wish.strategy)
        source = next((name for name, reason in readiness.items() if reason is None), None)
        reasons = "; ".join(reason for reason in readiness.values() if reason) or "failover is disabled for it"
        return {
            "dry_run": True,
            "machine_id": machine_id,
            "would_succeed": source is not None,
            "readiness": {name: reason or "ready" for name, reason in readiness.items()},
            "message": f"Its workspace would come back from {source}" if source else f"It would be lost: {reasons}",
        }

    @routes.get("/readiness/{instance_id}")
    async def readiness_of(instance_id: int) -> dict[str, Any]:
        reasons = await failovers.readiness(instance_id)
        names = (*SOURCES["cpu_standby"], "warm_pool")
        return {
            "machine_id": instance_id,
            "effective_strategy": failovers.settings.strategy(instance_id),
            **{f"{name}_ready": name in reasons and reasons[name] is None for name in names},
            **{f"{name}_status": reason or "ready" for name, reason in reasons.items()},
            "data_source": next((name for name, reason in reasons.items() if reason is None), None),
            "overall_ready": any(reason is None for reason in reasons.values()),
        }

    @routes.get("/status/{instance_id}")
    async def status(instance_id: int) -> dict[str, Any]:
        warm, standby = services.warm_pool.get(instance_id), services.standbys.get(instance_id)
        failover = failovers.of(instance_id)
        readiness = await failovers.readiness(instance_id)
        return {
            "machine_id": instance_id,
            "effective_strategy": failovers.settings.strategy(instance_id),
            "warm_pool": warm.public() if warm else {"state": "disabled"},
            "cpu_standby": standby.public() if standby else {"state": "disabled"},
            "failover": failover.brief() if failover else None,
            "recommended_action": _advice(failover, readiness),
        }

    return routes


def _outcome(done: Failover | ApiError) -> dict[str, Any]:
    if isinstance(done, ApiError):
        return {
            "success": False, "failover_id": None, "strategy_succeeded": None, "total_ms": None, "error": done.message,
        }  # fmt: skip
    return {
        "success": done.success,
        "failover_id": done.failover_id,
        "strategy_succeeded": done.data_source if done.success else None,
        "total_ms": done.total_ms,
        "error": done.error,
    }


def _attempts(done: Failover | ApiError) -> dict[str, Any]:
    """For each strategy that was tried, how long and why in vain. One that was not tried has no time."""
    told: dict[str, Any] = {}
    for name in ("warm_pool", "cpu_standby"):
        refusal = done.refusals.get(name) if isinstance(done, Failover) else None
        served = isinstance(done, Failover) and done.data_source == name
        told[f"{name}_attempt_ms"] = round(refusal.seconds * 1000, 3) if refusal else None
        told[f"{name}_error"] = refusal.error if refusal else None
        if served and isinstance(done, Failover):
            told[f"{name}_attempt_ms"], told[f"{name}_error"] = done.total_ms, done.error
    return told


def _advice(failover: Failover | None, readiness: dict[str, str | None]) -> str:
    ready = any(reason is None for reason in readiness.values())
    if failover is not None and not failover.over:
        return f"wait: failover {failover.failover_id} is {failover.phase}"
    if failover is not None:
        return "fail over again" if ready else "nothing is left to fail over to"
    return "none" if ready else "enable a CPU standby, or take a snapshot: nothing could serve the workspace now"
