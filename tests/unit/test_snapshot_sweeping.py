"""Sweeping snapshots: what finished runs left is deleted and verified, whatever else carries our mark stays."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rekindle.bucket_lease import acquire
from rekindle.errors import Mismatch, Unknown
from rekindle.kept_hibernations import KEPT_DAYS, lease_name
from rekindle.kept_manifests import FOLDER, SET_ASIDE
from rekindle.labels import Label, new_run_id
from rekindle.ledger import Ledger
from rekindle.market import Charge
from rekindle.restic_repository import SnapshotDocument, Stored
from rekindle.snapshot_bucket import SnapshotBucket
from rekindle.snapshot_records import SnapshotRecords
from rekindle.snapshot_sweeping import SLACK, SnapshotSweeper, SweptSnapshots
from tests.unit.fake_cloud import FakeCloud
from tests.unit.memory_bucket import MemoryBucket

DAY = 86400.0
MINUTES = 60
NOW = 1_000_000.0  # the store's clock
MACHINE = 29070001


@dataclass
class FakeBucket(SnapshotBucket):
    """Snapshots that a test puts there; manifests, claims and leases lie in a bucket in memory."""

    memory: MemoryBucket = field(default_factory=lambda: MemoryBucket(at=NOW))
    held: dict[str, tuple[float, SnapshotDocument | None]] = field(default_factory=dict)
    left_packs: bool = False

    def __post_init__(self) -> None:
        store: Any = self.memory
        store.bucket = "bucket"
        super().__init__(store, "restic", "password")

    def put(self, number: int, *tags: str, age: float = 0.0, damaged: bool = False) -> str:
        id_ = f"{number:08x}" + "0" * 56
        document = SnapshotDocument(id_, "", "", ("/workspace",), tags, "tree")
        self.held[id_] = (age, None if damaged else document)
        return id_

    def keep(self, id_: str, age: float = 0.0, folder: str = FOLDER) -> str:
        key = f"{folder}1796079464-{id_[:8]}.json"
        self.memory.at = NOW - age
        self.memory.put(key, b"{}")
        self.memory.at = NOW
        return key

    def snapshots(self) -> dict[str, float]:
        return {id_: age for id_, (age, _) in self.held.items()}

    def documents(self, ids: Any) -> dict[str, SnapshotDocument | None]:
        return {id_: self.held[id_][1] for id_ in ids}

    def needs(self, snapshot_id: str) -> Stored | None:
        return Stored({"pack": 7}, 7)

    def freed(self, snapshot_id: str, stored: Stored) -> Any:
        if self.left_packs:
            raise Mismatch(f"Snapshot {snapshot_id} was deleted, but its pack is still paid for.")


class House:
    """A product, its bucket, and this computer's ledger."""

    def __init__(self, folder: Path) -> None:
        self.bucket = FakeBucket()
        self.ledger = Ledger(folder / "ledger.db", "here")
        self.records = SnapshotRecords(self.ledger)
        self.cloud = FakeCloud()
        self.asked: list[str] = []
        self.obeys = True
        self.bill: list[Charge] = []

    def snapshots(self) -> list[dict[str, Any]]:
        return [{"id": id_, "short_id": id_[:8], "tags": []} for id_ in self.bucket.held]

    def delete_snapshot(self, snapshot_id: str) -> None:
        self.asked.append(snapshot_id[:8])
        if self.obeys:
            del self.bucket.held[snapshot_id]

    def statement(self) -> list[Charge]:
        return self.bill

    def sweep(self) -> SweptSnapshots:
        this: Any = self
        return SnapshotSweeper(this, this, lambda: self.bucket, self.ledger, clock=self.cloud.clock).sweep()

    def dead_run(self, *steps: str) -> list[str]:
        """A run of this computer that has recorded something and is no more. Returns what it printed."""
        code = (
            "import sys; from pathlib import Path; from rekindle.ledger import Ledger\n"
            "from rekindle.snapshot_records import SnapshotRecords\n"
            "ledger = Ledger(Path(sys.argv[1]), 'here'); records = SnapshotRecords(ledger); run = sys.argv[2]\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code + "\n".join(steps), str(self.ledger.path), new_run_id()],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.split()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def tag(minutes: int = MINUTES) -> str:
    return str(Label(new_run_id(), 1, minutes))


def why(swept: SweptSnapshots) -> str:
    (kept,) = swept.kept
    return kept.why


def test_a_bucket_without_snapshots_needs_nothing(house: House) -> None:
    assert house.sweep() == SweptSnapshots()


@pytest.mark.parametrize("came_to_write_its_id_down", [True, False])
def test_what_a_dead_run_of_this_computer_left_is_deleted(house: House, came_to_write_its_id_down: bool) -> None:
    (made,) = house.dead_run(
        f"record = records.intend(run, {MACHINE}, 30); print(record.tag)",
        "records.made(record.intent, '00000001')" if came_to_write_its_id_down else "",
    )
    ours, others = house.bucket.put(1, made), house.bucket.put(2, "instance:5", "name:5_1")
    swept = house.sweep()
    run = Label.read(made).run_id  # type: ignore[union-attr]  # it is one
    assert [(one.id, one.why, one.bytes) for one in swept.found] == [(ours, f"run {run} has ended", 7)]
    assert (swept.looked, swept.of_others, [*house.bucket.held]) == (2, 1, [others])
    assert house.sweep().ended_nothing


def test_what_the_product_took_of_a_machine_of_a_dead_run_is_deleted(house: House) -> None:
    house.dead_run(
        "ledger.created(ledger.intend(run, f'rekindle-{run}-1-30m', 7, 0.3, 30), 29070001)",
    )
    house.bucket.put(1, f"instance:{MACHINE}", f"name:{MACHINE}_hibernate_1", "hibernate")
    assert len(house.sweep().found) == 1


def test_a_machine_whose_id_was_given_anew_later_is_of_others(house: House) -> None:
    house.dead_run(
        "intent = ledger.intend(run, f'rekindle-{run}-1-30m', 7, 0.3, 30)",
        "ledger.created(intent, 29070001); ledger.destroyed(intent, 'absent')",
    )
    with house.ledger.transaction() as database:
        database.execute("UPDATE rents SET intended_at = intended_at - 9000, closed_at = closed_at - 8000")
    house.bucket.put(1, f"instance:{MACHINE}")
    swept = house.sweep()
    assert (swept.of_others, swept.ended_nothing) == (1, True)


def test_the_bill_names_the_run_of_a_machine_that_no_ledger_knows(house: House) -> None:
    old, young = Label(new_run_id(), 1, 30), Label(new_run_id(), 1, 30)
    for number, label in ((1, old), (2, young)):
        house.bill.append(Charge(0, 1, 1, 1, 1, "gpu", f"instance-{number}", f"1x RTX 3060 in SE, {label}"))
    house.bucket.put(1, "instance:1", age=60 * 60 + SLACK + 60)
    house.bucket.put(2, "instance:2", age=50 * 60)
    swept = house.sweep()
    assert [one.why for one in swept.found] == [
        f"the 60 min for which run {old.run_id} might keep it have been over for 6 min"
    ]
    assert why(swept) == f"run {young.run_id} is not of this computer, and may keep it for 15 min more"


def test_a_claim_in_the_bucket_names_the_run_where_no_bill_does(house: House) -> None:
    label = tag()
    house.bucket.memory.at = NOW - MINUTES * 60 - SLACK - 90
    house.bucket.claim(MACHINE, label)
    house.bucket.memory.at = NOW
    house.bucket.put(1, f"instance:{MACHINE}", age=MINUTES * 60 + SLACK + 60)
    swept = house.sweep()
    assert len(swept.found) == 1
    assert (house.bucket.memory.keys, swept.manifests) == ([], [f"rekindle/snapshots/{MACHINE}/{label}"])


def test_a_run_that_lives_is_not_touched(house: House) -> None:
    run = new_run_id()
    record = house.records.intend(run, MACHINE, 30)  # by this very process
    house.bucket.put(1, record.tag, age=100 * DAY)
    house.ledger.created(house.ledger.intend(run, str(Label(run, 1, 30)), 7, 0.3, 30), MACHINE)
    house.bucket.put(2, f"instance:{MACHINE}")
    house.bucket.claim(MACHINE, record.tag)
    swept = house.sweep()
    assert ([one.why for one in swept.kept], swept.ended_nothing) == (["its run goes on"] * 2, True)
    assert house.asked == []


def test_the_clock_of_this_computer_judges_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.bucket.put(1, tag(), age=60)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * 3600)
    assert why(house.sweep()).endswith(" is not of this computer, and may keep it for 64 min more")


