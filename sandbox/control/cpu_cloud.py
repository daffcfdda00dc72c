"""The CPU cloud over HTTP, shaped like Google's Compute Engine: standbys are made and deleted there.

Machines are known by the name we give them: so every call may be repeated, and no lost answer loses a machine.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import httpx2
from pydantic import BaseModel

from sandbox.control.errors import ApiError
from sandbox.disk_answers import INSUFFICIENT_STORAGE

RETRIES = 3
GONE_WITHIN = 180.0  # seconds that the cloud may take to delete a machine
OWNER = "dumont-standby"  # the label that our machines carry; its value is the association's token


class CpuCloudError(ApiError):
    """The CPU cloud refused, or did not answer."""


class NameTaken(CpuCloudError):
    """There is a machine of this name."""


class CpuMachine(BaseModel):
    """A machine as the CPU cloud lists it."""

    id: int
    name: str
    zone: str
    machine_type: str
    status: str
    status_message: str
    ip: str | None
    ssh_port: int | None
    hourly_usd: float
    labels: dict[str, str]

    @property
    def is_running(self) -> bool:
        return self.status == "RUNNING" and self.ip is not None and self.ssh_port is not None


class CpuOrder(BaseModel):
    name: str
    zone: str
    machine_type: str
    disk_gb: int
    spot: bool
    owner: str
    ssh_keys: list[str]

    def body(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "machineType": f"zones/{self.zone}/machineTypes/{self.machine_type}",
            "metadata": {
                "items": [{"key": "ssh-keys", "value": "".join(f"root:{key}\n" for key in self.ssh_keys)}],
            },
            "scheduling": {"provisioningModel": "SPOT" if self.spot else "STANDARD"},
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": {
                        "diskSizeGb": str(self.disk_gb),
                        "sourceImage": "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts",
                    },
                }
            ],
            "labels": {OWNER: self.owner},
            "tags": {"items": ["dumont-standby", "allow-ssh"]},
        }


class CpuCloud:
    """One project of the CPU cloud."""

    def __init__(
        self,
        url: str,
        project: str,
        token: str,
        *,
        pause: float,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`pause`: seconds before the first retry; it doubles."""
        self._pause = pause
        self._http = httpx2.AsyncClient(
            base_url=f"{url}/compute/v1/projects/{project}/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx2.Timeout(30, connect=5),
            trust_env=False,
            # An empty context: the default one reads the system's certificates for a tenth of a second, for nothing.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            transport=transport,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def create(self, order: CpuOrder) -> CpuMachine:
        """Orders a machine, or finds it when this very order was taken before.

        Raises:
            NameTaken: the name belongs to another machine.
        """
        answer = await self._call("POST", f"zones/{order.zone}/instances", body=order.body(), taken={})
        machine = await self.machine(order.zone, order.name)
        if machine is None:
            raise CpuCloudError(502, f"The CPU cloud took the order for {order.name}, and does not have it: {answer}")
        if machine.labels.get(OWNER) != order.owner:
            raise NameTaken(409, f"The CPU cloud has another machine named {order.name}")
        return machine

    async def machine(self, zone: str, name: str) -> CpuMachine | None:
        """The machine, or None when the cloud says that there is none. Any other trouble is an error."""
        row = await self._call("GET", f"zones/{zone}/instances/{name}", missing=None)
        return None if row is None else _machine(row)

    async def machines(self) -> list[CpuMachine]:
        """All machines of the project."""
        answer = await self._call("GET", "aggregated/instances")
        return [_machine(row) for scope in answer["items"].values() for row in scope.get("instances", [])]

    async def delete(self, zone: str, name: str) -> None:
        """Deletes a machine and sees that the cloud no longer has it."""
        if await self._call("DELETE", f"zones/{zone}/instances/{name}", missing=None) is None:
            return
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (left := await self.machine(zone, name)) is not None:
            waited = loop.time() - begun
            if waited > GONE_WITHIN:
                raise CpuCloudError(
                    502,
                    f"The CPU cloud accepted to delete {name}, but {waited:.0f} s later it still lists it as "
                    f"{left.status}",
                )
            await asyncio.sleep(max(0.05, min(waited / 10, 2)))

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        missing: object = Ellipsis,
        taken: object = Ellipsis,
    ) -> Any:
        """A call that may be repeated. `missing`, `taken`: what 404 and 409 stand for; an error when not given."""
        for attempt in range(RETRIES + 1):
            try:
                answer = await self._http.request(method, path, json=body)
            except httpx2.TransportError as error:
                trouble = f"no answer ({error!r})"
            else:
                if answer.status_code == 404 and missing is not Ellipsis:
                    return missing
                if answer.status_code == 409 and taken is not Ellipsis:
                    return taken
                if answer.is_success:
                    return answer.json()
                if answer.status_code == INSUFFICIENT_STORAGE:  # trying again frees no space
                    raise CpuCloudError(INSUFFICIENT_STORAGE, _words(answer))
                trouble = f"{answer.status_code}: {_words(answer)}"
                if answer.status_code != 429 and answer.status_code < 500:
                    raise CpuCloudError(502, f"The CPU cloud refuses {method} {path}: {trouble}")
            if attempt < RETRIES:
                await asyncio.sleep(self._pause * 2**attempt)
        raise CpuCloudError(503, f"{method} {path} failed {RETRIES + 1} times at the CPU cloud; at last: {trouble}")


def _machine(row: dict[str, Any]) -> CpuMachine:
    interfaces = row.get("networkInterfaces") or [{}]
    access = interfaces[0].get("accessConfigs") or [{}]
    return CpuMachine(
        id=int(row["id"]),
        name=row["name"],
        zone=row["zone"].rpartition("/")[2],
        machine_type=row["machineType"].rpartition("/")[2],
        status=row["status"],
        status_message=row.get("statusMessage") or "",
        ip=access[0].get("natIP"),
        ssh_port=row.get("sshPort"),
        hourly_usd=row["hourlyUsd"],
        labels=row.get("labels") or {},
    )


def _words(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
