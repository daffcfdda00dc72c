"""The space of deleted snapshots, and how fast snapshots travel."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from rekindle.errors import Mismatch, Unknown
from rekindle.objects import NotTold, ObjectMissing, StoredObject
from rekindle.report import Report
from rekindle.restic_repository import ResticRepository, Stored
from rekindle.space import Freed, freed, others_have_all
from rekindle.transfer import Transfer, Transfers, compression_ratio, uploaded
from rekindle.waiting import Clock
from rekindle.wording import number
from tests.unit.folder_store import FolderStore
from tests.unit.local_restic import PASSWORD, LocalRestic


class World:
    """Two snapshots: of `shared` alone, and of `shared` and `own`."""

    def __init__(self, folder: Path) -> None:
        files = folder / "files"
        files.mkdir()
        self.restic = LocalRestic(folder)
        self.store = FolderStore(self.restic.bucket)
        (files / "shared").write_bytes(os.urandom(3_000_000))
        self.other = self.restic.backup(str(files))
        (files / "own").write_bytes(os.urandom(9_000_000))
        self.before = {one.key for one in self.store.list("restic/data/")}
        self.snapshot = self.restic.backup(str(files), "--pack-size", "4")
        repository = ResticRepository(self.store, "restic", PASSWORD)
        repository.read_index()
        self.stored = repository.stored(repository.tree(repository.snapshot(self.snapshot)).blobs)

    def freed(self) -> Freed:
        return freed(self.store, "restic", PASSWORD, self.snapshot, self.stored)

    def others_have_all(self) -> None:
        others_have_all(self.store, "restic", PASSWORD, self.snapshot, [self.other])

    def needed_by(self, snapshot_id: str) -> dict[str, int]:
        repository = ResticRepository(self.store, "restic", PASSWORD)
        repository.read_index()
        return dict(repository.stored(repository.tree(repository.snapshot(snapshot_id)).blobs).packs)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("restic"))


@pytest.fixture
def world(built: World, tmp_path: Path) -> Iterator[World]:
    """The same one for every test, and afterwards as it was: making it takes seconds."""
    bucket = built.restic.bucket
    shutil.copytree(bucket, tmp_path / "as it was")
    yield built
    shutil.rmtree(bucket)
    shutil.move(tmp_path / "as it was", bucket)


def test_what_a_snapshot_needs(world: World) -> None:
    assert {key: (world.restic.bucket / key).stat().st_size for key in world.stored.packs} == world.stored.packs
    assert 12_000_000 < world.stored.bytes < sum(world.stored.packs.values())


def locked(world: World) -> Path:
    """The lock of another run's restic."""
    lock = world.restic.bucket / "restic" / "locks" / ("0" * 64)
    lock.touch()
    return lock


def after_pauses(pauses: int, end: Callable[[], object], step: float = 0.1) -> Clock:
    """A clock by which another run's work on the repository ends after some pauses; each look at it takes a step."""
    looks, paused = count(), count(1)

    def pause(_: float) -> None:
        if next(paused) == pauses:
            end()

    return Clock(lambda: next(looks) * step, pause)


def test_packs_that_another_run_is_about_to_remove_are_waited_for(world: World) -> None:
    """The other run has deleted the last snapshot that needed them, and has not pruned yet."""
    world.restic.run("forget", world.snapshot)
    lock = locked(world)

    def prune() -> None:
        lock.unlink()
        world.restic.run("prune")

    space = freed(world.store, "restic", PASSWORD, world.snapshot, world.stored, after_pauses(3, prune))
    assert space.packs > 1


def test_a_lock_does_not_excuse_useless_packs_for_ever(world: World) -> None:
    world.restic.run("forget", world.snapshot)
    locked(world)
    clock = after_pauses(1000, lambda: None, step=20.0)
    with pytest.raises(Mismatch, match="Was the repository pruned"):
        freed(world.store, "restic", PASSWORD, world.snapshot, world.stored, clock)


def test_packs_that_another_run_is_moving_are_waited_for(world: World, tmp_path: Path) -> None:
    lock = locked(world)
    moved = world.restic.bucket / next(iter(world.needed_by(world.other)))
    moved.rename(tmp_path / "moved")

    def end() -> None:
        (tmp_path / "moved").rename(moved)
        lock.unlink()

    others_have_all(world.store, "restic", PASSWORD, world.snapshot, [world.other], after_pauses(5, end))


def test_a_pruned_snapshot_frees_what_it_alone_needed(world: World) -> None:
    world.restic.run("forget", "--prune", world.snapshot)
    space = world.freed()
    present = {one.key for one in world.store.list("restic/data/")}
    gone = world.stored.packs.keys() - present
    assert len(gone) > 1
    assert space == Freed(len(gone), sum(world.stored.packs[key] for key in gone), 1)
    assert space.bytes > 9_000_000