@pytest.mark.parametrize("folder", [FOLDER, SET_ASIDE])
def test_a_hibernation_stays_for_its_days_and_goes_with_its_manifest(house: House, folder: str) -> None:
    old, young = house.bucket.put(1, tag(), age=9 * DAY), house.bucket.put(2, tag(), age=9 * DAY)
    house.bucket.keep(old, KEPT_DAYS * DAY + 2 * 3600, folder)
    stays = house.bucket.keep(young, 2 * DAY, folder)
    swept = house.sweep()
    assert why(swept) == "a hibernation that is kept for another day, for 5.0 days more"
    assert [one.why for one in swept.found] == ["a hibernation that was kept for 7 days, which have been over for 2 h"]
    assert (house.bucket.memory.keys, [*house.bucket.held]) == ([stays], [young])


def test_a_hibernation_that_another_run_is_waking_stays_however_old(house: House) -> None:
    id_ = house.bucket.put(1, tag())
    house.bucket.keep(id_, 8 * DAY)
    acquire(house.bucket.memory, lease_name(id_[:8]), "other.1", 60)
    assert why(house.sweep()) == "a hibernation that run other.1 is waking"


@pytest.mark.parametrize("holder", ["other.1", None])
def test_a_hibernation_of_a_dead_run_stays_only_while_another_run_is_waking_it(
    house: House, holder: str | None
) -> None:
    run, made = house.dead_run(
        f"record = records.intend(run, {MACHINE}, 30); print(run, record.tag)",
        "ledger.intend(run, f'rekindle-{run}-1-30m', 7, 0.3, 30)",
        "records.made(record.intent, '00000001'); records.promised(record.intent)",
    )
    id_ = house.bucket.put(1, made)
    house.bucket.keep(id_)
    acquire(house.bucket.memory, lease_name(id_[:8]), holder or f"{run}.1", 60)
    assert len(house.sweep().found) == (0 if holder else 1)


