"""A snapshot is deleted when it is listed no more, and nothing of it is left in the bucket."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from library_parts.deleting import delete_left, delete_snapshot
from rekindle import target
from rekindle.errors import Mismatch, Unknown
from rekindle.restic_repository import ResticRepository, Stored
from tests.unit.folder_store import FolderStore
from tests.unit.local_restic import PASSWORD, LocalRestic


class Product:
    """Lists the only snapshot until it is told to delete it, and deletes so much of it."""

    def __init__(self, bucket: Path, snapshot_id: str) -> None:
        self.bucket = bucket
        self.snapshot_id = snapshot_id
        self.forgotten: list[str] = []
        self.still_listed = self.still_there = self.pruned = False

    def delete_snapshot(self, snapshot_id: str) -> None:
        assert snapshot_id == self.snapshot_id
        for object_ in (self.bucket / "restic/snapshots").iterdir() if not self.still_there else ():
            object_.unlink()
        for pack in (self.bucket / "restic/data").rglob("*") if self.pruned else ():
            if pack.is_file():
                pack.unlink()

    def snapshots(self) -> list[dict[str, Any]]:
        return [{"id": self.snapshot_id + "0" * 56, "short_id": self.snapshot_id}] if self.still_listed else []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A bucket with one snapshot, and its id."""
    folder = tmp_path_factory.mktemp("restic")
    restic = LocalRestic(folder)
    (folder / "files").mkdir()
    (folder / "files/own").write_bytes(os.urandom(100_000))
    return restic.bucket, restic.backup(str(folder / "files"))[:8]


@pytest.fixture
def product(built: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Product:
    """An opened target whose only snapshot was audited."""
    bucket, snapshot_id = built
    made = Product(shutil.copytree(bucket, tmp_path / "bucket"), snapshot_id)
    repository = ResticRepository(FolderStore(made.bucket), "restic", PASSWORD)
    repository.read_index()
    opened = SimpleNamespace(
        dumont=made, store=repository.store, repository_prefix="restic", repository_password=PASSWORD,
        snapshots=SimpleNamespace(deleted=made.forgotten.append),
        audited={snapshot_id: repository.stored(repository.tree(repository.snapshot(snapshot_id)).blobs)},
    )  # fmt: skip
    monkeypatch.setattr(target, "current", lambda: opened)
    return made


def test_a_snapshot_that_leaves_nothing_is_deleted(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("library_parts.deleting.tell", told.append)
    product.pruned = True
    delete_snapshot(product.snapshot_id)
    assert product.forgotten == [product.snapshot_id]
    assert [line.partition(" with ")[0] for line in told] == [f"Deleted: snapshot {product.snapshot_id}, 2 packs"]


def test_one_that_is_still_listed_is_not(product: Product) -> None:
    product.still_listed = product.pruned = True
    with pytest.raises(Mismatch, match=r"was deleted, but still lists it\.$"):
        delete_snapshot(product.snapshot_id)


def test_one_that_is_still_in_the_bucket_is_not(product: Product) -> None:
    product.still_there = True
    with pytest.raises(Mismatch, match=r"was deleted, but it is still in the bucket\.$"):
        delete_snapshot(product.snapshot_id)
    assert product.forgotten == []


def test_one_whose_data_is_still_paid_for_is_not(product: Product) -> None:
    with pytest.raises(Mismatch, match=r"was deleted, but 2 packs of the 2 that it needed, .* are paid for"):
        delete_snapshot(product.snapshot_id)


def test_one_that_nobody_has_audited_is_believed_to_be_pruned(product: Product) -> None:
    target.current().audited.clear()
    delete_snapshot(product.snapshot_id)


def test_one_that_takes_another_audited_one_along_is_not_deleted_well(product: Product) -> None:
    (product.bucket / "restic/snapshots" / ("ab" * 32)).write_bytes(b"")
    target.current().audited.clear()
    target.current().audited["abababab"] = Stored({}, 0)
    with pytest.raises(
        Mismatch,
        match=rf"^Snapshot abababab cannot be restored: .*\. With snapshot {product.snapshot_id} went what",
    ):
        delete_snapshot(product.snapshot_id)


def test_those_that_were_deleted_before_are_not_looked_for(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("library_parts.deleting.tell", lambda _: None)
    target.current().audited["abababab"] = Stored({}, 0)
    product.pruned = True
    delete_snapshot(product.snapshot_id)


def test_a_clean_up_names_each_snapshot_that_stays_once(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("library_parts.deleting.tell", told.append)
    product.still_listed = product.pruned = True
    snapshots: Any = target.current().snapshots
    snapshots.left, snapshots.reported = lambda: [product.snapshot_id + "0" * 56], set()
    (failure,) = delete_left()
    assert failure.endswith("was deleted, but still lists it.")
    assert delete_left() == []
    assert told[-1] == f"Clean-up: snapshot {product.snapshot_id} is left, as the error above says"


def test_a_bucket_that_cannot_be_read_at_the_end_is_told(product: Product) -> None:
    def fail() -> list[str]:
        raise Unknown("the store is away")

    snapshots: Any = target.current().snapshots
    snapshots.left = fail
    assert delete_left() == ["Whether this run has left snapshots is not known: UNKNOWN: the store is away"]
