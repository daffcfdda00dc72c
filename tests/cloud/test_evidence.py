"""The evidence on a real object store: our own S3 client, the audit, restic as a second witness."""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rekindle import audit, objects
from rekindle.audit import AuditResult, audit_snapshot
from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.kept_manifests import find_manifests, forget_manifest, keep_manifest, read_manifest
from rekindle.manifest import Manifest, compare, take_manifest
from rekindle.objects import ObjectMissing, ObjectStore, StoredObject
from rekindle.restic_witness import ResticWitness
from rekindle.workspace_files import WorkspacePlan, create_test_files
from sandbox.state import StateDir
from tests.cloud_under_test import CloudUnderTest
from tests.unit.local_machine import LocalMachine
from tests.unit.local_restic import PASSWORD, LocalRestic

MACHINE = LocalMachine()


@pytest.fixture(scope="module")
def address(cloud: CloudUnderTest) -> dict[str, str]:
    """Where the bucket is, and what opens it, as arguments of ObjectStore."""
    known = cloud.environment
    return {
        "endpoint": known["B2_ENDPOINT"],
        "bucket": known["B2_BUCKET"],
        "key_id": known["B2_KEY_ID"],
        "secret": known["B2_APPLICATION_KEY"],
    }


@pytest.fixture(scope="module")
def store(address: dict[str, str]) -> Iterator[ObjectStore]:
    with contextlib.closing(ObjectStore(**address)) as store:
        yield store


@pytest.fixture
def folder() -> str:
    """A prefix that no other test uses."""
    return f"evidence/{secrets.token_hex(6)}"


# Objects


def test_objects_come_back_as_they_were_put(store: ObjectStore, folder: str) -> None:
    data = {
        f"{folder}/{name}": secrets.token_bytes(size) for name, size in (("a b/ç漢", 0), ("b", 1), ("c+%20", 3_000_000))
    }
    for key, content in data.items():
        store.put(key, content)
    assert store.list(folder) == [StoredObject(key, len(content)) for key, content in sorted(data.items())]
    for key, content in data.items():
        assert store.read(key) == content
        assert max((len(chunk) for chunk in store.stream(key)), default=0) <= objects.CHUNK
        store.delete(key)
        store.delete(key)
    assert store.list(folder) == []


def test_every_page_of_a_listing_is_read_and_threads_share_a_store(store: ObjectStore, folder: str) -> None:
    keys = [f"{folder}/{number:05}" for number in range(1001)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, key.encode()), keys))
        assert [one.key for one in store.list(f"{folder}/")] == keys
        assert list(pool.map(store.read, keys[-50:])) == [key.encode() for key in keys[-50:]]


def test_a_missing_object_is_named(store: ObjectStore, folder: str) -> None:
    with pytest.raises(ObjectMissing, match=rf"^Object {folder}/gone in bucket {store.bucket} is missing\.$"):
        store.read(f"{folder}/gone")


@pytest.mark.parametrize(
    ("wrong", "code"),
    [({"secret": "0" * 32}, "SignatureDoesNotMatch"), ({"key_id": "nobody"}, "InvalidAccessKeyId")],
)
def test_wrong_keys_are_said_to_be_wrong_and_not_shown(
    address: dict[str, str], wrong: dict[str, str], code: str
) -> None:
    stranger = ObjectStore(**address | wrong)
    actions: dict[str, Callable[[], object]] = {
        "list": lambda: stranger.list("some/key"),
        "read": lambda: stranger.read("some/key"),
        "write": lambda: stranger.put("some/key", b""),
        "delete": lambda: stranger.delete("some/key"),
    }
    for verb, act in actions.items():
        with pytest.raises(Misconfigured) as raised:
            act()
        assert str(raised.value) == (
            f"UNKNOWN: The object store at {address['endpoint']} refused our keys for bucket {address['bucket']} "
            f"({code}): check B2_KEY_ID and B2_APPLICATION_KEY, and that they may {verb} some/key."
        )


