"""Sweeping: what is provably left over goes, whatever else carries our mark is left with a reason, others never."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rekindle.clearing import CPU_CLOUD, MARKET, VOLUMES
from rekindle.clocks import TOLERANCE, ServiceClock
from rekindle.errors import Mismatch, Unknown
from rekindle.gcp import CpuMachine
from rekindle.labels import Label, new_run_id
from rekindle.ledger import Ledger, State
from rekindle.market import Volume
from rekindle.sweeping import SLACK, Sweeper, Swept
from tests.unit.fake_cloud import FIRST_ID, PRICE, FakeCloud, clock_of, growing

MINUTES = 30


class House:
    """A cloud whose contracts begin at the real time, and this computer's ledger."""

    def __init__(self, folder: Path) -> None:
        self.cloud = FakeCloud(now=time.time())
        self.ledger = Ledger(folder / "ledger.db", "here")
        dumont: Any = self.cloud.dumont
        market: Any = self.cloud.market
        self.sweeper = Sweeper(dumont, market, None, self.ledger, clock=self.cloud.clock)

    def sweep(self) -> Swept:
        return self.sweeper.sweep()

    def left(self) -> list[str | None]:
        return [contract.label for contract in self.cloud.living()]

    def aged(self, number: int, seconds: float) -> None:
        self.cloud.contracts[number].begun = time.time() - seconds

    def dead_run(self, *labels: str, target: str = "here", created: int | None = None) -> None:
        """A run of this computer that has written down its rents and is no more."""
        code = (
            "import sys; from pathlib import Path; from rekindle.ledger import Ledger\n"
            "ledger = Ledger(Path(sys.argv[1]), sys.argv[2])\n"
            "for label in sys.argv[4:]:\n"
            "    intent = ledger.intend(label.rsplit('-', 2)[0].removeprefix('rekindle-'), label, 7, 0.36, 30)\n"
            "    if sys.argv[3]: ledger.created(intent, int(sys.argv[3]))"
        )
        arguments = [str(self.ledger.path), target, str(created or ""), *labels]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def label(run_id: str | None = None, number: int = 1) -> str:
    return str(Label(run_id or new_run_id(), number, MINUTES))


def test_what_was_kept_for_a_run_that_ended_between_two_sweeps_is_told_apart(house: House) -> None:
    ended, missed = label(), label()
    lasting = house.cloud.rent(ended)
    house.aged(lasting, MINUTES * 60 + SLACK - 60)
    first = house.sweep()
    assert [one.seen.id for one in first.kept] == [lasting]
    house.aged(lasting, MINUTES * 60 + SLACK + 60)
    house.aged(house.cloud.rent(missed), MINUTES * 60 + SLACK + 60)
    again = house.sweep()
    assert {one.seen.label for one in again.found} == {ended, missed}
    assert [one.seen.label for one in again.ended_since(first)] == [ended]


def test_what_a_dead_run_of_this_computer_left_is_destroyed_and_a_second_sweep_finds_nothing(house: House) -> None:
    ours = label()
    number = house.cloud.rent(ours)
    house.cloud.rent("somebody else's")
    house.cloud.rent(None)
    house.dead_run(ours, created=number)
    swept = house.sweep()
    assert [(one.seen.id, one.why) for one in swept.found] == [
        (number, f"run {Label.read(ours).run_id} has ended")  # type: ignore[union-attr]  # it is one
    ]
    assert (swept.found[0].seen.hourly_usd, swept.looked, swept.of_others) == (PRICE, {MARKET: 3, VOLUMES: 0}, 2)
    assert swept.cleared.destroyed == {number: ours}
    assert house.left() == ["somebody else's", None]
    assert house.ledger.open_rents() == []
    assert house.sweep().ended_nothing


def test_what_a_dead_run_did_not_come_to_write_down_goes_too(house: House) -> None:
    run = new_run_id()
    house.dead_run(label(run, 1))
    house.cloud.rent(label(run, 2))
    assert [one.seen.id for one in house.sweep().found] == [FIRST_ID]
    assert house.left() == []


def test_a_run_that_lives_is_not_touched(house: House) -> None:
    run = new_run_id()
    house.ledger.intend(run, label(run), 7, 0.36, MINUTES)  # by this very process
    number = house.cloud.rent(label(run))
    house.aged(number, MINUTES * 60 + 2 * SLACK)
    house.cloud.rent(label(run, 2))
    swept = house.sweep()
    assert ([one.why for one in swept.kept], swept.ended_nothing) == (["its run goes on"] * 2, True)
    assert len(house.left()) == 2
    assert house.cloud.calls == []


def test_a_machine_that_a_living_run_woke_is_not_that_of_the_dead_run_whose_label_it_has(house: House) -> None:
    ours = label()
    house.dead_run(ours)
    house.ledger.intend(new_run_id(), ours, None, 0.36, MINUTES)
    house.cloud.rent(ours)
    assert [one.why for one in house.sweep().kept] == ["its run goes on"]
    assert house.left() == [ours]


