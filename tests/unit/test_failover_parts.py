"""The parts of a failover that need no cloud: phases, report, races, what counts as a loss."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sandbox.control.detection import Loss, _should_live
from sandbox.control.disposals import Disposal, Disposals
from sandbox.control.errors import ApiError
from sandbox.control.failover_record import Failover
from sandbox.control.failover_report import percentiles, report
from sandbox.control.failover_settings import FailoverSettings, GlobalSettings, MachineSettings
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.market_client import MarketError, MarketInstance, OfferGone, Rent
from sandbox.control.offers import Offer
from sandbox.control.phases import Moment, Phased
from sandbox.control.race import Race, Races
from sandbox.records import Records


def moment(seconds: float, boot: str = "this") -> Moment:
    return Moment(epoch=1000 + seconds, monotonic=seconds, boot=boot)


def failover(seconds: float = 2.0, **fields: Any) -> Failover:
    one = Failover(
        gpu_instance_id=7, reason="gpu_lost", strategy="cpu_standby", ordered=True,
        machine=TrackedMachine(instance_id=7), instance=MarketInstance(id=7), **fields,
    )  # fmt: skip
    begun = Moment()
    one.enter("detecting", begun)
    one.enter("gpu_lost", Moment(epoch=begun.epoch + 0.5, monotonic=begun.monotonic + 0.5))
    one.enter(
        "complete" if fields.get("success") else "failed",
        Moment(epoch=begun.epoch + seconds, monotonic=begun.monotonic + seconds),
    )
    return one


def test_phases_add_up_to_the_whole() -> None:
    work = Phased()
    for phase, at in (("detecting", 0), ("gpu_lost", 1.25), ("restoring", 1.5), ("complete", 4)):
        work.enter(phase, moment(at))
    work.note("one")
    work.note("two")
    assert work.timings_ms == {"detecting": 1250, "gpu_lost": 250, "restoring": 2500}
    assert work.total_ms == 4000
    assert work.over
    assert work.shown_phases()[-1] == {"phase": "complete", "entered_at": 1004, "seconds": 0, "detail": "one; two"}
    again = Phased.model_validate_json(work.model_dump_json())
    assert (again.timings_ms, again.phase) == (work.timings_ms, "complete")


def test_time_goes_on_over_a_restart_and_over_a_reboot() -> None:
    assert moment(3).until(moment(5)) == 2
    assert moment(50_000, boot="before").until(moment(50_009, boot="after")) == 9
    past = Moment.at(time.time() - 5)
    assert past.until(Moment()) == pytest.approx(5, abs=1)


def test_what_is_told_of_a_failover_that_goes_on() -> None:
    work = failover(success=True)
    work.phases = work.phases[:1]
    work.phases[0].seconds = None
    told = work.public()
    assert (told["phase"], told["completed_at"], told["total_time_ms"], told["phase_timings_ms"]) == (
        "detecting",
        None,
        None,
        {},
    )


def test_report_counts_what_was_measured() -> None:
    failovers = [failover(2.0, success=True, rpo_seconds=0.5), failover(4.0, success=True, rpo_seconds=1.5), failover()]
    told = report(failovers, 30)
    assert (told["total_failovers"], told["successful_failovers"], told["failed_failovers"]) == (3, 2, 1)
    assert told["success_rate"] == 66.67
    assert told["mttr_ms"] == pytest.approx(3000, abs=0.01)
    assert told["rto_ms"] == {"p50": 3000, "p95": 3900, "count": 2}
    assert told["rpo_seconds"] == {"p50": 1.0, "p95": 1.45, "count": 2}
    assert told["latency_by_phase_ms"]["detecting"] == pytest.approx(500, abs=0.01)
    assert told["primary_cause"] == "gpu_lost"
    assert len(told["history"]) == 3
    empty = report([], 7)
    assert (empty["success_rate"], empty["rto_ms"], empty["message"]) == (
        0,
        {"p50": None, "p95": None, "count": 0},
        "No failover in the last 7 days",
    )
    old = failover(success=True)
    old.phases[0].entered.epoch -= 8 * 24 * 3600
    assert report([old], 7)["total_failovers"] == 0
    assert percentiles([4]) == {"p50": 4, "p95": 4, "count": 1}


@pytest.mark.parametrize(
    ("fields", "lives"),
    [
        ({"intended_status": "running", "actual_status": "running"}, True),
        ({"intended_status": "running", "actual_status": "exited"}, True),
        ({"intended_status": "running", "actual_status": "loading"}, False),
        ({"intended_status": "stopped", "actual_status": "exited", "status_msg": "Stopped; the disk is kept."}, False),
        ({"intended_status": "stopped", "actual_status": "exited", "status_msg": "Interrupted by the market"}, True),
        ({"intended_status": "destroyed", "actual_status": "running"}, False),
    ],
)
def test_whose_loss_is_a_loss(fields: dict[str, str], *, lives: bool) -> None:
    assert _should_live(MarketInstance.model_validate({"id": 7, **fields})) is lives


def test_why_a_machine_was_lost() -> None:
    assert Loss(0, "", interrupted=True).reason == "spot_interruption"
    assert Loss(0, "").reason == "gpu_lost"


def test_settings_of_a_machine_before_those_of_all(tmp_path: Path) -> None:
    settings = FailoverSettings(Records(tmp_path / "r.db"))
    assert settings.strategy(7) == "cpu_standby"
    settings.set_for_all(GlobalSettings(default_strategy="snapshot"))
    settings.set_of(7, MachineSettings(use_global_settings=False, strategy="disabled"))
    assert (settings.strategy(7), settings.strategy(8)) == ("disabled", "snapshot")
    settings.carry_over(7, 9)
    assert (settings.strategy(7), settings.strategy(9)) == ("snapshot", "disabled")


class Market:
    """Rents out what a test lets it; `stuck` machines do not go."""

    def __init__(self) -> None:
        self.machines: dict[int, str] = {}
        self.gone: list[int] = []
        self.taken: set[int] = set()
        self.stuck: set[int] = set()
        self.lost_answers: set[int] = set()
        self.slow: set[int] = set()
        self.rented = asyncio.Event()
        self.ended = asyncio.Event()

    async def rent(self, offer_id: int, rent: Rent) -> int:
        if offer_id in self.slow:
            await asyncio.sleep(0.1)
        if offer_id in self.taken:
            raise OfferGone(409, f"offer {offer_id} was taken")
        self.machines[100 + offer_id] = rent.token
        self.rented.set()
        if offer_id in self.lost_answers:
            raise MarketError(503, "no answer")
        return 100 + offer_id

    async def find_rented(self, token: str) -> int | None:
        return next((instance_id for instance_id, known in self.machines.items() if known == token), None)

    async def destroy(self, instance_id: int) -> None:
        if instance_id in self.stuck:
            raise MarketError(502, f"{instance_id} is still listed")
        if self.machines.pop(instance_id, None):
            self.gone.append(instance_id)
            self.ended.set()


class Machines:
    """`ready`: after how many seconds a machine answers; one that is not named never does."""

    def __init__(self, ready: dict[int, float]) -> None:
        self._ready = ready

    async def wait_ready(self, instance_id: int, within: float) -> tuple[MarketInstance, None]:
        if instance_id not in self._ready:
            raise ApiError(504, f"Instance {instance_id} was not ready")
        await asyncio.sleep(self._ready[instance_id])
        return MarketInstance(id=instance_id), None


class Track:
    """Races on a market of a test's own."""

    def __init__(self, folder: Path, ready: dict[int, float]) -> None:
        self.market = Market()
        self.records = Records(folder / "r.db")
        self.machines = Machines(ready)

    def races(self) -> Races:
        market: Any = self.market
        machines: Any = self.machines
        agents: Any = None
        return Races(Fleet(self.records), market, machines, agents, Disposals(self.records, market), 1)

    def run(self, *offers: int, width: int = 3) -> Race:
        async def race() -> Race:
            races = self.races()
            record = races.order()
            shelf = [Offer(id=one, num_gpus=1, gpu_ram=1, disk_space=1, dph_total=1) for one in offers]

            async def look() -> list[Offer]:
                return shelf

            with suppress(ApiError):  # the record tells it
                await races.run(record, list(shelf), look, Rent(image="i", disk=1), width=width)
            await races.close()
            await races.disposals.close()
            found = races.get(record.race_id)
            assert found is not None
            return found

        return asyncio.run(race())


