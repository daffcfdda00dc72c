"""Hibernations in the bucket: found by one run at a time, forgotten as a whole, set aside when they are of no use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rekindle.kept_hibernations import Hibernation, Maker, SetAside, forget, keep, newest, set_aside, woken_before
from rekindle.kept_manifests import Unreadable, find_manifests
from rekindle.manifest import Entry, Manifest
from tests.unit.folder_store import FolderStore

MANIFEST = Manifest("/workspace", [Entry("a", "file", 1, 0o644, 0, None, "0" * 64, "0" * 32, 0, 0)])


class Leases:
    """Those of one run; `others` are held by another one."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.others: set[str] = set()

    def take(self, name: str, /) -> bool:
        if name in self.others:
            return False
        if name not in self.held:
            self.held.append(name)
        return True

    def give_back(self, name: str, /) -> None:
        if name in self.held:
            self.held.remove(name)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def leases() -> Leases:
    return Leases()


def kept(store: FolderStore, snapshot_id: str, maker: Maker = "steps", at: int = 1) -> Hibernation:
    """A hibernation that an earlier run left; `at` orders them."""
    hibernation = Hibernation(snapshot_id, 7, "rekindle-label", maker, MANIFEST)
    before = set(store.list(""))
    keep(store, Leases(), hibernation)
    (new,) = set(store.list("")) - before
    (store.folder / new.key).rename(store.folder / f"rekindle/manifests/{at}-{snapshot_id}.json")
    return hibernation


def found_id(found: Hibernation | None) -> str | None:
    return found.snapshot_id if found else None


def test_the_newest_of_its_maker_is_found_and_leased(store: FolderStore, leases: Leases) -> None:
    kept(store, "aa", at=1)
    newer = kept(store, "bb", at=2)
    kept(store, "cc", "product", at=3)
    assert found_id(newest(store, leases, "steps")) == newer.snapshot_id
    assert leases.held == ["hibernation-bb"]


def test_none_is_found_in_an_empty_bucket(store: FolderStore, leases: Leases) -> None:
    assert newest(store, leases, "steps") is None


@pytest.mark.parametrize("maker", ["steps", "product"])
def test_one_that_another_run_uses_is_passed_over(store: FolderStore, leases: Leases, maker: Maker) -> None:
    older = kept(store, "aa", maker, at=1)
    kept(store, "bb", maker, at=2)
    leases.others = {"hibernation-bb"}
    passed: list[str] = []
    assert found_id(newest(store, leases, maker, in_use=passed.append)) == older.snapshot_id
    assert passed == ["bb"]


def test_a_kept_hibernation_belongs_to_its_run_from_the_beginning(store: FolderStore, leases: Leases) -> None:
    keep(store, leases, Hibernation("aa", 7, "label", "steps", MANIFEST))
    assert leases.held == ["hibernation-aa"]


def test_one_that_is_forgotten_while_its_lease_is_taken_is_passed_over(store: FolderStore, leases: Leases) -> None:
    kept(store, "aa")
    take = leases.take

    def forgotten_before(name: str, /) -> bool:
        for listed in find_manifests(store):
            store.delete(listed.key)
        return take(name)

    leases.take = forgotten_before  # type: ignore[method-assign]
    assert newest(store, leases, "steps") is None
    assert leases.held == []


def test_one_that_cannot_be_woken_is_set_aside_with_the_reason(store: FolderStore, leases: Leases) -> None:
    usable = kept(store, "aa", at=1)
    kept(store, "bb", at=2)
    aside: list[SetAside] = []
    found = newest(
        store, leases, "steps", lambda one: "It was woken." if one.snapshot_id == "bb" else None, aside=aside.append
    )
    assert found_id(found) == usable.snapshot_id
    assert aside == [SetAside("bb", "rekindle/set-aside/2-bb.json", "It was woken.")]
    assert store.read("rekindle/set-aside/2-bb.json.reason.txt") == b"It was woken.\n"
    assert [listed.snapshot_id for listed in find_manifests(store)] == ["aa"]
    assert leases.held == ["hibernation-aa"]


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"format": "other", "version": 1}', b"\xff\xfe"])
def test_a_damaged_one_is_an_error_once(store: FolderStore, leases: Leases, damage: bytes) -> None:
    usable = kept(store, "aa", at=1)
    kept(store, "bb", at=2)
    store.put("rekindle/manifests/2-bb.json", damage)
    with pytest.raises(
        Unreadable, match=r"^UNKNOWN: rekindle/manifests/2-bb\.json in bucket folder cannot be read: .* It is set"
    ) as raised:
        newest(store, leases, "steps")
    assert str(raised.value).endswith(
        "It is set aside now, as rekindle/set-aside/2-bb.json: the next run makes another one."
    )
    assert leases.held == []
    assert found_id(newest(store, leases, "steps")) == usable.snapshot_id
    assert store.read("rekindle/set-aside/2-bb.json") == damage


def test_a_damaged_one_that_another_run_uses_is_that_runs_to_report(store: FolderStore, leases: Leases) -> None:
    kept(store, "bb")
    store.put("rekindle/manifests/1-bb.json", b"")
    leases.others = {"hibernation-bb"}
    assert newest(store, leases, "steps") is None


def test_setting_aside_what_is_gone_does_nothing(store: FolderStore) -> None:
    assert set_aside(store, "aa", "gone") is None
    assert store.list("") == []


def test_forgetting_removes_everything(store: FolderStore, leases: Leases) -> None:
    hibernation = kept(store, "aa")
    leases.take("hibernation-aa")
    deleted: list[str] = []
    forget(store, leases, hibernation, deleted.append)
    assert deleted == ["aa"]
    assert store.list("") == []
    assert leases.held == []


def test_a_forgetting_that_is_cut_off_leaves_nothing_that_the_next_run_would_wake(
    store: FolderStore, leases: Leases
) -> None:
    hibernation = kept(store, "aa")

    def cut_off(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forget(store, leases, hibernation, cut_off)
    assert newest(store, leases, "steps") is None
    assert (
        store.read("rekindle/set-aside/1-aa.json.reason.txt") == b"It was woken and compared, and is being deleted.\n"
    )


HIBERNATION = Hibernation("aa", 7, "label", "product", MANIFEST)


@pytest.mark.parametrize(
    ("status", "words"),
    [("woken", "woke machine 7 before, as machine 8"), ("waking", "is waking machine 7 already")],
)
def test_a_wake_that_a_killed_run_has_called_is_not_repeated(status: str, words: str) -> None:
    known = {"status": status, "snapshot_id": "aa", "new_instance_id": 8}
    assert woken_before(HIBERNATION, known) == (
        f"Dumont Cloud {words}, for a run that did not come to its end, and wakes it only once."
    )


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"status": "hibernated", "snapshot_id": "aa"},
        {"status": "woken", "snapshot_id": "bb", "new_instance_id": 8},  # an earlier hibernation of the machine
    ],
)
def test_what_was_not_woken_can_be_woken(known: dict[str, Any]) -> None:
    assert woken_before(HIBERNATION, known) is None
