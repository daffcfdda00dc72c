"""Machines that are silent: which of them are given up, and which are only not listed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from sandbox.control import agents
from sandbox.control.agents import Agents
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient, MarketInstance
from sandbox.records import Records


class Market:
    """Lists nothing."""

    async def instances(self) -> list[MarketInstance]:
        return []


def given_up(folder: Path, machine: TrackedMachine, refusal: str | None, *, looks: int = 1) -> list[int]:
    """The machines that are given up when one is silent, the market lists none, and its SSH refuses us so."""
    fleet, lost = Fleet(Records(folder / "records.db")), list[int]()
    fleet.add(machine)

    async def refuses(_: MarketInstance) -> str | None:
        return refusal

    async def look() -> None:
        watched = Agents(
            fleet,
            cast(MarketClient, Market()),
            cast(Machines, None),
            lambda one: lost.append(one.instance_id),
            refuses,
            address="http://127.0.0.1:1",
            heartbeat=1,
            look=1,
        )
        for _ in range(looks):
            await watched._look_after(fleet.silent(1))

    asyncio.run(look())
    return lost


def silent(**fields: Any) -> TrackedMachine:
    return TrackedMachine(instance_id=7, **fields)


def test_a_machine_that_refuses_ssh_as_well_is_given_up(tmp_path: Path) -> None:
    assert given_up(tmp_path, silent(ssh_host="127.0.0.1", ssh_port=22), "SSH refused") == [7]


def test_a_machine_that_lets_us_in_is_kept_however_often_it_is_not_listed(tmp_path: Path) -> None:
    assert given_up(tmp_path, silent(ssh_host="127.0.0.1", ssh_port=22), None, looks=20) == []


def test_a_machine_that_never_ran_is_given_up_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_up(tmp_path, silent(), "SSH refused", looks=2) == []
    monkeypatch.setattr(agents, "UNLISTED_FOR", 0.0)
    assert given_up(tmp_path, silent(), None, looks=2) == [7]