@pytest.mark.parametrize("ended_in_order", [True, False])
def test_a_hibernation_of_a_run_that_was_killed_was_never_handed_over(house: House, ended_in_order: bool) -> None:
    (made,) = house.dead_run(
        f"record = records.intend(run, {MACHINE}, 30); print(record.tag)",
        "records.made(record.intent, '00000001'); records.promised(record.intent)",
        "records.kept(run)" if ended_in_order else "",
    )
    id_ = house.bucket.put(1, made)
    key = house.bucket.keep(id_)
    assert len(house.sweep().found) == (0 if ended_in_order else 1)
    assert house.bucket.memory.keys == ([key] if ended_in_order else [])


def test_what_cannot_be_proven_to_be_ours_stays_and_is_named(house: House) -> None:
    house.bucket.put(1, "rekindle-production", age=100 * DAY)
    house.bucket.put(2, damaged=True, age=100 * DAY)
    house.bucket.put(3, "run:0311093015-5f2c9a", age=100 * DAY)
    house.bucket.put(4, "nightly", age=100 * DAY)
    swept = house.sweep()
    assert [one.why for one in swept.kept] == [
        "its tag rekindle-production is not one that Rekindle gives: not proven to be ours",
        "it is damaged, so that its owner cannot be read",
        "run 0311093015-5f2c9a is not known to have ended, and its tag names no lease",
    ]
    assert (swept.of_others, len(house.bucket.held), house.asked) == (1, 4, [])


def test_a_product_that_says_yes_and_does_nothing_is_named(house: House) -> None:
    house.bucket.put(1, tag(), age=10 * DAY)
    house.obeys = False
    swept = house.sweep()
    assert any("still lies in bucket bucket" in one for one in swept.unsettled)
    assert not swept.ended_nothing


def test_data_that_stay_behind_are_named(house: House) -> None:
    house.bucket.put(1, tag(), age=10 * DAY)
    house.bucket.left_packs = True
    assert house.sweep().unsettled == [f"Snapshot 00000001{'0' * 56} was deleted, but its pack is still paid for."]


def test_what_belongs_to_no_snapshot_is_removed_once_it_is_no_longer_new(house: House) -> None:
    for key, age in (
        (f"{FOLDER}1-aaaaaaaa.json", SLACK + 1),
        (f"{SET_ASIDE}1-bbbbbbbb.json", SLACK + 1),
        (f"{SET_ASIDE}1-bbbbbbbb.json.reason.txt", SLACK + 1),
        (f"{FOLDER}1-cccccccc.json", SLACK - 1),
        ("rekindle/probe-1", SLACK + 1),
        ("somebody/else", 9 * DAY),
    ):
        house.bucket.memory.at = NOW - age
        house.bucket.memory.put(key, b"{}")
    house.bucket.memory.at = NOW - 1000
    acquire(house.bucket.memory, lease_name("dddddddd"), "run.1", 60)
    house.bucket.memory.at = NOW
    house.sweep()
    assert house.bucket.memory.keys == [f"{FOLDER}1-cccccccc.json", "somebody/else"]


def test_a_bucket_that_cannot_be_read_is_not_taken_for_empty(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: FakeBucket) -> None:
        raise Unknown("the store is away")

    monkeypatch.setattr(FakeBucket, "snapshots", fail)
    with pytest.raises(Unknown, match="the store is away"):
        house.sweep()
