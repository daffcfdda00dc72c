"""What a standby does when its GPU machine is lost: it serves the newest whole state, and gives it back whole."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sandbox.control import sync
from sandbox.control.association import Association
from sandbox.control.cpu_cloud import CpuCloud
from sandbox.control.errors import ApiError
from sandbox.control.fleet import Fleet
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient
from sandbox.control.ssh import Door, Machine
from sandbox.control.standby import Standbys
from sandbox.records import Records
from sandbox.state import StateDir
from tests.cloud_under_test import CloudUnderTest
from tests.control_api import ControlApi, eventually
from tests.cpu_cloud_client import CpuCloudApi

FILES = "mkdir -p a/empty; echo 1 >a/1; ln a/1 a/hard; ln -s a/1 link; chmod 640 a/1; head -c 1000000 /dev/urandom >r"
LISTING = "cd /workspace; find . -printf '%p %y %m %T@ %n %l\\n' | sort; find . -type f -exec md5sum {} + | sort"
WITHIN = 60.0


class Bench:
    """The service itself, on a real cloud whose own control plane knows nothing of these standbys."""

    def __init__(self, cloud: CloudUnderTest, folder: Path) -> None:
        state = StateDir(cloud.state_dir)
        config, keys = state.config(), state.secrets()
        public_key = state.control_key.with_suffix(".pub").read_text().strip()
        self.api = ControlApi(cloud.environment)
        self.cpus = CpuCloudApi(cloud.environment)
        self._market = MarketClient(config.market_url, keys.dumont_vast_api_key, public_key, pause=0.05)
        self._door = Door(state.control_key, folder / "known_hosts", secrets.token_hex(8))
        self._door.open()
        self._records = Records(folder / "records.db")
        self.machines = Machines(self._market, self._door)
        self.standbys = Standbys(
            self._records,
            CpuCloud(f"{config.market_url}/gcp", keys.gcp_project, keys.gcp_access_token, pause=0.05),
            self._market,
            self.machines,
            self._door,
            Fleet(self._records),
            copies=folder / "copies",
            public_key=public_key,
            interval=0.2,
            ready_within=WITHIN,
        )

    async def close(self) -> None:
        for association in self.standbys.all():
            await self.standbys.remove(association.gpu_instance_id)
        await self.standbys.close()
        await self._market.close()
        self._door.close()
        self._records.close()
        self.cpus.close()
        self.api.close()

    async def rent(self, files: str = "") -> int:
        return await asyncio.to_thread(self.api.rent, files=files)

    async def enter(self, instance_id: int) -> Machine:
        return (await self.machines.wait_ready(instance_id, WITHIN))[1]

    async def in_step(self, instance_id: int) -> Association:
        await self.standbys.enable(instance_id)
        return await self.standbys.ready(instance_id)

    async def lose(self, instance_id: int) -> None:
        await asyncio.to_thread(self.api.call, "DELETE", f"/instances/{instance_id}")


async def listing(machine: Machine) -> str:
    return (await machine.run(LISTING)).stdout.decode()


async def until(what: str, look: Callable[[], bool]) -> None:
    await asyncio.to_thread(eventually, what, look)


@pytest.fixture
def run(cloud: CloudUnderTest) -> Iterator[Callable[[Callable[[Bench], Awaitable[None]]], None]]:
    """Runs a test's coroutine on a bench, and leaves nothing rented."""

    @asynccontextmanager
    async def bench() -> AsyncIterator[Bench]:
        with tempfile.TemporaryDirectory() as folder:
            made = Bench(cloud, Path(folder))
            try:
                yield made
            finally:
                made.api.clear()
                await made.close()

    async def on_bench(test: Callable[[Bench], Awaitable[None]]) -> None:
        async with bench() as made:
            await test(made)

    yield lambda test: asyncio.run(on_bench(test))
    client = CpuCloudApi(cloud.environment)
    assert not client.machines()
    client.close()


Run = Callable[[Callable[[Bench], Awaitable[None]]], None]


