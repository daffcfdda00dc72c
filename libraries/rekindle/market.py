"""The client of the GPU market: the witness of what is rented and what is billed, beside the product's own words."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rekindle.errors import Unknown
from rekindle.http import Json, Refused, ServiceClient

PAGE = 25
CHARGES_PAGE = 100
# No account that these suites run on has so many machines or charges: a listing that goes on is going in circles.
MOST_PAGES = 1000
# `dumont-<label of the machine>-<token>`: how the product names a volume.
_VOLUME_NAME = re.compile(r"dumont-(?P<label>.+)-[0-9a-f]+")
WEEK = 7 * 86400
DAY = 86400


@dataclass(frozen=True)
class MarketInstance:
    """A contract as the market has it: `dph_total` in USD an hour, `disk_space` in GB, `start_date` an epoch second,
    `inet_up_cost` and `inet_down_cost` in USD a GB.
    """

    id: int
    label: str | None
    intended_status: str | None
    actual_status: str | None
    status_msg: str | None
    gpu_name: str | None
    dph_total: float
    disk_space: float | None
    ssh_host: str | None
    ssh_port: int | None
    machine_id: int | None
    start_date: float | None
    geolocation: str | None = None
    inet_up_cost: float | None = None
    inet_down_cost: float | None = None


@dataclass(frozen=True)
class Charge:
    """One line of the bill.

    `start` and `end` in epoch seconds (`end` is None while it grows), `seconds` billed, `usd` so far, `rate` in USD an
    hour, `kind` such as `gpu` or `disk`; traffic (`upload`, `download`) is billed by the GB, and that is what `seconds`
    and `rate` count there. `source` is what is paid for, `instance-29070001` or `volume-5000001`.
    """

    start: float
    end: float | None
    seconds: float
    usd: float
    rate: float
    kind: str
    source: str = ""
    description: str = ""


@dataclass(frozen=True)
class Volume:
    """A volume as the market has it: `instance_id` is the machine that uses it, `hourly_usd` its price in USD."""

    id: int
    name: str
    instance_id: int | None
    hourly_usd: float

    @property
    def label(self) -> str | None:
        """The label of the machine that it was made for, out of its name."""
        found = _VOLUME_NAME.fullmatch(self.name)
        return found["label"] if found else None


class MarketClient(ServiceClient):
    """One account's view of the market: its address without `/api`, and the account's key. Thread-safe."""

    service = "Market API"
    address = "VAST_URL"
    asked = "The market"
    credential = "key"
    credentials = "VAST_API_KEY"

    def instance(self, instance_id: int) -> MarketInstance | None:
        """The contract, or None when the market has none of this id for this account.

        Raises:
            Misconfigured: the key is wrong (which the market may say with 404).
            Unknown: it could not be asked.
        """
        what = f"whether machine {instance_id} exists"
        try:
            answer = self._http.get(f"/api/v0/instances/{instance_id}/", params={"owner": "me"})
        except Refused as refused:
            if refused.status == 404:
                self.balance()  # a wrong key can answer 404 as well: then this says so
                return None
            raise self._cannot_tell(what, refused) from None
        if not isinstance(answer, dict) or "instances" not in answer:
            raise Unknown(f"It cannot be told {what}: the market's answer has no `instances`.")
        row = answer["instances"]
        if isinstance(row, list):
            row = next((each for each in row if each.get("id") == instance_id), None)
        return _instance(row) if row else None

    def instances(self) -> list[MarketInstance]:
        """Every contract of the account, all pages. An error is raised, never an empty list.

        Raises:
            Unknown: a page could not be read, repeats, or the pages hold fewer than the market counts.
        """
        query = {"select_filters": {}, "order_by": [{"col": "id", "dir": "asc"}], "limit": PAGE}
        pages = list(self._pages("/api/v1/instances/", query, "instances", "which machines exist"))
        rows = [_instance(row) for _, page in pages for row in page]
        if len({row.id for row in rows}) != len(rows):
            raise Unknown("It cannot be told which machines exist: the market lists one on two pages.")
        # Later ids come later, so that only a machine that was left out can make the last count exceed what was read.
        total = pages[-1][0].get("total_instances")
        if isinstance(total, int) and total > len(rows):
            raise Unknown(
                f"It cannot be told which machines exist: the market counts {total} and lists {len(rows)} "
                f"on {len(pages)} pages."
            )
        return rows

    def offers(self, max_price: float, disk_gb: float, gpu_name: str | None = None) -> list[int]:
        """The ids of machines that anybody would rent: verified, reliable, with one GPU and a fast network.

        Args:
            max_price: USD an hour.
            disk_gb: the least disk.
            gpu_name: the GPU model; any when None.

        Raises:
            Unknown: the market could not be searched.
        """
        query = {
            "rentable": {"eq": True},
            "verified": {"eq": True},
            "num_gpus": {"eq": 1},
            "reliability2": {"gte": 0.98},
            "inet_down": {"gte": 500},
            "disk_space": {"gte": disk_gb},
            "dph_total": {"lte": max_price},
        } | ({"gpu_name": {"eq": gpu_name}} if gpu_name else {})
        what = "what the market offers"
        params = {"q": json.dumps(query), "order": "dph_total", "type": "on-demand", "limit": 50}
        try:
            answer: Json = self._http.get("/api/v0/bundles/", params=params)
        except Refused as refused:
            raise self._cannot_tell(what, refused) from None
        rows = answer.get("offers") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise Unknown(f"It cannot be told {what}: its answer to GET /api/v0/bundles/ has no list `offers`.")
        return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), int)]

    def gpu_names(self) -> list[str]:
        """Return the names of all GPU models that the market lists, rented or not.

        Raises:
            Unknown: the market could not be asked.
        """
        what = "which GPU models the market lists"
        try:
            answer: Json = self._http.get("/api/v0/gpu_names/unique/")
        except Refused as refused:
            raise self._cannot_tell(what, refused) from None
        names = answer.get("gpu_names") if isinstance(answer, dict) else None
        if not isinstance(names, list):
            raise Unknown(f"It cannot be told {what}: its answer to GET /api/v0/gpu_names/unique/ has no `gpu_names`.")
        return [name for name in names if isinstance(name, str)]

    def charges(self, instance_id: int, since: float | None = None) -> list[Charge]:
        """The bill of one machine, all pages.

        Args:
            instance_id: the contract.
            since: epoch seconds by this computer's clock; a week ago when None.

        Raises:
            Unknown: a page could not be read.
        """
        return self._bill(f"what machine {instance_id} costs", since, f"instance-{instance_id}")

    def statement(self, since: float | None = None) -> list[Charge]:
        """The bill of everything in the account, volumes too, all pages. Args and errors as for `charges`."""
        return self._bill("what the account is charged for", since)

    def _bill(self, what: str, since: float | None, only: str | None = None) -> list[Charge]:
        # The market's days count, also where this computer has another date.
        now = self.clock.now()
        begun = now - WEEK if since is None else since + now - time.time() - DAY
        query = {
            # A day beyond now on both sides: the market counts in days, and its clock is not ours.
            "select_filters": {
                "day": {"gte": int(begun), "lte": int(now + DAY)},
                "type": {"in": ["instance"] if only else ["instance", "volume"]},
            },
            "latest_first": False,
            "limit": CHARGES_PAGE,
            "format": "table",
        }
        pages = self._pages("/api/v0/charges/", query, "results", what)
        return [read_charge(row) for _, page in pages for row in page if only in {None, row.get("source")}]

    def destroy(self, instance_id: int) -> bool:
        """Ends the contract. Returns whether there was one.

        Raises:
            Misconfigured: the key is wrong.
            Unknown: it is not known whether it ended.
        """
        try:
            answer = self._http.delete(f"/api/v0/instances/{instance_id}/", {})
        except Refused as refused:
            if refused.status == 404:
                self.balance()
                return False
            raise self._cannot_tell(f"whether machine {instance_id} was destroyed", refused) from None
        if isinstance(answer, dict) and answer.get("success") is False:
            raise Unknown(f"The market did not destroy machine {instance_id}: {answer.get('msg') or answer}.")
        return True

    def volumes(self) -> list[Volume]:
        """Every volume of the account. A market that has no volumes at all has none.

        Raises:
            Misconfigured: the key is wrong.
            Unknown: the market could not be asked.
        """
        try:
            answer = self._http.get("/api/v0/volumes/")
        except Refused as refused:
            if refused.status == 404:
                self.balance()
                return []
            raise self._cannot_tell("which volumes exist", refused) from None
        rows = answer.get("volumes") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            raise Unknown("It cannot be told which volumes exist: the market's answer has no list `volumes`.")
        return [
            Volume(int(row["id"]), str(row.get("name") or ""), row.get("instance_id"), float(row.get("dph_total") or 0))
            for row in rows
        ]

    def delete_volume(self, volume_id: int) -> bool:
        """Deletes a volume with all that is on it. Returns whether there was one.

        Raises:
            Misconfigured: the key is wrong.
            Unknown: it is not known whether it was deleted; one that a machine uses is refused.
        """
        try:
            self._http.delete(f"/api/v0/volumes/{volume_id}/")
        except Refused as refused:
            if refused.status == 404:
                self.balance()
                return False
            raise self._cannot_tell(f"whether volume {volume_id} was deleted", refused) from None
        return True

    def knows_ssh_key(self, public_key: str) -> bool:
        """Return whether the account has an SSH key.

        Args:
            public_key: one line, type and key at least.

        Raises:
            Misconfigured: the market refused the API key.
            Unknown: the market could not be asked.
        """
        try:
            answer = self._http.get("/api/v0/ssh/")
        except Refused as refused:
            raise self._cannot_tell("which SSH keys the account has", refused) from None
        # The form of the answer has changed over the years; the key itself is in all of them.
        return public_key.split()[1] in json.dumps(answer)

    def balance(self) -> float:
        """What the account can still spend, credit included, in USD."""
        try:
            answer = self._http.get("/api/v0/users/current/")
        except Refused as refused:
            if refused.status == 404:
                raise self._kept_out(refused) from None
            raise self._cannot_tell("what the account holds", refused) from None
        if not isinstance(answer, dict) or not {"credit", "balance"} & answer.keys():
            raise Unknown("It cannot be told what the account holds: the market gives neither credit nor balance.")
        return float(answer.get("credit") or 0) + float(answer.get("balance") or 0)

    def _pages(
        self, path: str, query: dict[str, Any], key: str, what: str
    ) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """The pages of a listing, each whole and its rows. A page that cannot be read ends it with an error."""
        seen: set[str] = set()
        token: str | None = None
        for _ in range(MOST_PAGES):
            try:
                answer: Json = self._http.get(path, params={**query, "after_token": token})
            except Refused as refused:
                raise self._cannot_tell(what, refused) from None
            rows = answer.get(key) if isinstance(answer, dict) else None
            if not isinstance(rows, list):
                raise Unknown(f"It cannot be told {what}: the market's answer to GET {path} has no list `{key}`.")
            yield answer, rows
            token = answer.get("next_token")
            if not token:
                return
            if token in seen:
                raise Unknown(f"It cannot be told {what}: the market's pages of GET {path} go in circles.")
            seen.add(token)
        raise Unknown(f"It cannot be told {what}: GET {path} has more than {MOST_PAGES} pages.")


def _instance(row: dict[str, Any]) -> MarketInstance:
    if not isinstance(row.get("id"), int):
        raise Unknown("The market shows a machine without an id: which one it is cannot be told.")
    return MarketInstance(
        id=row["id"],
        label=row.get("label"),
        intended_status=row.get("intended_status"),
        actual_status=row.get("actual_status"),
        status_msg=row.get("status_msg"),
        gpu_name=row.get("gpu_name"),
        dph_total=float(row.get("dph_total") or 0),
        disk_space=row.get("disk_space"),
        ssh_host=row.get("ssh_host"),
        ssh_port=row.get("ssh_port"),
        machine_id=row.get("machine_id"),
        start_date=row.get("start_date"),
        geolocation=row.get("geolocation"),
        inet_up_cost=row.get("inet_up_cost"),
        inet_down_cost=row.get("inet_down_cost"),
    )


def read_charge(row: dict[str, Any]) -> Charge:
    """A line of a bill out of its JSON.

    Raises:
        Unknown: it cannot be read.
    """
    try:
        return Charge(
            start=float(row["start"]),
            end=None if row.get("end") is None else float(row["end"]),
            seconds=float(row["quantity"]),
            usd=float(row["amount"]),
            rate=float(row["rate"]),
            kind=str(row.get("type") or ""),
            source=str(row.get("source") or ""),
            description=str(row.get("description") or ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        of = str(row.get("source")).replace("instance-", "machine ").replace("volume-", "volume ")
        raise Unknown(f"A charge of {of} cannot be read: {error!r}.") from None