def test_keys_that_may_not_are_said_to_be_refused(cloud: CloudUnderTest, address: dict[str, str]) -> None:
    with pytest.raises(
        Misconfigured, match=r"refused our keys for bucket .* \(AccessDenied\): .* that they may write a\.$"
    ):
        ObjectStore(**address | {"bucket": cloud.environment["R2_BUCKET"]}).put("a", b"")


def test_a_missing_bucket_is_named(cloud: CloudUnderTest, address: dict[str, str]) -> None:
    """The user's own keys are refused there, so it takes keys that may see every bucket."""
    keys = admin_keys(cloud)
    with pytest.raises(Misconfigured) as raised:
        ObjectStore(**address | keys | {"bucket": "no-such-bucket"}).list("")
    assert str(raised.value) == (
        f"There is no bucket no-such-bucket at {address['endpoint']}: check B2_BUCKET and B2_ENDPOINT."
    )


def admin_keys(cloud: CloudUnderTest) -> dict[str, str]:
    known = StateDir(cloud.state_dir).secrets()
    return {"key_id": known.store_admin_key_id, "secret": known.store_admin_key}


def test_nobody_at_the_address_is_unknown(address: dict[str, str]) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(Unknown) as raised:
        ObjectStore(**address | {"endpoint": endpoint}).list("restic/")
    assert str(raised.value) == (
        f"UNKNOWN: The object store at {endpoint} cannot be reached (EndpointConnectionError), so nothing is known of "
        f"restic/ in bucket {address['bucket']}. Is B2_ENDPOINT right, and is the store running?"
    )