def test_the_first_that_answers_wins_and_the_others_go(tmp_path: Path) -> None:
    track = Track(tmp_path, {101: 5, 102: 0.01, 103: 5})
    race = track.run(1, 2, 3, 4)
    assert (race.status, race.winner_id, race.losers_gone) == ("won", 102, True)
    assert {one.instance_id: one.state for one in race.candidates} == {101: "lost", 102: "won", 103: "lost"}
    assert set(track.market.machines) == {102}


def test_who_is_renting_when_another_wins_is_given_back_too(tmp_path: Path) -> None:
    track = Track(tmp_path, {101: 0, 102: 0, 103: 0})
    track.market.slow = {2, 3}
    race = track.run(1, 2, 3)
    assert race.winner_id == 101
    assert set(track.market.machines) == {101}
    assert sorted(track.market.gone) == [102, 103]


def test_offers_that_are_gone_and_machines_that_never_answer_are_replaced(tmp_path: Path) -> None:
    track = Track(tmp_path, {104: 0})
    track.market.taken = {1}
    race = track.run(1, 2, 3, 4, width=1)
    assert (race.status, race.winner_id) == ("won", 104)
    assert [one.state for one in race.candidates] == ["failed", "failed", "failed", "won"]
    assert set(track.market.machines) == {104}


