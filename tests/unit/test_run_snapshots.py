"""The snapshots of a run: everything that it caused is found at its end, and nothing of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.errors import Unknown
from rekindle.labels import new_run_id
from rekindle.ledger import Ledger
from rekindle.run_snapshots import RunSnapshots
from rekindle.snapshot_records import SnapshotRecords, SnapshotState
from tests.unit.test_snapshot_sweeping import MACHINE, FakeBucket, tag

RUN = new_run_id()
MINUTES = 30.0


class House:
    """A run with one machine, and a bucket."""

    def __init__(self, folder: Path) -> None:
        self.bucket = FakeBucket()
        self.records = SnapshotRecords(Ledger(folder / "ledger.db", "here"))
        self.run = RunSnapshots(self.records, lambda: self.bucket, RUN, lambda: {MACHINE: MINUTES})

    def states(self) -> list[SnapshotState]:
        return [record.state for record in self.records.of_run(RUN, self.run._owner)]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_snapshot_that_nobody_deleted_is_left(house: House) -> None:
    record = house.run.intend(MACHINE)
    id_ = house.bucket.put(1, record.tag)
    house.run.made(record, id_[:8], 10**9)
    assert house.run.left() == [id_]
    del house.bucket.held[id_]
    house.run.deleted(id_)
    assert (house.run.left(), house.states()) == ([], [SnapshotState.DELETED])


def test_one_whose_answer_was_lost_is_found_by_its_tag(house: House) -> None:
    id_ = house.bucket.put(1, house.run.intend(MACHINE).tag)
    assert house.run.left() == [id_]


def test_one_that_the_product_took_without_being_asked_is_found_by_its_machine(house: House) -> None:
    id_ = house.bucket.put(1, f"instance:{MACHINE}", "hibernate")
    assert house.run.left() == [id_]


def test_snapshots_of_others_and_of_earlier_runs_are_not_ours(house: House) -> None:
    house.bucket.put(1, "instance:5")
    house.bucket.put(2, tag())
    house.bucket.put(3, f"instance:{MACHINE}", age=9000)  # before this run began
    house.bucket.put(4, damaged=True)
    house.bucket.keep(house.bucket.put(5, f"instance:{MACHINE}"))
    assert house.run.left() == []


def test_a_hibernation_stays_and_is_kept_at_the_orderly_end_only(house: House) -> None:
    house.run.expect(MACHINE)
    id_ = house.bucket.put(1, f"instance:{MACHINE}")
    house.run.taken_by_product(MACHINE, id_[:8])
    house.run.promise(id_[:8])
    assert (house.run.left(), house.states()) == ([], [SnapshotState.PROMISED])
    house.run.close()
    assert (house.run.left(), house.states()) == ([], [SnapshotState.KEPT])


def test_a_claim_lies_in_the_bucket_until_the_end_of_the_run(house: House) -> None:
    record = house.run.expect(MACHINE)
    assert house.run.expect(MACHINE) == record
    assert house.bucket.memory.keys == [f"rekindle/snapshots/{MACHINE}/{record.tag}"]
    house.run.close()
    assert (house.bucket.memory.keys, house.states()) == ([], [SnapshotState.NEVER_MADE])


def test_a_run_that_caused_nothing_asks_nothing_of_the_bucket(tmp_path: Path) -> None:
    def refuse() -> FakeBucket:
        raise AssertionError

    records = SnapshotRecords(Ledger(tmp_path / "ledger.db", "here"))
    run = RunSnapshots(records, refuse, RUN, dict)
    assert (run.left(), run.storage()) == ([], [])
    run.close()


def test_storage_is_counted_until_a_snapshot_is_deleted_or_for_the_days_that_it_is_kept(house: House) -> None:
    deleted, kept = house.run.intend(MACHINE), house.run.intend(MACHINE)
    house.run.made(deleted, "00000001", 10**9)
    house.run.made(kept, "00000002")
    house.run.measured("00000002" + "0" * 56, 2 * 10**9)
    house.run.deleted("00000001")
    house.run.promise("00000002")
    first, second = house.run.storage()
    assert (first.bytes, second.bytes) == (10**9, 2 * 10**9)
    assert first.cost.life.at_most < 60
    assert second.cost.life.at_most == pytest.approx(7 * 86400, abs=60)
    assert [first.kept, second.kept] == [False, True]


def test_a_bucket_that_takes_no_claim_does_not_keep_a_machine_awake(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise Unknown("Access Denied")

    monkeypatch.setattr(house.bucket, "claim", refuse)
    assert house.run.expect(MACHINE) == house.run.expect(MACHINE)
