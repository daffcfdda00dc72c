"""Clearing the snapshots of a run: ours only, those that come late too, and told truthfully when one stays."""

from __future__ import annotations

from typing import Any

import pytest

from rekindle.errors import Unknown
from rekindle.ledger import Ledger
from rekindle.snapshot_clearing import ClearedSnapshots, clear, of_process
from rekindle.snapshot_records import SnapshotRecords
from tests.unit.fake_cloud import FakeCloud
from tests.unit.test_snapshot_sweeping import FakeBucket

OURS, THEIRS = "1" * 64, "2" * 64
TAG = "rekindle-0311093015-5f2c9a-1-60m"


class Product:
    """Lists what is in the bucket, and snapshots that are being taken until their time has come."""

    def __init__(self) -> None:
        self.bucket = FakeBucket()
        self.cloud = FakeCloud(now=0.0)
        self.rows: dict[str, dict[str, Any]] = {}
        self.trouble = 0
        self.obeys = True
        for id_, tags in ((OURS, [TAG]), (THEIRS, ["instance:5"])):
            self.add(id_, tags)

    def add(self, id_: str, tags: list[str], done_at: float = 0.0) -> None:
        self.rows[id_] = {"id": id_, "short_id": id_[:8], "tags": tags, "instance_id": None, "done_at": done_at}
        self.bucket.held[id_] = (0.0, None)

    def snapshots(self) -> list[dict[str, Any]]:
        if self.trouble:
            self.trouble -= 1
            raise Unknown("the product is away")
        return [
            row if row["done_at"] <= self.cloud.now else row | {"id": None, "short_id": None, "status": "creating"}
            for row in self.rows.values()
        ]

    def delete_snapshot(self, snapshot_id: str, /) -> None:
        if self.obeys:
            del self.rows[snapshot_id]
            del self.bucket.held[snapshot_id]

    def clear(self, *tags: str) -> ClearedSnapshots:
        def ours(row: Any) -> bool:
            return bool({*tags} & {*row["tags"]})

        return clear(self, self.bucket, ours, print, patience=10, clock=self.cloud.clock)


@pytest.fixture
def product() -> Product:
    return Product()


def test_ours_go_with_their_manifests_and_others_stay(product: Product) -> None:
    product.bucket.keep(OURS)
    cleared = product.clear(TAG)
    assert (cleared.deleted, cleared.unsettled, [*product.rows]) == ([OURS], [], [THEIRS])
    assert product.bucket.memory.keys == []


def test_one_that_is_still_being_taken_is_waited_for(product: Product) -> None:
    product.add("3" * 64, [TAG], done_at=3.0)
    assert product.clear(TAG).deleted == [OURS, "3" * 64]


def test_a_product_in_trouble_is_asked_again(product: Product) -> None:
    product.trouble = 5
    assert product.clear(TAG).deleted == [OURS]


def test_a_product_that_is_away_for_good_is_not_taken_for_empty(product: Product) -> None:
    product.trouble = 1000
    assert product.clear(TAG).unsettled == ["UNKNOWN: the product is away"]


def test_one_that_stays_is_named(product: Product) -> None:
    product.obeys = False
    cleared = product.clear(TAG)
    assert cleared.deleted == []
    assert cleared.unsettled == [
        f"Dumont Cloud still lists snapshot {OURS}",
        f"snapshot {OURS} is still in bucket bucket",
    ]


def test_the_snapshots_of_a_process_are_known_by_tag_id_and_machine(tmp_path: Any) -> None:
    records = SnapshotRecords(Ledger(tmp_path / "ledger.db", "here"))
    record = records.intend("0311093015-5f2c9a", 7, 30)
    records.made(record.intent, OURS[:8])
    (made,) = records.on_target()
    ours = of_process([made], {9})
    assert ours({"id": "a" * 64, "tags": [made.tag]})
    assert ours({"id": OURS, "tags": []})
    assert ours({"id": "a" * 64, "tags": ["instance:9"]})
    assert ours({"id": None, "instance_id": 9, "tags": None})
    assert not ours({"id": THEIRS, "tags": ["instance:7"], "instance_id": 7})
    assert not ours({"id": None, "instance_id": None})
