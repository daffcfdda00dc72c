"""What needs no cloud of CPU standbys: names, prices, what is mirrored, and orders whose answers are lost."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import httpx2
import pytest

from sandbox.control.association import MACHINE_TYPES, Association, machine_name, pricing
from sandbox.control.cpu_cloud import CpuCloud, CpuCloudError, CpuMachine, CpuOrder, NameTaken
from sandbox.control.sync import is_excluded
from sandbox.cpu_cloud import vm

ORDER = CpuOrder(
    name="dumont-a-1", zone="europe-west1-b", machine_type="e2-medium", disk_gb=100, spot=True, owner="t", ssh_keys=[]
)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("My Model!", "dumont-my-model-1700000000"),
        (None, "dumont-29070001-1700000000"),
        ("ção", "dumont-o-1700000000"),
        ("___", "dumont-29070001-1700000000"),
        ("x" * 100, f"dumont-{'x' * 45}-1700000000"),
    ],
)
def test_names_that_the_cpu_cloud_takes(label: str | None, name: str) -> None:
    made = machine_name(label, 29070001, 1700000000.9)
    assert made == name
    assert vm.NAME.fullmatch(made)


def test_prices() -> None:
    price = pricing("e2-medium", 100, spot=True)
    assert (price["estimated_hourly_usd"], price["estimated_monthly_usd"]) == (0.010, 11.20)
    assert price["breakdown"] == {"vm_monthly": 7.20, "disk_monthly": 4.00}
    assert pricing("e2-standard-4", 10, spot=False)["estimated_hourly_usd"] == 0.134
    assert MACHINE_TYPES == vm.MACHINE_TYPES  # what the product expects is what the cloud charges


@pytest.mark.parametrize(
    ("path", "excluded"),
    [
        ("a/b.log", True),
        (".git/HEAD", True),
        ("src/node_modules/x/y.js", True),
        ("a.pyc", True),
        ("venv", True),
        ("model.bin", False),
        (".github/x", False),
        ("catalog/log", False),
    ],
)
def test_what_is_not_mirrored(path: str, excluded: bool) -> None:
    assert is_excluded(PurePosixPath(path)) is excluded


def test_lag_stands_still_once_the_machine_is_lost() -> None:
    association = Association(
        gpu_instance_id=1, machine_name="n", zone="z", machine_type="e2-medium", disk_gb=10, spot=True
    )
    assert association.lag is None
    assert not association.can_serve
    association.synced_from, association.machine_id = 0.0, 5
    assert association.lag is not None
    assert association.lag > 1e9
    association.gpu_failed, association.lag_at_failure = True, 0.25
    assert association.public()["lag_seconds"] == 0.25


def row(owner: str) -> dict[str, Any]:
    return vm.Vm(
        id=7,
        name=ORDER.name,
        zone=ORDER.zone,
        machine_type="e2-medium",
        spot=True,
        disk_gb=100,
        labels={"dumont-standby": owner},
        ssh_port=25000,
        created_at=0,
        status="RUNNING",
    ).row("http://cpu/compute/v1", "p")


def create(answer: Callable[[httpx2.Request], httpx2.Response]) -> CpuMachine:
    async def ask() -> CpuMachine:
        cloud = CpuCloud("http://cpu", "p", "token", pause=0, transport=httpx2.MockTransport(answer))
        try:
            return await cloud.create(ORDER)
        finally:
            await cloud.close()

    return asyncio.run(ask())


def test_an_order_whose_answer_is_lost_is_found_again() -> None:
    posts = 0

    def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal posts
        if request.method == "GET":
            return httpx2.Response(200, json=row("t"))
        posts += 1
        if posts == 1:
            raise httpx2.ReadError("lost")
        return httpx2.Response(409, json={"error": {"message": "already exists"}})

    machine = create(answer)
    assert (posts, machine.id, machine.ssh_port, machine.hourly_usd) == (2, 7, 25000, 0.010)


def test_a_name_that_is_somebody_elses_is_not_ours() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=row("other")) if request.method == "GET" else httpx2.Response(409, json={})

    with pytest.raises(NameTaken):
        create(answer)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "The CPU cloud refuses POST zones/europe-west1-b/instances: 403: no quota"),
        (503, "POST zones/europe-west1-b/instances failed 4 times at the CPU cloud; at last: 503: no quota"),
    ],
)
def test_refusals_carry_the_clouds_own_words(status: int, words: str) -> None:
    with pytest.raises(CpuCloudError, match=re.escape(words)):
        create(lambda _: httpx2.Response(status, json={"error": {"message": "no quota"}}))
