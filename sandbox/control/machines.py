"""From an instance's id to a machine that can be entered."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from sandbox.control.errors import ApiError, not_found
from sandbox.control.market_client import MarketClient, MarketInstance
from sandbox.control.ssh import Door, Machine, SshError

NEVER_RUNS = ("exited", "offline", "error")


class Machines:
    """`restic_of[id]`: a lock for those who change or read a whole workspace: one at a time on a machine."""

    def __init__(self, market: MarketClient, door: Door) -> None:
        self._market = market
        self._door = door
        self.restic_of: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def instance(self, instance_id: int) -> MarketInstance:
        instance = await self._market.instance(instance_id)
        if instance is None:
            raise not_found(instance_id)
        return instance

    async def running(self, instance_id: int, *, refusal: int = 400) -> Machine:
        """The machine, if it runs; 404 unknown, `refusal` when it does not run."""
        instance = await self.instance(instance_id)
        if not instance.is_running:
            raise ApiError(refusal, f"Instance {instance_id} is not running (status: {instance.actual_status})")
        return self.enter(instance)

    def enter(self, instance: MarketInstance) -> Machine:
        if not instance.ssh_host or not instance.ssh_port:
            raise ApiError(400, f"Instance {instance.id} has no SSH address yet")
        return self._door.machine(instance.id, instance.ssh_host, instance.ssh_port)

    async def wait_ready(self, instance_id: int, within: float) -> tuple[MarketInstance, Machine]:
        """Waits until a machine runs and answers SSH.

        Raises:
            ApiError: 504 it did not in time, 502 it never will, 404 the market no longer has it.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while True:
            instance = await self.instance(instance_id)
            seen = f"status: {instance.actual_status}"
            if instance.actual_status in NEVER_RUNS:
                raise ApiError(502, f"Instance {instance_id} will not run ({seen}; {instance.status_msg})")
            if instance.is_running and instance.ssh_host and instance.ssh_port:
                machine = self.enter(instance)
                try:
                    await machine.run("true", within=10)
                except SshError as error:
                    seen = error.message
                else:
                    return instance, machine
            waited = loop.time() - begun
            if waited > within:
                raise ApiError(504, f"Instance {instance_id} was not ready after {waited:.0f} s ({seen})")
            await asyncio.sleep(min(2.0, max(0.1, waited / 20)))