def test_a_ledger_that_knows_nothing_goes_by_the_minutes_in_the_label(house: House) -> None:
    old, young = label(), label()
    house.aged(house.cloud.rent(old), MINUTES * 60 + SLACK + 60)
    house.aged(house.cloud.rent(young), MINUTES * 60 - 60)
    swept = house.sweep()
    (found,), (kept,) = swept.found, swept.kept
    assert found.why == "the 30 min for which its run might keep it have been over for 6 min"
    run = Label.read(young).run_id  # type: ignore[union-attr]  # it is one
    assert kept.why == f"run {run} is not of this computer, and may be kept for 6 min more"
    assert house.left() == [young]


HOURS = 2 * 3600.0


@pytest.mark.parametrize("client", ["market", "dumont"])
@pytest.mark.parametrize("ahead", [-HOURS, HOURS])
def test_no_age_is_judged_by_a_clock_that_differs_from_the_markets_or_the_products(
    house: House, client: str, ahead: float
) -> None:
    other = label()
    house.aged(house.cloud.rent(other), MINUTES * 60 + SLACK + HOURS)
    asked: Any = getattr(house.cloud, client)
    asked.clock = clock_of("the market", ahead)
    swept = house.sweep()
    assert swept.ended_nothing
    assert swept.clocks is not None
    assert swept.clocks.startswith(
        "The age of what other runs have left cannot be judged, so it stays: this computer's clock shows 20"
    )
    assert " UTC, but that of the market 20" in swept.clocks
    assert house.left() == [other]


def test_answers_without_a_time_let_no_age_be_judged(house: House) -> None:
    house.aged(house.cloud.rent(label()), MINUTES * 60 + SLACK + 60)
    house.cloud.market.clock = ServiceClock("the market")
    (kept,) = house.sweep().kept
    assert kept.why.endswith(
        "is not of this computer, and the answers of the market show no time to compare this computer's clock with"
    )


def test_a_clock_that_differs_saves_no_machine_whose_run_is_known_to_have_ended(house: House) -> None:
    ours = label()
    house.dead_run(ours, created=house.cloud.rent(ours))
    house.cloud.market.clock = clock_of("the market", HOURS)
    swept = house.sweep()
    assert (swept.cleared.destroyed, swept.clocks) == ({FIRST_ID: ours}, None)


def test_clocks_may_differ_a_little(house: House) -> None:
    house.aged(house.cloud.rent(label()), MINUTES * 60 + SLACK + 60)
    house.cloud.market.clock = clock_of("the market", TOLERANCE - 5)
    assert len(house.sweep().found) == 1


def test_a_machine_that_was_proven_gone_may_have_been_woken_on_another_computer(house: House) -> None:
    ours = label()
    house.dead_run(ours, created=7)
    (rent,) = house.ledger.open_rents()
    house.ledger.destroyed(rent.intent, "hibernated")
    number = house.cloud.rent(ours)
    (kept,) = house.sweep().kept
    assert kept.why == "it may have been woken elsewhere, and may be kept for 35 min more"
    house.aged(number, MINUTES * 60 + SLACK + 1)
    assert [one.seen.id for one in house.sweep().found] == [number]


def test_the_youngest_of_a_label_tells_how_old_its_run_is(house: House) -> None:
    """A machine that was replaced, and a volume of which nobody tells the age."""
    ours = label()
    house.aged(house.cloud.rent(ours), MINUTES * 60 + SLACK + 60)
    replacement = house.cloud.rent(ours)
    house.cloud.volumes = [Volume(5, f"dumont-{ours}-0123456789ab", replacement, 0.01)]
    assert (len(house.sweep().kept), len(house.left())) == (3, 2)
    house.aged(replacement, MINUTES * 60 + SLACK + 60)
    assert len(house.sweep().found) == 3
    assert (house.left(), house.cloud.volumes) == ([], [])


def test_a_volume_whose_age_nobody_tells_is_left(house: House) -> None:
    house.cloud.volumes = [Volume(5, f"dumont-{label()}-0123456789ab", None, 0.01)]
    (kept,) = house.sweep().kept
    assert str(kept).startswith("volume 5 (rekindle-")
    assert kept.why.endswith("is not of this computer, and nobody tells since when it is there")
    assert len(house.cloud.volumes) == 1


class CpuCloud:
    """Machines that standbys live on; the product forgets to delete them."""

    def __init__(self, *names: str) -> None:
        self.clock = clock_of("the CPU cloud")
        self.rows = [
            CpuMachine(number, name, "europe-west1-b", "e2-medium", "RUNNING", None, None, 0.02)
            for number, name in enumerate(names, 46)
        ]

    def instances(self) -> list[CpuMachine]:
        return list(self.rows)

    def destroy(self, machine_id: int) -> bool:
        self.rows = [row for row in self.rows if row.id != machine_id]
        return True


