"""The client of the CPU cloud (Google's Compute Engine): the witness of the machines that CPU standbys live on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Unpack

from rekindle.errors import Unknown
from rekindle.http import Habits, Refused, ServiceClient
from rekindle.market import Charge, read_charge
from rekindle.wording import named

# `dumont-<label of the GPU machine>-<epoch>`: how the product names a standby.
_NAME = re.compile(r"dumont-(?P<label>.+)-(?P<epoch>\d+)")
MOST_PAGES = 1000
# What a zone without any machine is told to be.
EMPTY = "NO_RESULTS_ON_PAGE"
# Standard persistent disks, by the CPU cloud's price list.
DISK_USD_PER_GB_MONTH = 0.04
HOURS_PER_MONTH = 30 * 24


@dataclass(frozen=True)
class CpuMachine:
    """A machine as the CPU cloud has it: `status` such as RUNNING; address and port are None while it has none.

    `hourly_usd` is the price without the disk, None where the cloud does not tell it; `disk_gb` its disks together.
    """

    id: int
    name: str
    zone: str
    machine_type: str
    status: str
    ip: str | None
    ssh_port: int | None
    hourly_usd: float | None
    disk_gb: float = 0.0

    @property
    def hourly_with_disk_usd(self) -> float | None:
        """What it costs, USD an hour."""
        disk = self.disk_gb * DISK_USD_PER_GB_MONTH / HOURS_PER_MONTH
        return None if self.hourly_usd is None else self.hourly_usd + disk

    @property
    def label(self) -> str | None:
        """The label of the GPU machine that it stands by, out of its name."""
        found = _NAME.fullmatch(self.name)
        return found["label"] if found else None

    @property
    def named_at(self) -> float | None:
        """When it was ordered, in seconds since the epoch, out of its name."""
        found = _NAME.fullmatch(self.name)
        return float(found["epoch"]) if found else None


class GcpClient(ServiceClient):
    """One project of the CPU cloud. Thread-safe.

    Args:
        url: the cloud's address, without `/compute`.
        project: whose machines.
        token: an access token.
        habits: as in `rekindle.http.Habits`.
    """

    service = "CPU cloud"
    address = "GCP_URL"
    asked = "The CPU cloud"
    credential = "token"
    credentials = "GCP_ACCESS_TOKEN and GCP_PROJECT"

    def __init__(self, url: str, project: str, token: str, **habits: Unpack[Habits]) -> None:
        super().__init__(url, token, **habits)
        self._project = f"/compute/v1/projects/{project}"
        self._bill = f"/billing/v1/projects/{project}/charges"

    def machine(self, zone: str, name: str) -> CpuMachine | None:
        """The machine, or None when the cloud has none of this name in this zone.

        Raises:
            Misconfigured: the token is wrong.
            Unknown: it could not be asked.
        """
        try:
            return _machine(self._http.get(f"{self._project}/zones/{zone}/instances/{name}"))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise self._cannot_tell(f"whether CPU machine {name} exists", refused) from None

    def instances(self) -> list[CpuMachine]:
        """Every machine of the project, in all zones, all pages. An error is raised, never an empty list."""
        what = "which CPU machines exist"
        rows: list[CpuMachine] = []
        token: str | None = None
        for _ in range(MOST_PAGES):
            try:
                answer = self._http.get(f"{self._project}/aggregated/instances", params={"pageToken": token})
            except Refused as refused:
                raise self._cannot_tell(what, refused) from None
            scopes = answer.get("items") if isinstance(answer, dict) else None
            if not isinstance(scopes, dict):
                raise Unknown(f"It cannot be told {what}: the CPU cloud's answer has no `items`.")
            if silent := _silent(answer, scopes):
                raise Unknown(f"It cannot be told {what}: the CPU cloud could not look into {named(silent)}.")
            rows += [_machine(row) for scope in scopes.values() for row in scope.get("instances", [])]
            token = answer.get("nextPageToken")
            if not token:
                return rows
        raise Unknown(f"It cannot be told {what}: there are more than {MOST_PAGES} pages.")

    def destroy(self, machine_id: int) -> bool:
        """Has a machine deleted, by its number. Returns whether there was one; the cloud deletes it a little later."""
        found = next((row for row in self.instances() if row.id == machine_id), None)
        if found is None:
            return False
        try:
            self._http.delete(f"{self._project}/zones/{found.zone}/instances/{found.name}")
        except Refused as refused:
            if refused.status == 404:
                return False
            raise self._cannot_tell(f"whether CPU machine {found.name} was deleted", refused) from None
        return True

    def statement(self) -> list[Charge] | None:
        """The bill of everything in the project; None where the cloud shows none (Google's comes a day later).

        Raises:
            Misconfigured: the token is wrong.
            Unknown: it could not be asked, or not be read.
        """
        what = "what the project at the CPU cloud is charged for"
        try:
            answer = self._http.get(self._bill)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise self._cannot_tell(what, refused) from None
        rows = answer.get("charges") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise Unknown(f"It cannot be told {what}: the CPU cloud's answer has no list `charges`.")
        return [read_charge(row) for row in rows]


def _silent(page: dict[str, Any], scopes: dict[str, Any]) -> list[str]:
    """The zones of which a page does not tell what is in them: without a machine, they look as if they were empty."""
    silent = [f"{place} ({code})" for place, scope in scopes.items() if (code := _warning(scope)) not in {None, EMPTY}]
    return silent + [str(place) for place in page.get("unreachables") or ()]


def _warning(scope: dict[str, Any]) -> str | None:
    code = (scope.get("warning") or {}).get("code")
    return None if code is None else str(code)


def _machine(row: Any) -> CpuMachine:
    try:
        interfaces = row.get("networkInterfaces") or [{}]
        access = (interfaces[0].get("accessConfigs") or [{}])[0]
        address = access.get("natIP")
        price = row.get("hourlyUsd")
        return CpuMachine(
            id=int(row["id"]),
            name=str(row["name"]),
            zone=str(row["zone"]).rpartition("/")[2],
            machine_type=str(row["machineType"]).rpartition("/")[2],
            status=str(row["status"]),
            ip=address,
            # Only a cloud whose machines share one address has ports of its own.
            ssh_port=(int(row["sshPort"]) if row.get("sshPort") else 22) if address else None,
            hourly_usd=None if price is None else float(price),
            disk_gb=sum(float(disk.get("diskSizeGb") or 0) for disk in row.get("disks") or ()),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unknown(f"A machine of the CPU cloud cannot be read: {error!r}.") from None
