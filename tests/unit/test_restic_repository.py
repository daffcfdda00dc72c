"""Our own reader of restic repositories, on repositories that the real restic wrote."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from rekindle.errors import Misconfigured, Mismatch
from rekindle.objects import StoredObject
from rekindle.restic_format import nodes_of_tree
from rekindle.restic_repository import ResticRepository, SnapshotDocument, Tree
from tests.unit.folder_store import FolderStore
from tests.unit.local_restic import PASSWORD, LocalRestic

OTHER = PASSWORD[::-1]


class World:
    """A directory with everything that is hard to spell, and a snapshot of it."""

    def __init__(self, folder: Path, *init: str) -> None:
        self.root = folder / "workspace"
        self.root.mkdir(parents=True)
        self._fill()
        self.restic = LocalRestic(folder, *init)
        self.snapshot_id = self.restic.backup(str(self.root), "--tag", "instance:7,hibernate", "--host", "machine")

    def _fill(self) -> None:
        (self.root / "sub" / "deep").mkdir(parents=True)
        (self.root / "empty").touch()
        (self.root / "text").write_text("restic " * 2000)
        (self.root / "noise").write_bytes(os.urandom(5_000_000))
        (self.root / "zeros").write_bytes(bytes(20_000_000))
        (self.root / "link").symlink_to("sub/deep")
        (self.root / "sub" / "text again").write_text("restic " * 2000)
        (self.root / "text").chmod(0o4711)
        (self.root / "sub" / "deep").chmod(0o1775)
        os.mkfifo(self.root / "fifo")
        os.utime(self.root / "noise", ns=(0, -1_500_000_001))
        os.utime(self.root / "link", ns=(0, 1), follow_symlinks=False)
        names = [bytes([byte, 97, byte]) for byte in range(1, 256) if byte != ord("/")]
        names += ["maçã 漢字 \u00a0\u200b\u2028\U0001f600\ufffd".encode(), rb"\x41\n\"'\\", b'a "quoted" name']
        for name in names:
            Path(os.fsdecode(os.fsencode(self.root / "sub" / "deep") + b"/" + name)).write_bytes(name)

    def open(self, bucket: Path | None = None, password: str = PASSWORD) -> ResticRepository:
        return ResticRepository(FolderStore(bucket or self.restic.bucket), "restic", password)

    def read(self, repository: ResticRepository) -> tuple[SnapshotDocument, Tree]:
        snapshot = repository.snapshot(self.snapshot_id)
        repository.read_index()
        return snapshot, repository.tree(snapshot)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("restic"))


@pytest.fixture(scope="module")
def repository(world: World) -> ResticRepository:
    return world.open()


@pytest.fixture
def damaged(world: World, tmp_path: Path) -> Path:
    """A copy of the bucket, to be damaged."""
    shutil.copytree(world.restic.bucket, tmp_path / "bucket")
    for path in (tmp_path / "bucket").rglob("*"):
        path.chmod(0o700)
    return tmp_path / "bucket"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def snapshot_file(bucket: Path, world: World) -> Path:
    return next((bucket / "restic" / "snapshots").glob(f"{world.snapshot_id}*"))


# What is there


def test_knows_the_snapshot(world: World, repository: ResticRepository) -> None:
    snapshot = repository.snapshot(world.snapshot_id)
    assert snapshot.paths == (str(world.root),)
    assert (snapshot.hostname, snapshot.tags) == ("machine", ("instance:7", "hibernate"))
    assert (len(snapshot.id), snapshot.short_id) == (64, snapshot.id[:8])
    assert repository.snapshot(snapshot.short_id) == snapshot
    assert world.restic.run("cat", "snapshot", snapshot.id).count(snapshot.tree) == 1


def test_the_tree_is_the_directory(world: World, repository: ResticRepository) -> None:
    tree_should_be_directory(world, repository)


def test_version_1_is_read_as_well(tmp_path: Path) -> None:
    old = World(tmp_path, "--repository-version", "1")
    tree_should_be_directory(old, old.open())


def tree_should_be_directory(world: World, repository: ResticRepository) -> None:
    """Every entry, and every byte."""
    _, tree = world.read(repository)
    nodes = {f"/{node.path}": node for node in tree.nodes if f"/{node.path}".startswith(str(world.root))}
    paths = [world.root, *world.root.rglob("*")]
    assert set(nodes) == set(map(str, paths))
    opener = repository.opener()
    for path in paths:
        node, status = nodes[str(path)], path.lstat()
        assert node.mtime_ns == status.st_mtime_ns, path
        assert node.mode == stat.S_IMODE(status.st_mode), path
        assert node.link_target == (str(path.readlink()) if path.is_symlink() else None), path
        digest = hashlib.sha256()
        for blob in map(repository.blob, node.content):
            stored = (world.restic.bucket / repository.pack(blob.pack).key).read_bytes()
            digest.update(repository.content(blob, stored[blob.offset : blob.offset + blob.length], opener))
        data = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        assert (node.size, digest.digest()) == (len(data), hashlib.sha256(data).digest()), path
    kinds = [nodes[f"{world.root}/{name}"].kind for name in ("text", "link", "sub", "fifo")]
    assert kinds == ["file", "link", "directory", "fifo"]
    assert {blob for node in tree.nodes for blob in node.content} < set(tree.blobs)
    assert len(tree.blobs) == len(set(tree.blobs))


def test_the_size_of_every_pack_follows_from_the_index(world: World, repository: ResticRepository) -> None:
    repository.read_index()
    in_store = repository.packs_in_store()
    packs = {repository.pack(Path(key).name) for key in in_store}
    assert len(packs) > 1
    assert {pack.key: pack.size for pack in packs} == in_store


def test_a_snapshot_of_the_directory_from_within_has_its_entries_on_top(world: World) -> None:
    snapshot_id = world.restic.backup(".", cwd=world.root)
    repository = world.open()
    repository.read_index()
    tree = repository.tree(repository.snapshot(snapshot_id))
    assert {node.path for node in tree.nodes if "/" not in node.path} == {path.name for path in world.root.iterdir()}


def test_counts_what_it_reads(world: World) -> None:
    repository = world.open()
    key = next((world.restic.repository / "keys").iterdir())
    assert (repository.objects_read, repository.bytes_read) == (1, key.stat().st_size)
    repository.snapshot(world.snapshot_id)
    size = key.stat().st_size + snapshot_file(world.restic.bucket, world).stat().st_size
    assert (repository.objects_read, repository.bytes_read) == (2, size)


def test_notices_that_the_index_was_written_anew(world: World, tmp_path: Path) -> None:
    repository = world.open()
    repository.read_index()
    assert repository.index_is_current()
    (tmp_path / "new").write_bytes(os.urandom(100))
    world.restic.backup(str(tmp_path))
    assert not repository.index_is_current()
    repository.read_index()
    assert repository.index_is_current()


@pytest.mark.parametrize(
    ("spelled", "nanoseconds"),
    [
        ("2026-01-02T03:04:05Z", 1_767_323_045_000_000_000),
        ("2026-01-02T03:04:05.1+01:00", 1_767_319_445_100_000_000),
        ("1969-12-31T23:59:58.499999999Z", -1_500_000_001),
        ("2026-01-02T03:04:05.123456789-02:30", 1_767_332_045_123_456_789),
    ],
)
def test_times_are_understood_in_any_zone(spelled: str, nanoseconds: int) -> None:
    row = {"name": "a", "type": "dir", "mtime": spelled}
    assert nodes_of_tree(json.dumps({"nodes": [row]}).encode(), "")[0].mtime_ns == nanoseconds


def test_a_socket_is_left_out() -> None:
    row = {"name": "a", "type": "socket", "mtime": "2026-01-02T03:04:05Z"}
    assert nodes_of_tree(json.dumps({"nodes": [row]}).encode(), "") == []


# What is not


def test_a_wrong_password_opens_nothing(world: World) -> None:
    with pytest.raises(Misconfigured) as raised:
        world.open(password=OTHER)
    assert str(raised.value) == (
        "The password opens no key of the repository restic in bucket folder (1 key tried): check RESTIC_PASSWORD."
    )


def test_several_passwords_may_open_it(world: World, damaged: Path) -> None:
    new = damaged / "new password"
    new.write_text(OTHER)
    world.restic.run("key", "add", "--new-password-file", str(new), "--repo", str(damaged / "restic"))
    for password in (PASSWORD, OTHER):
        assert world.open(damaged, password).snapshot(world.snapshot_id)


def test_no_repository_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(
        Misconfigured, match=r"^There is no restic repository restic in bucket folder: check RESTIC_REPO"
    ):
        ResticRepository(FolderStore(tmp_path), "restic", PASSWORD)


@pytest.mark.parametrize("snapshot_id", ["0123456789", "", "../keys"])
def test_an_unknown_snapshot_is_said_to_be_unknown(repository: ResticRepository, snapshot_id: str) -> None:
    with pytest.raises(
        Mismatch,
        match=rf"^Snapshot {snapshot_id} cannot be restored: it is not in the repository restic in bucket folder: "
        "it holds",
    ):
        repository.snapshot(snapshot_id)


def test_an_ambiguous_snapshot_is_refused(world: World, damaged: Path) -> None:
    one = snapshot_file(damaged, world)
    shutil.copy(one, one.with_name(one.name[:8] + "0" * 56))
    with pytest.raises(
        Mismatch,
        match=f"Snapshot {one.name[:8]} cannot be restored: it is not in the repository .*: 2 begin with that",
    ):
        world.open(damaged).snapshot(one.name[:8])


@pytest.mark.parametrize("folder", ["keys", "index", "snapshots"])
def test_a_changed_object_is_named(world: World, damaged: Path, folder: str) -> None:
    victim = snapshot_file(damaged, world) if folder == "snapshots" else next((damaged / "restic" / folder).iterdir())
    flip(victim, 40)
    key = re.escape(f"restic/{folder}/{victim.name} in bucket folder")
    consequence = {
        "keys": f"Snapshots cannot be opened by key {victim.name[:8]}: it is damaged.",
        "index": rf"Snapshots cannot be restored whose data are listed in index file {victim.name[:8]}: .*",
        "snapshots": f"Snapshot {victim.name[:8]} cannot be restored: the object that describes it is damaged.",
    }[folder]
    with pytest.raises(Mismatch, match=rf"^{consequence} Object {key} hashes to [0-9a-f]{{64}}, not to its name\.$"):
        world.read(world.open(damaged))


def test_a_forged_object_with_the_right_name_is_not_believed(world: World, damaged: Path) -> None:
    victim = snapshot_file(damaged, world)
    flip(victim, 40)
    forged = victim.rename(victim.with_name(hashlib.sha256(victim.read_bytes()).hexdigest()))
    with pytest.raises(
        Mismatch,
        match=f"^Snapshot {forged.name[:8]} cannot be restored: the object that describes it is damaged. "
        f"Object restic/snapshots/{forged.name} .* was not written with this repository's key",
    ):
        world.open(damaged).snapshot(forged.name)


UNREAD = r"Snapshot \w{8} cannot be restored: its list of files cannot be read\."


def tree_pack(world: World, repository: ResticRepository) -> StoredObject:
    snapshot, _ = world.read(repository)
    return repository.pack(repository.blob(snapshot.tree).pack)


def test_a_lost_tree_pack_is_named(world: World, repository: ResticRepository, damaged: Path) -> None:
    pack = tree_pack(world, repository)
    (damaged / pack.key).unlink()
    with pytest.raises(Mismatch, match=f"^{UNREAD} Object {pack.key} in bucket folder is missing"):
        world.read(world.open(damaged))


def test_a_truncated_tree_pack_is_named(world: World, repository: ResticRepository, damaged: Path) -> None:
    pack = tree_pack(world, repository)
    os.truncate(damaged / pack.key, pack.size - 5)
    with pytest.raises(Mismatch, match=f"^{UNREAD} Object {pack.key} in bucket folder is 5 bytes short"):
        world.read(world.open(damaged))


def test_a_blob_that_no_index_knows_is_named(world: World, damaged: Path) -> None:
    for index in (damaged / "restic" / "index").iterdir():
        index.unlink()
    with pytest.raises(
        Mismatch, match=UNREAD + r" Blob [0-9a-f]{64} is in no index file of the repository restic in bucket folder\.$"
    ):
        world.read(world.open(damaged))