def test_lost_served_brought_back_followed(run: Run) -> None:
    async def test(bench: Bench) -> None:
        standbys = bench.standbys
        old = await bench.rent(FILES)
        association = await bench.in_step(old)
        before = await listing(await bench.enter(old))
        new = await bench.rent("echo of no use >rubbish; mkdir a; echo wrong >a/1")
        await bench.lose(old)
        await standbys.fail_over(old, "spot_interruption")
        lost = association.public()
        assert (lost["state"], lost["gpu_failed"], lost["failure_reason"]) == (
            "failover_active",
            True,
            "spot_interruption",
        )
        assert lost["lag_seconds"] == lost["lag_at_failure"] > 0
        await standbys.fail_over(old, "again")  # may be repeated, and changes nothing
        assert association.failure_reason == "spot_interruption"
        standby = standbys.standby_machine(association)
        assert await listing(standby) == before
        assert (await standby.run("cat /root/.dumont/serving")).code == 0
        with pytest.raises(ApiError, match="fail over first, or delete it by force"):
            await standbys.disable(old)
        with pytest.raises(ApiError, match="was lost"):
            await standbys.resume(old)
        # A user goes on working on the standby: that comes back as well.
        await standby.run("cd /workspace; echo more >more; rm r")
        served = await listing(standby)

        machine = await bench.enter(new)
        brought = await standbys.bring_back(association, machine)
        assert (brought.files, brought.bytes) == (3, 12)  # a/1, a/hard, more; and the text of the link
        assert await listing(machine) == served
        await standbys.follow(old, new)
        assert standbys.get(old) is None
        assert association.can_serve  # it would, if this machine were lost before the first sync
        await until("it follows", lambda: association.state == "ready")
        assert not association.gpu_failed
        await machine.run("echo after >/workspace/after")
        count = association.sync_count
        await until("synced", lambda: association.sync_count >= count + 2)
        assert await listing(standby) == await listing(machine)
        assert (await standby.run("test -e /root/.dumont/serving")).code == 1

    run(test)


