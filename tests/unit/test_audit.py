"""The audit: what it passes, and the words with which it does not."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rekindle import audit
from rekindle.audit import AuditResult, audit_snapshot
from rekindle.errors import Mismatch, Unknown
from rekindle.kept_manifests import find_manifests, forget_manifest, keep_manifest, read_manifest
from rekindle.manifest import Entry, Manifest, take_manifest
from rekindle.objects import ObjectMissing, StoredObject
from rekindle.wording import number
from rekindle.workspace_files import WorkspacePlan, create_test_files
from tests.unit.folder_store import FolderStore
from tests.unit.local_machine import LocalMachine
from tests.unit.local_restic import PASSWORD, LocalRestic

MACHINE = LocalMachine()


class World:
    """A workspace, its manifest, and its snapshot beside an older one of other files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "workspace"
        self.workspace.mkdir(parents=True)
        create_test_files(MACHINE, str(self.workspace), "old", WorkspacePlan("test", large_bytes=3_000_000))
        self.restic = LocalRestic(folder)
        self.old = self.restic.backup(str(self.workspace), "--pack-size", "4")
        create_test_files(MACHINE, str(self.workspace), "new", WorkspacePlan("test", large_bytes=9_000_000))
        (self.workspace / "zeros").write_bytes(bytes(10_000_000))
        self.manifest = take_manifest(MACHINE, str(self.workspace))
        self.snapshot_id = self.restic.backup(str(self.workspace), "--pack-size", "4")

    def audit(
        self, store: FolderStore | None = None, snapshot_id: str = "", expected: Manifest | None = None
    ) -> AuditResult:
        return audit_snapshot(
            store or FolderStore(self.restic.bucket),
            "restic",
            PASSWORD,
            snapshot_id or self.snapshot_id,
            expected or self.manifest,
            restic_witness=False,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("audit"))


@pytest.fixture
def damaged(world: World, tmp_path: Path) -> Path:
    """A copy of the bucket, to be damaged."""
    shutil.copytree(world.restic.bucket, tmp_path / "bucket", copy_function=os.link)
    return tmp_path / "bucket"