def test_a_snapshot_that_is_still_there_is_named(world: World) -> None:
    with pytest.raises(
        Mismatch, match=rf"^Snapshot {world.snapshot} was deleted, but restic/snapshots/{world.snapshot}"
    ):
        world.freed()


def test_packs_that_nobody_needs_are_named_with_their_bytes(world: World) -> None:
    world.restic.run("forget", world.snapshot)
    with pytest.raises(Mismatch) as raised:
        world.freed()
    own = sorted(world.stored.packs.keys() - world.before)
    size = f"{sum(world.stored.packs[key] for key in own):,}".replace(",", " ")
    words = str(raised.value)
    assert words.startswith(
        f"Snapshot {world.snapshot} was deleted, but {len(own)} packs of the {len(world.stored.packs)} that it needed, "
        "and that no other snapshot needs, still lie in bucket folder and are paid for, "
        f"{size} bytes in all: {own[0]} ("
    )
    assert re.search(r"\. Was the repository pruned\?$", words)


def test_one_pack_that_was_left_is_found(world: World) -> None:
    key = min(world.stored.packs.keys() - world.before)
    data = world.store.read(key)
    world.restic.run("forget", "--prune", world.snapshot)
    world.store.put(key, data)
    with pytest.raises(Mismatch, match=rf"1 pack of .* bytes in all: {key} \("):
        world.freed()