def test_what_had_arrived_whole_is_served(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine dies between the two hops."""

    async def test(bench: Bench) -> None:
        old = await bench.rent(FILES)
        association = await bench.in_step(old)
        held = asyncio.Event()

        async def hold(*_: Any) -> sync.Copied:
            held.set()
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(sync, "mirror_up", hold)
        machine = await bench.enter(old)
        await machine.run("cd /workspace; echo late >late; rm r")
        await held.wait()
        held.clear()
        before = await listing(machine)
        standby = bench.standbys.standby_machine(association)
        assert (await standby.run("test -e /workspace/late")).code == 1
        await bench.lose(old)
        await bench.standbys.fail_over(old, "gpu_lost")
        assert await listing(standby) == before

    run(test)


def test_a_pull_that_was_cut_is_not_served(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine dies during the first hop: what has arrived of that is of no use."""

    async def test(bench: Bench) -> None:
        old = await bench.rent(FILES)
        association = await bench.in_step(old)
        await bench.standbys.pause(old)
        machine = await bench.enter(old)
        before = await listing(machine)
        pull, cut = sync.mirror_down, asyncio.Event()

        async def cut_pull(gpu: Machine, copy: Path, token: str) -> sync.Copied:
            await pull(gpu, copy, token)
            cut.set()
            raise sync.SyncError(502, "the connection was lost")

        monkeypatch.setattr(sync, "mirror_down", cut_pull)
        await machine.run("find /workspace -mindepth 1 -delete")
        await bench.standbys.resume(old)
        await cut.wait()
        await bench.lose(old)
        await bench.standbys.fail_over(old, "gpu_lost")
        assert await listing(bench.standbys.standby_machine(association)) == before

    run(test)


def test_a_dead_standby_does_not_claim_to_serve(run: Run) -> None:
    async def test(bench: Bench) -> None:
        old = await bench.rent(FILES)
        association = await bench.in_step(old)
        name = association.machine_name
        await bench.standbys.pause(old)
        preempt = f"{bench.api.market_url}/_sandbox/cpu-instances/{name}/preempt"
        bench.api.admin.post(preempt).raise_for_status()
        await bench.lose(old)
        with pytest.raises(ApiError, match=f"Standby {name} is down .status: TERMINATED; Instance was preempted"):
            await bench.standbys.fail_over(old, "gpu_lost")
        assert (association.state, association.gpu_failed) == ("error", True)

    run(test)


def test_a_standby_that_never_synced_cannot_serve(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(bench: Bench) -> None:
        old = await bench.rent(FILES)
        monkeypatch.setattr(sync, "EXCLUDES", ("*",))

        async def fail(*_: Any) -> sync.Copied:
            raise sync.SyncError(502, "no")

        monkeypatch.setattr(sync, "mirror_down", fail)
        association = await bench.standbys.enable(old)
        await until("a sync was tried", lambda: association.sync_error == "no")
        with pytest.raises(ApiError, match="never finished a sync"):
            await bench.standbys.fail_over(old, "gpu_lost")

    run(test)


@pytest.mark.nightly
def test_a_machine_that_dies_while_data_come_back(run: Run) -> None:
    async def test(bench: Bench) -> None:
        standbys = bench.standbys
        old, new = await bench.rent(f"{FILES}; head -c 200M /dev/urandom >big"), await bench.rent()
        association = await bench.in_step(old)
        before = await listing(await bench.enter(old))
        await bench.lose(old)
        await standbys.fail_over(old, "gpu_lost")
        machine = await bench.enter(new)
        coming = asyncio.create_task(standbys.bring_back(association, machine))
        await until("it comes", lambda: association.state == "recovering")
        await bench.lose(new)
        with pytest.raises(ApiError, match=f"Instance {new}: "):
            await coming
        assert association.state == "failover_active"
        assert await listing(standbys.standby_machine(association)) == before
        another = await bench.rent()
        machine = await bench.enter(another)
        assert (await standbys.bring_back(association, machine)).files > 3
        assert await listing(machine) == before

    run(test)


def test_what_does_not_arrive_as_it_is_is_no_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte changes on the way, behind rsync's back: same size, same time."""

    async def test(bench: Bench) -> None:
        standbys = bench.standbys
        old, new = await bench.rent(FILES), await bench.rent()
        association = await bench.in_step(old)
        await standbys.fail_over(old, "gpu_lost")
        push = sync.push

        async def corrupt(copy: Path, machine: Machine, *, thorough: bool) -> sync.Copied:
            copied = await push(copy, machine, thorough=thorough)
            await machine.run("cd /workspace/a; touch -r 1 /tmp/then; echo 7 >1; touch -r /tmp/then 1")
            return copied

        monkeypatch.setattr(sync, "push", corrupt)
        with pytest.raises(ApiError, match=r"still differs from its standby after 3 copies: .*a/1"):
            await standbys.bring_back(association, await bench.enter(new))
        assert association.state == "failover_active"

    run(test)


def test_a_copy_that_waits_is_delivered_before_the_next(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standby is out of reach for one sync, and meanwhile the machine is lost: the next pull must not spoil it."""

    async def test(bench: Bench) -> None:
        old = await bench.rent(FILES)
        association = await bench.in_step(old)
        push, refused = sync.mirror_up, asyncio.Event()

        async def refuse(*_: Any) -> sync.Copied:
            refused.set()
            raise sync.SyncError(502, "out of reach")

        monkeypatch.setattr(sync, "mirror_up", refuse)
        machine = await bench.enter(old)
        await machine.run("echo late >/workspace/late")
        await refused.wait()
        await until("it waits", lambda: association.copy_is_whole and association.sync_error is not None)
        assert association.state == "error"
        await bench.lose(old)
        monkeypatch.setattr(sync, "mirror_up", push)
        await until("it is noticed", lambda: "no longer at the market" in str(association.sync_error))
        standby = bench.standbys.standby_machine(association)
        assert (await standby.run("cat /workspace/late")).stdout == b"late\n"

    run(test)


def test_what_a_cut_pull_has_brought_reaches_the_standby_with_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: Bench) -> None:
        old = await bench.rent(FILES)
        association = await bench.in_step(old)
        await bench.standbys.pause(old)
        pull, cut = sync.mirror_down, asyncio.Event()

        async def cut_pull(gpu: Machine, copy: Path, token: str) -> sync.Copied:
            copied = await pull(gpu, copy, token)
            if cut.is_set():
                return copied
            cut.set()
            raise sync.SyncError(502, "the connection was lost")

        monkeypatch.setattr(sync, "mirror_down", cut_pull)
        await (await bench.enter(old)).run("echo late >/workspace/late")
        await bench.standbys.resume(old)
        await cut.wait()
        count = association.sync_count
        await until("synced", lambda: association.sync_count > count)
        standby = bench.standbys.standby_machine(association)
        assert (await standby.run("cat /workspace/late")).stdout == b"late\n"

    run(test)
