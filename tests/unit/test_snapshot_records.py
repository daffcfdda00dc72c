"""Snapshots in the ledger: recorded before they are taken, closed by a proof, and handed over at an orderly end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rekindle.labels import Label, new_run_id
from rekindle.ledger import Ledger, process_identity
from rekindle.snapshot_records import LIVES, SnapshotRecord, SnapshotRecords, SnapshotState, same_snapshot

RUN = new_run_id()
ID = "0123abcd" + "0" * 56


@pytest.fixture
def records(tmp_path: Path) -> SnapshotRecords:
    return SnapshotRecords(Ledger(tmp_path / "ledger.db", "here"))


def own(records: SnapshotRecords) -> list[SnapshotRecord]:
    return records.of_run(RUN, process_identity(os.getpid()))


def states(records: SnapshotRecords) -> list[SnapshotState]:
    return [record.state for record in own(records)]


def test_an_intent_has_a_tag_that_names_run_row_and_lease(records: SnapshotRecords) -> None:
    first, second = records.intend(RUN, 7, 30), records.intend(RUN, 7, 45.5)
    assert Label.read(first.tag) == Label(RUN, first.intent, 30 * LIVES)
    assert Label.read(second.tag) == Label(RUN, second.intent, 91)
    assert (first.state, first.instance_id, first.snapshot_id, first.target) == (
        SnapshotState.INTENDED,
        7,
        None,
        "here",
    )
    assert first.is_open


def test_a_snapshot_that_is_deleted_is_closed(records: SnapshotRecords) -> None:
    intent = records.intend(RUN, 7, 30).intent
    records.made(intent, ID[:8])
    assert [record.is_of(ID) for record in records.on_target()] == [True]
    records.deleted(intent, "absent")
    assert (states(records), records.on_target()) == ([SnapshotState.DELETED], [])


def test_only_what_was_promised_is_kept_at_the_end_of_the_run(records: SnapshotRecords) -> None:
    promised, made, lost = (records.intend(RUN, 7, 30).intent for _ in range(3))
    records.made(promised, ID)
    records.made(made, "f" * 64)
    records.promised(promised)
    records.promised(lost)
    assert states(records) == [SnapshotState.PROMISED, SnapshotState.MADE, SnapshotState.INTENDED]
    records.kept(RUN)
    assert states(records) == [SnapshotState.KEPT, SnapshotState.MADE, SnapshotState.INTENDED]
    assert [record.is_open for record in own(records)] == [False, True, True]


def test_an_intent_that_came_to_nothing_says_so(records: SnapshotRecords) -> None:
    intent = records.intend(RUN, 7, 30).intent
    records.never_made(intent, "refused")
    records.made(intent, ID)
    assert (states(records), records.on_target()) == ([SnapshotState.NEVER_MADE], [])


def test_snapshots_of_other_targets_are_not_mixed_in(tmp_path: Path, records: SnapshotRecords) -> None:
    SnapshotRecords(Ledger(tmp_path / "ledger.db", "there")).intend(RUN, 7, 30)
    assert records.on_target() == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(ID, ID[:8], True), (ID[:8], ID, True), (ID, "f" * 64, False), ("", ID, False), ("", "", False)],
)
def test_ids_may_be_short(one: str, other: str, same: bool) -> None:
    assert same_snapshot(one, other) is same