def test_a_repository_that_changes_meanwhile_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when another run deletes a snapshot, which prunes the index."""
    world.restic.run("forget", "--prune", world.snapshot)
    vanished = [f"restic/index/{file.name}" for file in (world.restic.bucket / "restic/index").iterdir()][:1] * 2
    honest = world.store.read

    def read(key: str) -> bytes:
        if key in vanished:
            vanished.remove(key)
            raise ObjectMissing(f"Object {key} is missing.")
        return honest(key)

    monkeypatch.setattr(world.store, "read", read)
    assert world.freed().kept == 1
    assert not vanished
    vanished += [f"restic/snapshots/{file.name}" for file in (world.restic.bucket / "restic/snapshots").iterdir()] * 3
    with pytest.raises(ObjectMissing):
        world.freed()


# What the bucket no longer lists


@pytest.fixture
def pruned(world: World) -> World:
    world.restic.run("forget", "--prune", world.snapshot)
    return world


def own_pack(world: World) -> str:
    return min(world.stored.packs.keys() - world.before)


def test_old_versions_that_no_rule_removes_are_named(pruned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = own_pack(pruned)
    monkeypatch.setattr(pruned.store, "old_versions", lambda _: [StoredObject(key, 4321), StoredObject("other", 1)])
    monkeypatch.setattr(pruned.store, "removes_old_versions", lambda: False)
    with pytest.raises(Mismatch) as raised:
        pruned.freed()
    assert str(raised.value) == (
        f"Snapshot {pruned.snapshot} was deleted, but bucket folder keeps 1 old version of the packs that snapshot "
        f"{pruned.snapshot} needed, 4 321 bytes in all, and they are paid for: {key} (4 321 bytes). No rule of the "
        "bucket removes them: set its lifecycle so that only the last version is kept."
    )


def test_old_versions_that_a_rule_removes_are_told(pruned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruned.store, "old_versions", lambda _: [StoredObject(own_pack(pruned), 1)])
    monkeypatch.setattr(pruned.store, "removes_old_versions", lambda: True)
    (words,) = pruned.freed().not_witnessed
    assert words.endswith(f"snapshot {pruned.snapshot} needed, 1 byte in all, until its rule removes them")


def test_a_store_that_hides_its_rules_is_told(pruned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden() -> bool:
        raise NotTold("no")

    monkeypatch.setattr(pruned.store, "old_versions", lambda _: [StoredObject(own_pack(pruned), 1)])
    monkeypatch.setattr(pruned.store, "removes_old_versions", hidden)
    (words,) = pruned.freed().not_witnessed
    assert words.endswith("byte in all; whether a rule removes them, the store does not tell")


def test_an_unfinished_upload_is_named(pruned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = own_pack(pruned)
    monkeypatch.setattr(pruned.store, "unfinished_uploads", lambda _: [key, "other"])
    with pytest.raises(Mismatch, match=rf"but unfinished uploads of 1 pack that it needed .* are paid for: {key}\.$"):
        pruned.freed()


def test_a_store_without_versions_is_told(pruned: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def untold(_: str) -> list[StoredObject]:
        raise NotTold("The object store does not tell old versions of objects (501 NotImplemented).")

    monkeypatch.setattr(pruned.store, "old_versions", untold)
    (words,) = pruned.freed().not_witnessed
    assert words == (
        "what the bucket keeps of deleted snapshots: The object store does not tell old versions of objects "
        "(501 NotImplemented)."
    )


# What others need


def test_a_pruned_snapshot_takes_nothing_that_others_need(world: World) -> None:
    world.restic.run("forget", "--prune", world.snapshot)
    world.others_have_all()


def test_what_others_need_may_lie_in_other_packs_afterwards(world: World, tmp_path: Path) -> None:
    (tmp_path / "stays").write_bytes(os.urandom(100_000))
    (tmp_path / "goes").write_bytes(os.urandom(100_000))
    both = world.restic.backup(str(tmp_path))
    (tmp_path / "goes").unlink()
    one = world.restic.backup(str(tmp_path))
    before = world.needed_by(one)
    world.restic.run("forget", "--prune", "--max-unused", "0", both)
    assert before.keys() & world.needed_by(one).keys() != before.keys()
    others_have_all(world.store, "restic", PASSWORD, both, [one, world.other])


def test_a_pack_that_another_snapshot_needs_is_missed(world: World) -> None:
    world.restic.run("forget", "--prune", world.snapshot)
    needed = world.needed_by(world.other)
    key = max(needed, key=lambda one: needed[one])
    world.store.delete(key)
    with pytest.raises(Mismatch) as raised:
        world.others_have_all()
    assert str(raised.value) == (
        f"Snapshot {world.other} can no longer be restored. With snapshot {world.snapshot} went 1 pack of the "
        f"{len(needed)} that snapshot {world.other} needs, {number(needed[key])} bytes in all: {key}."
    )


def test_a_pack_that_names_the_files_of_another_snapshot_is_missed(world: World) -> None:
    world.restic.run("forget", "--prune", world.snapshot)
    needed = world.needed_by(world.other)
    key = min(needed, key=lambda one: needed[one])
    world.store.delete(key)
    said = (
        rf"^Snapshot {world.other} cannot be restored: its list of files cannot be read\. Object {key} .* is missing\. "
        rf"With snapshot {world.snapshot} went what snapshot {world.other} needs\.$"
    )
    with pytest.raises(Mismatch, match=said):
        world.others_have_all()


def test_another_snapshot_that_went_as_well_is_missed(world: World) -> None:
    world.restic.run("forget", "--prune", world.snapshot, world.other)
    said = (
        rf"^Snapshot {world.other} cannot be restored: it is not in the repository .*: it holds 0 snapshots\. "
        rf"With snapshot {world.snapshot} went what snapshot {world.other} needs\.$"
    )
    with pytest.raises(Mismatch, match=said):
        world.others_have_all()


def test_an_index_that_knows_nothing_of_another_snapshot_is_noticed(world: World) -> None:
    world.restic.run("forget", "--prune", world.snapshot)
    for file in (world.restic.bucket / "restic/index").iterdir():
        file.unlink()
    with pytest.raises(Mismatch, match=rf"^Snapshot {world.other} cannot be restored: .* Blob \w+ is in no index file"):
        world.others_have_all()


def test_without_other_snapshots_nothing_is_read(world: World) -> None:
    others_have_all(world.store, "restic", "not the password", world.snapshot, [])


# Transfers


def test_only_new_packs_were_uploaded(world: World) -> None:
    size = uploaded(world.stored, world.before)
    assert size == sum(size for key, size in world.stored.packs.items() if key not in world.before)
    assert 9_000_000 < size < 9_100_000


def test_an_upload_of_nothing_has_no_speed(world: World) -> None:
    with pytest.raises(Unknown, match=r"no speed: all \d+ packs that the snapshot needs were in the bucket before"):
        uploaded(world.stored, world.stored.packs.keys())


def test_speed_is_in_millions_of_bits_a_second() -> None:
    assert Transfer("upload", 1_000_000, 2.0).mbps == 4.0
    for size, seconds in ((0, 1.0), (1, 0.0)):
        with pytest.raises(Unknown, match=rf"^UNKNOWN: The download of {size} bytes in {seconds:g} s has no speed\.$"):
            Transfer("download", size, seconds)


def test_a_report_shows_its_transfers() -> None:
    report = Report("test")
    Transfers.of(report).rows.append(Transfer("upload", 1_000_000, 2.0))
    Transfers.of(report).rows.append(Transfer("download", 3_000_000, 1.0))
    document = report.document(passed=True, error=None)
    assert document["metrics"] == {
        "upload_mbps": 4.0,
        "download_mbps": 24.0,
        "upload_bytes": 1_000_000,
        "download_bytes": 3_000_000,
    }
    assert "upload 4 Mbps, download 24 Mbps" in report.headline()
    (section,) = report.sections
    assert ">24.0<" in "".join(section.html())


def test_a_ratio_above_one_means_that_bytes_were_saved() -> None:
    assert compression_ratio(300, Stored({}, 200)) == 1.5
    for original, stored in ((0, 1), (1, 0)):
        with pytest.raises(Unknown, match="have no compression ratio"):
            compression_ratio(original, Stored({}, stored))
