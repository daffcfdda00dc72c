"""The client of the CPU cloud: what is there is told, and what cannot be told is an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from rekindle.errors import Misconfigured, Unknown
from rekindle.gcp import CpuMachine, GcpClient
from rekindle.market import Charge

NAME = "dumont-rekindle-r1-1-1700000000"
ROW: dict[str, Any] = {
    "id": "4611686018400000001",
    "name": NAME,
    "zone": "https://cloud/projects/p/zones/europe-west1-b",
    "machineType": "https://cloud/zones/europe-west1-b/machineTypes/e2-medium",
    "status": "RUNNING",
    "networkInterfaces": [{"accessConfigs": [{"natIP": "10.0.0.1"}]}],
}
Answer = Callable[[httpx2.Request], httpx2.Response]


def client(answer: Answer) -> GcpClient:
    return GcpClient("http://cloud", "p", "token", pauses=(), transport=httpx2.MockTransport(answer))


def always(status: int, body: Any) -> Answer:
    return lambda _: httpx2.Response(status, json=body)


def test_a_machine_of_googles_cloud() -> None:
    machine = client(always(200, ROW)).machine("europe-west1-b", NAME)
    assert machine == CpuMachine(
        4611686018400000001, NAME, "europe-west1-b", "e2-medium", "RUNNING", "10.0.0.1", 22, None
    )
    assert machine.label == "rekindle-r1-1"


def test_a_machine_that_shares_its_address() -> None:
    machine = client(always(200, ROW | {"sshPort": 4022, "hourlyUsd": 0.01})).machine("z", "n")
    assert machine
    assert (machine.ssh_port, machine.hourly_usd) == (4022, 0.01)


def test_one_that_is_not_there() -> None:
    assert client(always(404, {"error": {"message": "not found"}})).machine("z", "n") is None


def test_all_pages_are_read() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        second = "pageToken" in request.url.params
        row = ROW | {"id": "2", "name": "other"} if second else ROW
        more = {} if second else {"nextPageToken": "t"}
        return httpx2.Response(200, json={"items": {"zones/z": {"instances": [row]}, "zones/y": {}}} | more)

    machines = client(answer).instances()
    assert [(one.id, one.label) for one in machines] == [(4611686018400000001, "rekindle-r1-1"), (2, None)]


def test_a_zone_that_cannot_be_looked_into_is_not_empty() -> None:
    empty = {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for it."}}
    items = {"zones/z": {"instances": [ROW]}, "zones/y": empty}
    assert len(client(always(200, {"items": items})).instances()) == 1
    away = items | {"zones/x": {"warning": {"code": "UNREACHABLE"}}}
    with pytest.raises(Unknown) as told:
        client(always(200, {"items": away, "unreachables": ["zones/w"]})).instances()
    assert str(told.value) == (
        "UNKNOWN: It cannot be told which CPU machines exist: the CPU cloud could not look into zones/x "
        "(UNREACHABLE), zones/w."
    )
    with pytest.raises(Unknown, match=r"could not look into zones/w\.$"):
        client(always(200, {"items": items, "unreachables": ["zones/w"]})).instances()


def test_what_cannot_be_told_is_an_error() -> None:
    with pytest.raises(Unknown, match="has no `items`"):
        client(always(200, {})).instances()
    with pytest.raises(Unknown, match="which CPU machines exist"):
        client(always(500, {"error": {"message": "down"}})).instances()
    with pytest.raises(Unknown, match="cannot be read"):
        client(always(200, {"name": "n"})).machine("z", "n")
    with pytest.raises(Misconfigured, match="Check GCP_ACCESS_TOKEN and GCP_PROJECT"):
        client(always(401, {"error": {"message": "no"}})).instances()


def test_a_machine_is_deleted_by_its_number() -> None:
    deleted: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":
            deleted.append(request.url.path)
            return httpx2.Response(200, json={"status": "RUNNING"})
        return httpx2.Response(200, json={"items": {"zones/z": {"instances": [ROW]}}})

    assert client(answer).destroy(4611686018400000001)
    assert not client(answer).destroy(1)
    assert deleted == ["/compute/v1/projects/p/zones/europe-west1-b/instances/dumont-rekindle-r1-1-1700000000"]


def test_the_bill_of_the_project() -> None:
    row = {"source": "instance-46", "type": "cpu", "start": 1, "end": None, "quantity": 9, "rate": 0.01, "amount": 0.2}
    charges = client(always(200, {"charges": [row | {"description": f"{NAME}, e2-medium"}]})).statement()
    assert charges == [Charge(1.0, None, 9.0, 0.2, 0.01, "cpu", "instance-46", f"{NAME}, e2-medium")]


def test_a_cloud_that_shows_no_bill_is_no_witness() -> None:
    assert client(always(404, {"error": {"message": "not found"}})).statement() is None


@pytest.mark.parametrize(("status", "body"), [(500, {}), (200, {}), (200, {"charges": [{"source": "instance-46"}]})])
def test_a_bill_that_cannot_be_read_is_not_empty(status: int, body: Any) -> None:
    with pytest.raises(Unknown):
        client(always(status, body)).statement()


def test_the_price_with_the_disk() -> None:
    disks = {"hourlyUsd": 0.01, "disks": [{"diskSizeGb": "100"}]}
    machine = client(always(200, ROW | disks)).machine("z", "n")
    assert machine
    assert machine.hourly_with_disk_usd == pytest.approx(0.01 + 4.00 / 720)
    bare = client(always(200, ROW)).machine("z", "n")
    assert bare
    assert bare.hourly_with_disk_usd is None