class Recording(FolderStore):
    """Notes what is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.read_keys: list[str] = []

    def stream(self, key: str) -> Iterator[bytes]:
        self.read_keys.append(key)
        yield from super().stream(key)


@pytest.fixture(scope="module")
def data_packs(world: World) -> list[str]:
    """The packs with data that the snapshot needs, by key; the trees lie in others."""
    store = Recording(world.restic.bucket)
    world.audit(store)
    read_once = [key for key in store.read_keys if "/data/" in key and store.read_keys.count(key) == 1]
    assert len(read_once) > 1
    return read_once


def change(path: Path, harm: Callable[[bytes], bytes]) -> None:
    data = harm(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


# What passes


def test_a_whole_snapshot_passes_and_is_counted(world: World) -> None:
    store = Recording(world.restic.bucket)
    result = world.audit(store)
    assert (result.files, result.comparison.checked_bytes) == (world.manifest.files, world.manifest.bytes)
    assert result.snapshot.short_id == world.snapshot_id[:8]
    assert result.objects == len(store.read_keys)
    assert result.bytes == sum((world.restic.bucket / key).stat().st_size for key in store.read_keys)
    assert len(result.stored.packs) == len({key for key in store.read_keys if "/data/" in key})
    assert result.witnesses == (audit.OWN_READER,)
    assert result.not_witnessed == (audit.RESTIC, *result.comparison.not_witnessed)


def test_only_what_the_snapshot_needs_is_read(world: World, data_packs: list[str], tmp_path: Path) -> None:
    (tmp_path / "later").write_bytes(os.urandom(1000))
    world.restic.backup(str(tmp_path))
    store = Recording(world.restic.bucket)
    world.audit(store)
    assert {key for key in store.read_keys if "/data/" in key} >= set(data_packs)
    assert len({key for key in store.read_keys if "/data/" in key}) < len(store.list("restic/data/"))


def test_a_snapshot_from_within_the_workspace_passes(world: World, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    create_test_files(MACHINE, str(inside), "n", WorkspacePlan("test", small_files=1, large_bytes=10))
    manifest = take_manifest(MACHINE, str(inside))
    snapshot_id = world.restic.backup(".", cwd=inside)
    assert world.audit(snapshot_id=snapshot_id, expected=manifest).files == manifest.files


def test_a_prune_in_the_middle_is_no_fault(tmp_path: Path) -> None:
    world = World(tmp_path)

    class Pruned(FolderStore):
        """Another client prunes after the index was read."""

        done = False

        def list(self, prefix: str) -> list[StoredObject]:
            if prefix == "restic/data/" and not self.done:
                self.done = True
                world.restic.run("forget", world.old, "--prune", "--max-unused", "0")
            return super().list(prefix)

    before = set(world.restic.repository.glob("data/*/*"))
    assert world.audit(Pruned(world.restic.bucket)).files == world.manifest.files
    assert not before <= set(world.restic.repository.glob("data/*/*"))


# Objects


def broken(world: World) -> str:
    """A pattern of how each message about a damaged snapshot begins."""
    return (
        rf"^Snapshot {world.snapshot_id[:8]} cannot be restored: [\d ]+ of 1 013 files (are|is) affected "
        r"\(.+\)\."
    )


def test_the_affected_files_are_counted_and_some_are_named(world: World, damaged: Path, data_packs: list[str]) -> None:
    for key in data_packs:
        (damaged / key).unlink()
    with pytest.raises(ObjectMissing) as raised:
        world.audit(FolderStore(damaged))
    message = str(raised.value)
    contents = sum(1 for entry in world.manifest.entries.values() if entry.kind == "file" and entry.size)
    assert message.startswith(
        f"Snapshot {world.snapshot_id[:8]} cannot be restored: {number(contents)} of 1 013 files are affected ("
    )
    assert message.count("is missing.") == min(3, len(data_packs))
    assert raised.value.actual == "no such object"


def test_only_the_files_in_a_damaged_pack_are_affected(world: World, damaged: Path, data_packs: list[str]) -> None:
    change(damaged / data_packs[-1], flipped)
    with pytest.raises(Mismatch) as raised:
        world.audit(FolderStore(damaged))
    affected = int(re.findall(r"restored: ([\d ]+) of", str(raised.value))[0].replace(" ", ""))
    assert 0 < affected < world.manifest.files
    assert raised.value.expected == f"SHA-256 {Path(data_packs[-1]).name}"


def test_a_deleted_pack_is_named(world: World, damaged: Path, data_packs: list[str]) -> None:
    for key in data_packs:
        saved = (damaged / key).rename(damaged / "aside")
        with pytest.raises(ObjectMissing) as raised:
            world.audit(FolderStore(damaged))
        assert re.fullmatch(rf"{broken(world)} Object {key} in bucket folder is missing\.", str(raised.value))
        saved.rename(damaged / key)


def test_a_truncated_pack_is_named(world: World, damaged: Path, data_packs: list[str]) -> None:
    change(damaged / data_packs[-1], lambda data: data[:-5])
    with pytest.raises(Mismatch, match=f"{broken(world)} Object {data_packs[-1]} in bucket folder is 5 bytes short: "):
        world.audit(FolderStore(damaged))


def test_a_flipped_bit_is_named(world: World, damaged: Path, data_packs: list[str]) -> None:
    change(damaged / data_packs[0], flipped)
    with pytest.raises(
        Mismatch,
        match=rf"{broken(world)} Object {data_packs[0]} in bucket folder hashes to [0-9a-f]{{64}}, not to its name\.$",
    ):
        world.audit(FolderStore(damaged))


def test_a_bit_that_flips_after_the_header_is_named(world: World, damaged: Path, data_packs: list[str]) -> None:
    """The last bytes of a pack belong to no blob."""
    change(damaged / data_packs[0], lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Mismatch, match=f"{broken(world)} Object {data_packs[0]} .* not to its name"):
        world.audit(FolderStore(damaged))


def test_a_store_that_sends_less_than_it_lists_is_noticed(world: World, data_packs: list[str]) -> None:
    class Short(FolderStore):
        def stream(self, key: str) -> Iterator[bytes]:
            data = b"".join(super().stream(key))
            yield data[:-1] if key == data_packs[0] else data

    with pytest.raises(Mismatch, match=f"{broken(world)} Object {data_packs[0]} in bucket folder is 1 byte short"):
        world.audit(Short(world.restic.bucket))


def test_an_unknown_snapshot_is_named(world: World) -> None:
    with pytest.raises(
        Mismatch, match=r"^Snapshot 01234567 cannot be restored: it is not in the repository restic in bucket folder"
    ):
        world.audit(snapshot_id="01234567")


# The tree


def test_the_previous_snapshot_does_not_pass(world: World) -> None:
    with pytest.raises(
        Mismatch,
        match=rf"^Snapshot {world.old[:8]} would restore another workspace: it differs from the manifest: "
        r".* changed test-1\.txt \(sha256",
    ):
        world.audit(snapshot_id=world.old)


def with_entry(manifest: Manifest, path: str, **changes: object) -> Manifest:
    """The manifest with one entry changed."""
    entry = manifest.entries[path]._replace(**changes)  # type: ignore[arg-type] # any field
    return Manifest(manifest.root, [*(one for one in manifest.entries.values() if one.path != path), entry])


@pytest.mark.parametrize(
    ("path", "changes", "words"),
    [
        ("test-1.txt", {"sha256": "0" * 64}, r"changed test-1.txt \(sha256 000000000000… expected"),
        ("test-more/large.bin", {"sha256": "0" * 64}, r"changed test-more/large.bin \(sha256 0000"),
        ("zeros", {"size": 1}, r"changed zeros \(size 1 expected, 10000000 seen\)"),
        ("test-more/link", {"link_target": "b"}, r"changed test-more/link \(target b expected, \.\./test-1.txt seen\)"),
        ("test-more/empty.txt", {"mode": 0o611}, r"changed test-more/empty.txt \(mode 0611 expected"),
        ("test-more/empty directory", {"mtime_ns": 0}, r"changed test-more/empty directory \(mtime 1970-"),
        ("zeros", {"uid": 77, "gid": 78}, r"changed zeros \(owner 77:78 expected, \d+:\d+ seen\)"),
        ("", {"mode": 0o700}, r"changed the root itself \(mode 0700 expected, 0755 seen\)"),
    ],
)
def test_what_the_snapshot_holds_otherwise_is_named(
    world: World, path: str, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(
        Mismatch,
        match=f"^Snapshot {world.snapshot_id[:8]} would restore another workspace: it differs from the manifest: "
        f"1 changed of .*{words}",
    ):
        world.audit(expected=with_entry(world.manifest, path, **changes))


def test_what_the_snapshot_lost_is_named(world: World) -> None:
    lost = Entry("lost directory", "directory", 0, 0o755, 0)
    with pytest.raises(Mismatch, match=r"1 missing of .*: missing lost directory"):
        world.audit(expected=Manifest(world.manifest.root, [*world.manifest.entries.values(), lost]))


def test_what_the_snapshot_holds_besides_is_named(world: World) -> None:
    fewer = [entry for entry in world.manifest.entries.values() if entry.path != "zeros"]
    with pytest.raises(Mismatch, match=r"1 extra of .*: extra zeros"):
        world.audit(expected=Manifest(world.manifest.root, fewer))


def test_another_directory_is_refused(world: World) -> None:
    elsewhere = Manifest("/workspace/else", world.manifest.entries.values())
    what = f"Snapshot {world.snapshot_id[:8]} would restore another workspace"
    expected = f"{what}: it does not hold /workspace/else, but {world.workspace}."
    with pytest.raises(Mismatch, match=re.escape(expected)):
        world.audit(expected=elsewhere)


def test_an_empty_workspace_proves_nothing(world: World, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    snapshot_id = world.restic.backup(str(empty))
    with pytest.raises(Unknown, match="nothing was compared"):
        world.audit(snapshot_id=snapshot_id, expected=take_manifest(MACHINE, str(empty)))


# Manifests in the bucket

CONTEXT = {"instance_id": 7, "label": "run-1 maçã", "how": "api"}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


def test_a_kept_manifest_comes_back(world: World, store: FolderStore) -> None:
    kept = keep_manifest(store, "1234abcd", world.manifest, CONTEXT)
    assert re.fullmatch(r"rekindle/manifests/\d{10}-1234abcd\.json", kept.key)
    read = read_manifest(store, kept.key)
    assert (read.snapshot_id, read.context, read.manifest.root) == ("1234abcd", CONTEXT, world.manifest.root)
    assert read.manifest.entries == world.manifest.entries


def test_the_newest_is_found_first(world: World, store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for second, snapshot_id in enumerate(["aaaaaaaa", "cccccccc", "bbbbbbbb"]):
        monkeypatch.setattr("time.time", lambda second=second: 1_700_000_000.9 + second)
        keep_manifest(store, snapshot_id, world.manifest, CONTEXT)
    store.put("rekindle/manifests/notes.txt", b"not ours")
    found = find_manifests(store)
    assert [(kept.snapshot_id, kept.kept_at) for kept in found] == [
        ("bbbbbbbb", 1_700_000_002),
        ("cccccccc", 1_700_000_001),
        ("aaaaaaaa", 1_700_000_000),
    ]
    forget_manifest(store, found[0].key)
    forget_manifest(store, found[0].key)
    assert find_manifests(store) == found[1:]
    with pytest.raises(ObjectMissing, match="is missing"):
        read_manifest(store, found[0].key)


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: data[:-2],
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b'"instance_id": 7', b'"instance_id": 8'),
        lambda data: data.replace(b'"1234abcd"', b'"1234abce"'),
        lambda data: data.replace(b'"mode": "0600"', b'"mode": "0644"'),
        lambda data: data.replace(b'"context"', b'"contents"'),
        lambda data: data.replace(b'"version": 1', b'"version": 3', 1),
        lambda data: b"[]",
        lambda data: b"\xff" + data,
    ],
)
def test_a_kept_manifest_that_was_damaged_is_unknown(
    world: World, store: FolderStore, harm: Callable[[bytes], bytes]
) -> None:
    kept = keep_manifest(store, "1234abcd", world.manifest, CONTEXT)
    change(store.folder / kept.key, harm)
    with pytest.raises(Unknown, match=r"cannot be read|was changed after it was written"):
        read_manifest(store, kept.key)