def test_standbys_at_the_cpu_cloud_are_swept_as_well(house: House) -> None:
    now, dead, old, young = int(time.time()), label(), label(), label()
    long_ago = now - MINUTES * 60 - int(SLACK) - 60
    names = [f"dumont-{dead}-{now}", f"dumont-{old}-{long_ago}", f"dumont-{young}-{now}", "database"]
    cloud: Any = CpuCloud(*names)
    house.dead_run(dead)
    dumont: Any = house.cloud.dumont
    market: Any = house.cloud.market
    sweeper = Sweeper(dumont, market, cloud, house.ledger, clock=house.cloud.clock)
    swept = sweeper.sweep()
    assert [(str(one.seen), one.seen.hourly_usd) for one in swept.found] == [
        (f"CPU machine 46 ({dead})", 0.02),
        (f"CPU machine 47 ({old})", 0.02),
    ]
    assert [row.name for row in cloud.rows] == names[2:]
    assert swept.looked[CPU_CLOUD] == 4
    assert sweeper.sweep().ended_nothing


@pytest.mark.parametrize("name", ["rekindle-", "rekindle-production", "rekindle-0311093015-5f2c9a-3"])
def test_a_label_that_only_looks_like_ours_is_left(house: House, name: str) -> None:
    house.aged(house.cloud.rent(name), 1_000_000)
    (kept,) = house.sweep().kept
    assert kept.why == "the label is not one that Rekindle gives: not proven to be ours"
    assert house.left() == [name]


def test_an_id_that_was_given_anew_is_not_swept(house: House) -> None:
    number = house.cloud.rent("somebody else's")
    house.dead_run(label(), created=number)
    house.sweep()
    assert house.left() == ["somebody else's"]
    assert [rent.state for rent in house.ledger.open_rents()] == []


def test_rents_on_another_target_stay_open_until_they_are_seen(house: House) -> None:
    ours = label()
    house.dead_run(ours, target="there", created=7)
    assert house.sweep().ended_nothing
    assert [rent.state for rent in house.ledger.open_rents()] == [State.CREATED]
    house.cloud.rent(ours)  # the same cloud, at a new address
    assert house.sweep().cleared.destroyed == {FIRST_ID: ours}
    assert house.ledger.open_rents() == []


def test_a_listing_that_fails_is_not_taken_for_empty(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise Unknown("the market is away")

    ours = label()
    house.dead_run(ours, created=house.cloud.rent(ours))
    monkeypatch.setattr(house.cloud.market, "instances", fail)
    with pytest.raises(Unknown, match="the market is away"):
        house.sweep()
    assert house.left() == [ours]


def test_a_product_that_says_yes_and_does_nothing_is_bypassed(house: House) -> None:
    house.cloud.dumont.on_destroy = lambda _: True
    ours = label()
    house.dead_run(ours, created=house.cloud.rent(ours))
    assert house.sweep().cleared.destroyed == {FIRST_ID: ours}
    assert house.left() == []


def test_what_nobody_destroys_is_told(house: House) -> None:
    house.cloud.dumont.on_destroy = house.cloud.market.on_destroy = lambda _: True
    ours = label()
    house.dead_run(ours, created=house.cloud.rent(ours))
    swept = house.sweep()
    assert str(swept) == f"the marketplace still lists machine {FIRST_ID} ({ours}); {ours} stays open in the ledger"
    assert not swept.ended_nothing


# What it had cost.


def test_the_bill_tells_what_the_swept_machines_have_cost(house: House) -> None:
    ours = label()
    house.dead_run(ours, created=house.cloud.rent(ours))
    house.cloud.rent("somebody else's")
    house.cloud.pause(100)
    swept = house.sweep()
    account = house.sweeper.account(swept)
    assert account.machines == 2
    assert account.usd == {FIRST_ID: pytest.approx(0.01, abs=0.0002)}


def test_a_volume_that_is_billed_and_that_no_list_shows_is_red(house: House) -> None:
    volume = Volume(5, "somebody else's", None, 0.01)
    house.cloud.volumes, house.cloud.billed_volumes = [volume], [volume]
    assert house.sweeper.account(Swept()).machines == 0
    house.cloud.volumes = []
    with pytest.raises(Mismatch, match="The bill of volume 5 grows, although the market does not list it"):
        house.sweeper.account(Swept())


def test_a_bill_that_grows_of_what_no_list_shows_is_red(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = label()
    house.dead_run(ours, created=house.cloud.rent(ours))
    swept = house.sweep()
    monkeypatch.setattr(house.cloud.market, "on_charges", growing)
    with pytest.raises(Mismatch) as told:
        house.sweeper.account(swept)
    assert str(told.value) == (
        f"The bill of machine {FIRST_ID} grows, although the market does not list it. Look at the market: something is "
        "paid for that nobody sees."
    )