def test_a_race_that_nobody_wins_leaves_nothing(tmp_path: Path) -> None:
    track = Track(tmp_path, {})
    race = track.run(1, 2)
    assert (race.status, race.winner_id) == ("failed", None)
    assert "None of 2 offers brought a machine that answers SSH" in str(race.error)
    assert track.market.machines == {}


def test_a_rent_without_an_answer_is_found_and_given_back(tmp_path: Path) -> None:
    track = Track(tmp_path, {101: 0})
    track.market.lost_answers = {1}
    race = track.run(1, width=1)
    assert race.status == "failed"
    assert (track.market.machines, track.market.gone) == ({}, [101])


def test_no_win_while_a_loser_stays(tmp_path: Path) -> None:
    track = Track(tmp_path, {101: 0.01, 102: 5})
    track.market.stuck = {102}
    race = track.run(1, 2, width=2)
    assert (race.status, race.winner_id, race.losers_gone) == ("failed", None, False)
    assert "instance 102" in str(race.error)
    assert set(track.market.machines) == {102}
    assert [one.instance_id for one in track.records.all(Disposal)] == [102]  # it is tried again, also after a restart
    track.market.stuck, track.market.ended = set(), asyncio.Event()

    async def next_process() -> None:
        races = track.races()
        await races.disposals.settle()
        await track.market.ended.wait()
        await races.disposals.close()

    asyncio.run(next_process())
    assert track.market.machines == {}


def test_a_race_that_was_cut_off_is_given_back(tmp_path: Path) -> None:
    track = Track(tmp_path, {})

    async def killed() -> str:
        races = track.races()
        record = races.order()
        record.status = "provisioning"
        offer = Offer(id=1, num_gpus=1, gpu_ram=1, disk_space=1, dph_total=1)

        async def look() -> list[Offer]:
            return []

        task = asyncio.create_task(races.run(record, [offer], look, Rent(image="i", disk=1)))
        await track.market.rented.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return record.race_id

    async def next_process(race_id: str) -> Race | None:
        races = track.races()
        await races.settle()
        return races.get(race_id)

    track.machines = Machines({101: 60})
    race = asyncio.run(next_process(asyncio.run(killed())))
    assert race is not None
    assert (race.status, race.losers_gone) == ("failed", True)
    assert track.market.machines == {}