def test_the_environment_of_the_user_does_not_matter(
    address: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("[this is not\n")
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name, value in {
        "AWS_PROFILE": "no-such-profile",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "config"),
        "AWS_CA_BUNDLE": str(tmp_path / "gone"),
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_ACCESS_KEY_ID": "somebody",
        "HTTP_PROXY": nowhere,
        "http_proxy": nowhere,
        "ALL_PROXY": nowhere,
    }.items():
        monkeypatch.setenv(name, value)
    with contextlib.closing(ObjectStore(**address)) as store:
        assert store.list("no such prefix") == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Faltering:
    """A way to the store that breaks off each connection after some bytes of its answer, for a number of times."""

    def __init__(self, endpoint: str, after: int, times: int) -> None:
        self._target = urlsplit(endpoint)
        self._after = after
        self.times_left = times
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection((self._target.hostname, self._target.port)) as server:
            threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
            self._copy(server, client, may_break=True)

    def _copy(self, source: socket.socket, target: socket.socket, *, may_break: bool = False) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if may_break and self.times_left and passed > self._after:
                    self.times_left -= 1
                    break
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("times", [1, 3])
def test_a_read_goes_on_where_the_connection_broke(
    store: ObjectStore, address: dict[str, str], folder: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAUSES", (0.0, 0.0, 0.0))
    data = secrets.token_bytes(8_000_000)
    store.put(f"{folder}/large", data)
    with contextlib.closing(Faltering(address["endpoint"], after=1_500_000, times=times)) as way:
        assert ObjectStore(**address | {"endpoint": way.endpoint}).read(f"{folder}/large") == data
        assert way.times_left == 0


def test_a_connection_that_always_breaks_is_unknown(
    store: ObjectStore, address: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAUSES", (0.0, 0.0, 0.0))
    store.put(f"{folder}/large", secrets.token_bytes(8_000_000))
    with (
        contextlib.closing(Faltering(address["endpoint"], after=1_500_000, times=1000)) as way,
        pytest.raises(Unknown, match=rf"cannot be reached \(.*\), so nothing is known of {folder}/large"),
    ):
        ObjectStore(**address | {"endpoint": way.endpoint}).read(f"{folder}/large")


# Snapshots


@dataclass
class World:
    """A snapshot of a workspace in the bucket, made by the real restic."""

    store: ObjectStore
    prefix: str
    workspace: Path
    manifest: Manifest
    restic: LocalRestic
    snapshot_id: str

    def audit(self, store: ObjectStore | None = None, password: str = PASSWORD, snapshot_id: str = "") -> AuditResult:
        return audit_snapshot(
            store or self.store, self.prefix, password, snapshot_id or self.snapshot_id, self.manifest
        )

    def data_packs(self) -> list[StoredObject]:
        """The packs, the one that was written last at the end; the largest ones hold data."""
        return sorted(self.store.list(f"{self.prefix}/data/"), key=lambda one: one.size)


@pytest.fixture(scope="module")
def world(store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> World:
    home = tmp_path_factory.mktemp("evidence")
    workspace = home / "workspace"
    workspace.mkdir()
    create_test_files(MACHINE, str(workspace), "n1", WorkspacePlan("test", small_files=50, large_bytes=20_000_000))
    credentials = home / "credentials"
    credentials.touch(mode=0o600)
    credentials.write_text(f"[default]\naws_access_key_id={store.key_id}\naws_secret_access_key={store.secret}\n")
    prefix = f"evidence/{secrets.token_hex(6)}/restic"
    restic = LocalRestic(
        home,
        repository=f"s3:{store.endpoint}/{store.bucket}/{prefix}",
        environment={"AWS_SHARED_CREDENTIALS_FILE": str(credentials)},
    )
    manifest = take_manifest(MACHINE, str(workspace))
    return World(store, prefix, workspace, manifest, restic, restic.backup(str(workspace), "--pack-size", "4"))


@contextlib.contextmanager
def replaced(store: ObjectStore, key: str, data: bytes | None) -> Iterator[None]:
    """An object with other content, or none, for a while."""
    whole = store.read(key)
    if data is None:
        store.delete(key)
    else:
        store.put(key, data)
    try:
        yield
    finally:
        store.put(key, whole)


def test_a_whole_snapshot_has_two_witnesses(world: World) -> None:
    result = world.audit()
    assert result.witnesses == (audit.OWN_READER, audit.RESTIC)
    assert result.not_witnessed == result.comparison.not_witnessed
    assert (result.files, result.comparison.checked_bytes) == (world.manifest.files, world.manifest.bytes)
    assert len(result.stored.packs) == len(world.data_packs())
    assert result.bytes > 20_000_000


def test_what_passed_the_audit_restores_to_the_manifest(world: World, tmp_path: Path) -> None:
    world.audit()
    world.restic.restore(world.snapshot_id, tmp_path)
    restored = take_manifest(MACHINE, f"{tmp_path}{world.workspace}")
    compare(world.manifest, restored).raise_unless_equal()


def broken(world: World) -> str:
    """A pattern of how each message about a damaged snapshot begins."""
    return (
        rf"Snapshot {world.snapshot_id[:8]} cannot be restored: (its list of files cannot be read|"
        r"\d+ of \d+ files (are|is) affected \(.*\))\."
    )


def test_a_deleted_object_is_named(world: World) -> None:
    for pack in world.data_packs():
        with replaced(world.store, pack.key, None), pytest.raises(Mismatch) as raised:
            world.audit()
        assert re.fullmatch(
            rf"{broken(world)} Object {pack.key} in bucket {world.store.bucket} is missing\.", str(raised.value)
        )


def test_a_truncated_last_pack_is_named(world: World) -> None:
    pack = world.data_packs()[-1]
    with replaced(world.store, pack.key, world.store.read(pack.key)[:-5]), pytest.raises(Mismatch) as raised:
        world.audit()
    seen, size = (f"{number:,}".replace(",", " ") for number in (pack.size - 5, pack.size))
    assert re.fullmatch(
        rf"{broken(world)} Object {pack.key} in bucket {world.store.bucket} is 5 bytes short: {seen} bytes seen, "
        rf"{size} expected\.",
        str(raised.value),
    )


def test_a_flipped_byte_is_named(world: World) -> None:
    for pack in world.data_packs():
        data = bytearray(world.store.read(pack.key))
        data[pack.size // 3] ^= 0x10
        with replaced(world.store, pack.key, bytes(data)), pytest.raises(Mismatch) as raised:
            world.audit()
        assert re.fullmatch(
            rf"{broken(world)} Object {pack.key} in bucket {world.store.bucket} hashes to [0-9a-f]{{64}}, "
            r"not to its name\.",
            str(raised.value),
        )


def test_a_deleted_snapshot_is_named(world: World) -> None:
    (one,) = world.store.list(f"{world.prefix}/snapshots/")
    with replaced(world.store, one.key, None), pytest.raises(Mismatch) as raised:
        world.audit()
    assert str(raised.value) == (
        f"Snapshot {world.snapshot_id} cannot be restored: it is not in the repository {world.prefix} in bucket "
        f"{world.store.bucket}: it holds 0 snapshots."
    )


def test_a_wrong_password_is_said_to_be_wrong(world: World) -> None:
    with pytest.raises(Misconfigured) as raised:
        world.audit(password="battery staple")  # noqa: S106 - a wrong one
    assert str(raised.value) == (
        f"The password opens no key of the repository {world.prefix} in bucket {world.store.bucket} (1 key tried): "
        "check RESTIC_PASSWORD."
    )


def test_wrong_keys_are_said_to_be_wrong(world: World, address: dict[str, str]) -> None:
    with pytest.raises(
        Misconfigured, match=r"refused our keys for bucket .* \(SignatureDoesNotMatch\): check B2_KEY_ID"
    ):
        world.audit(store=ObjectStore(**address | {"secret": "0" * 32}))


def test_a_store_that_is_down_is_unknown(world: World, address: dict[str, str]) -> None:
    down = ObjectStore(**address | {"endpoint": f"http://127.0.0.1:{free_port()}"})
    with pytest.raises(
        Unknown, match=r"^UNKNOWN: The object store at .* cannot be reached \(EndpointConnectionError\)"
    ):
        world.audit(store=down)


def test_an_audit_without_restic_says_so(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match="apt-get install restic"):
        world.audit()
    result = audit_snapshot(
        world.store, world.prefix, PASSWORD, world.snapshot_id, world.manifest, restic_witness=False
    )
    assert result.not_witnessed == (audit.RESTIC, *result.comparison.not_witnessed)


def seen_by_restic(world: World, password: str = PASSWORD, snapshot_id: str = "") -> str:
    with ResticWitness(world.store, world.prefix, password, snapshot_id or world.snapshot_id) as witness:
        return witness.tree()


def test_restic_and_we_see_the_same_tree(world: World) -> None:
    assert seen_by_restic(world) == world.audit().snapshot.tree


def test_restic_says_what_it_does_not_find(world: World) -> None:
    with pytest.raises((Mismatch, Unknown), match=r"[Ss]napshot 01234567|no matching ID"):
        seen_by_restic(world, snapshot_id="01234567")
    with pytest.raises(Misconfigured, match="check RESTIC_PASSWORD"):
        seen_by_restic(world, password="battery staple")  # noqa: S106 - a wrong one


# Manifests in the bucket


def test_a_manifest_is_kept_and_found_and_forgotten(world: World) -> None:
    kept = keep_manifest(world.store, world.snapshot_id, world.manifest, {"instance_id": 7})
    (found,) = [one for one in find_manifests(world.store) if one.snapshot_id == world.snapshot_id]
    assert found.key == kept.key
    read = read_manifest(world.store, found.key)
    assert (read.manifest.digest(), read.context) == (world.manifest.digest(), {"instance_id": 7})
    with (
        replaced(world.store, kept.key, world.store.read(kept.key)[:-100]),
        pytest.raises(Unknown, match="is cut short or damaged"),
    ):
        read_manifest(world.store, kept.key)
    forget_manifest(world.store, kept.key)
    assert kept.key not in {one.key for one in find_manifests(world.store)}
