"""Machines whose SSH is reached through the network."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import httpx2

from sandbox.hosts import BootFailed, Host, MachineSpec
from sandbox.hosts.host import free_port
from sandbox.state import CloudConfig, Secrets

NETWORK_WITHIN = 10.0  # seconds for the network to come up beside us
LOOK = 0.05


class ProxiedHost(Host):
    """As Host, but the SSH port of each machine is that of a proxy: `ssh-<id>`, for as long as the machine runs."""

    def __init__(self, machines: Path, config: CloudConfig, secrets: Secrets) -> None:
        super().__init__(machines)
        assert config.proxies is not None  # noqa: S101 - who has no proxies has a plain Host
        self._network = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{config.proxies.api}",
            headers={"Authorization": f"Bearer {secrets.admin_token}"},
            trust_env=False,
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # an empty one: there is no TLS, and this costs nothing
        )

    async def boot(self, spec: MachineSpec) -> int:
        behind = await super().boot(spec)
        if spec.troubles.ssh_refused:  # a proxy would accept what nobody answers
            return behind
        try:
            return await self._open_way(spec.id, behind)
        except BaseException as error:
            await self.stop(spec.id)
            if isinstance(error, httpx2.HTTPError | TimeoutError):
                raise BootFailed(f"the network has no way to it: {error}") from error
            raise

    async def stop(self, machine_id: int) -> None:
        """A machine that has ended refuses connections, and so must its way."""
        await super().stop(machine_id)
        with suppress(httpx2.TransportError):  # the network has ended, and all ways with it
            await self._network.delete(f"/proxies/ssh-{machine_id}")

    async def _open_way(self, machine_id: int, port: int) -> int:
        """Lets a proxy stand before a port, and returns its own. The network may still be coming up."""
        async with asyncio.timeout(NETWORK_WITHIN):
            while True:
                # Among the ports of machines, where their traffic is counted.
                listen = f"127.0.0.1:{free_port()}"
                order = {"name": f"ssh-{machine_id}", "listen": listen, "upstream": f"127.0.0.1:{port}"}
                try:
                    answer = await self._network.post("/populate", json=[order])
                except httpx2.ConnectError:
                    await asyncio.sleep(LOOK)
                    continue
                if answer.status_code != 409:  # else somebody was quicker to take the port
                    (proxy,) = answer.raise_for_status().json()["proxies"]
                    return int(proxy["listen"].rpartition(":")[2])
