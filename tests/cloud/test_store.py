"""The object store by itself: real keys, real policies, data that survives, and nothing open to the outside."""

from __future__ import annotations

import asyncio
import math
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import boto3
import psutil
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from mypy_boto3_s3 import S3Client

from sandbox.control import restic
from sandbox.parts import Part, Running, parts_of
from sandbox.ports import PortPicker
from sandbox.state import CloudConfig, Ports, Secrets, StateDir
from sandbox.store import seaweed
from sandbox.store.bucket import StoreRefused, Trouble, set_trouble, trouble

DEADLINE = 30.0


class Store:
    """SeaweedFS as the supervisor starts it, without the rest of the cloud."""

    def __init__(self, root: Path) -> None:
        self.state = StateDir(root)
        self.state.create()
        self.secrets = self.state.secrets()

    def start(self) -> None:
        with PortPicker() as picker:
            ports = Ports(control=picker.pick(), market=picker.pick(), store=picker.pick())
            self.inner = seaweed.InnerPorts.pick(picker, self.state.store)
        self.config = CloudConfig(cloud_id="test", ports=ports)
        command = seaweed.prepare(self.state, self.config, self.secrets, self.inner)
        (self.part,) = (p for p in parts_of(self.state, self.config, self.secrets, command) if p.name == "store")
        self.running = Running(self.part)
        wait_until_ready(self.part, self.running)

    def client(self, key_id: str, key: str, attempts: int = 5) -> S3Client:
        return boto3.client(
            "s3",
            endpoint_url=self.config.store_url,
            region_name="us-east-1",
            aws_access_key_id=key_id,
            aws_secret_access_key=key,
            config=Config(retries={"total_max_attempts": attempts}),
        )

    @property
    def b2(self) -> S3Client:
        return self.client(self.secrets.b2_key_id, self.secrets.b2_application_key)

    @property
    def r2(self) -> S3Client:
        return self.client(self.secrets.r2_access_key, self.secrets.r2_secret_key)

    def processes(self) -> list[psutil.Process]:
        outer = psutil.Process(self.running.process.pid)
        return [outer, *outer.children(recursive=True)]


def wait_until_ready(part: Part, running: Running) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            trouble = part.trouble()
        except (OSError, HTTPException) as error:
            trouble = str(error)
        if trouble is None:
            return
        assert running.death() is None, part.last_words()
        assert time.monotonic() < deadline, f"{trouble}\n{part.last_words()}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    store = Store(tmp_path_factory.mktemp("store"))
    store.start()
    yield store
    store.running.stop()


def refusal(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def test_each_bucket_takes_its_own_key(store: Store) -> None:
    for client, bucket in ((store.b2, store.secrets.b2_bucket), (store.r2, store.secrets.r2_bucket)):
        client.put_object(Bucket=bucket, Key="folder/object", Body=b"some bytes")
        assert client.get_object(Bucket=bucket, Key="folder/object")["Body"].read() == b"some bytes"
        assert [found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["folder/object"]
        client.delete_object(Bucket=bucket, Key="folder/object")
        assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_key_is_worth_nothing_on_the_other_bucket(store: Store) -> None:
    for client, bucket in ((store.b2, store.secrets.r2_bucket), (store.r2, store.secrets.b2_bucket)):
        with pytest.raises(ClientError) as listing:
            client.list_objects_v2(Bucket=bucket)
        with pytest.raises(ClientError) as writing:
            client.put_object(Bucket=bucket, Key="intruder", Body=b"")
        with pytest.raises(ClientError) as reading:
            client.get_object(Bucket=bucket, Key="anything")
        with pytest.raises(ClientError) as deleting:
            client.delete_object(Bucket=bucket, Key="anything")
        assert {refusal(each) for each in (listing, writing, reading, deleting)} == {"AccessDenied"}


def test_the_buckets_keys_cannot_make_or_remove_buckets(store: Store) -> None:
    with pytest.raises(ClientError) as making:
        store.b2.create_bucket(Bucket="another")
    with pytest.raises(ClientError) as removing:
        store.b2.delete_bucket(Bucket=store.secrets.b2_bucket)
    assert {refusal(making), refusal(removing)} == {"AccessDenied"}


def test_the_admin_sees_both_buckets(store: Store) -> None:
    admin = store.client(store.secrets.store_admin_key_id, store.secrets.store_admin_key)
    assert {bucket["Name"] for bucket in admin.list_buckets()["Buckets"]} == {
        store.secrets.b2_bucket,
        store.secrets.r2_bucket,
    }


def test_a_wrong_secret_an_unknown_key_and_nobody_are_refused(store: Store) -> None:
    bucket = store.secrets.b2_bucket
    anonymous = boto3.client(
        "s3",
        endpoint_url=store.config.store_url,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED),
    )
    refused = {
        "SignatureDoesNotMatch": store.client(store.secrets.b2_key_id, "0" * 32),
        "InvalidAccessKeyId": store.client("0" * 24, store.secrets.b2_application_key),
        "AccessDenied": anonymous,
    }
    for code, client in refused.items():
        with pytest.raises(ClientError) as error:
            client.list_objects_v2(Bucket=bucket)
        assert refusal(error) == code


def test_the_bucket_that_plays_r2_honours_conditional_writes(store: Store) -> None:
    bucket = store.secrets.r2_bucket
    tag = store.r2.put_object(Bucket=bucket, Key="once", Body=b"first", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as again:
        store.r2.put_object(Bucket=bucket, Key="once", Body=b"second", IfNoneMatch="*")
    store.r2.put_object(Bucket=bucket, Key="once", Body=b"third", IfMatch=tag)
    with pytest.raises(ClientError) as late:
        store.r2.put_object(Bucket=bucket, Key="once", Body=b"fourth", IfMatch=tag)
    assert {refusal(again), refusal(late)} == {"PreconditionFailed"}
    assert store.r2.get_object(Bucket=bucket, Key="once")["Body"].read() == b"third"
    store.r2.delete_object(Bucket=bucket, Key="once")


@pytest.mark.parametrize("body", [b"", b"small", bytes(3_000_000)], ids=len)
@pytest.mark.parametrize("condition", [{"IfNoneMatch": "*"}, {"IfMatch": '"0"'}])
def test_the_bucket_that_plays_b2_has_no_conditional_writes(
    store: Store, condition: dict[str, str], body: bytes
) -> None:
    """Backblaze B2 answers 501 NotImplemented to them."""
    bucket = store.secrets.b2_bucket
    with pytest.raises(ClientError) as writing:
        store.b2.put_object(Bucket=bucket, Key="once", Body=body, **condition)  # type: ignore[arg-type]
    assert refusal(writing) == "NotImplemented"
    assert writing.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert store.b2.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    tag = store.b2.put_object(Bucket=bucket, Key="once", Body=body)["ETag"]
    assert store.b2.get_object(Bucket=bucket, Key="once", IfMatch=tag)["Body"].read() == body
    store.b2.delete_object(Bucket=bucket, Key="once")


def mended(store: Store) -> None:
    set_trouble(store.state, store.config, store.secrets, None)


@pytest.fixture
def broken(store: Store) -> Iterator[Callable[[Trouble], None]]:
    yield lambda wanted: set_trouble(store.state, store.config, store.secrets, wanted)
    mended(store)


@pytest.mark.parametrize(("wanted", "code"), [("read-only", "AccessDenied"), ("full", "InternalError")])
def test_a_bucket_that_takes_nothing_more(
    store: Store, broken: Callable[[Trouble], None], wanted: Trouble, code: str
) -> None:
    name = store.secrets.b2_bucket
    store.b2.put_object(Bucket=name, Key="kept", Body=b"kept bytes")
    broken(wanted)
    assert trouble(store.state) == wanted
    b2 = store.client(store.secrets.b2_key_id, store.secrets.b2_application_key, attempts=1)
    with pytest.raises(ClientError) as writing:
        b2.put_object(Bucket=name, Key="new", Body=b"new bytes")
    with pytest.raises(ClientError) as large:
        b2.create_multipart_upload(Bucket=name, Key="large")
    assert {refusal(writing), refusal(large)} == {code}
    assert b2.get_object(Bucket=name, Key="kept")["Body"].read() == b"kept bytes"
    assert [found["Key"] for found in b2.list_objects_v2(Bucket=name)["Contents"]] == ["kept"]
    store.r2.put_object(Bucket=store.secrets.r2_bucket, Key="other", Body=b"")
    store.r2.delete_object(Bucket=store.secrets.r2_bucket, Key="other")
    if wanted == "read-only":
        with pytest.raises(ClientError) as deleting:
            b2.delete_object(Bucket=name, Key="kept")
        assert refusal(deleting) == code
    mended(store)
    assert trouble(store.state) is None
    b2.put_object(Bucket=name, Key="new", Body=b"new bytes")
    b2.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "kept"}, {"Key": "new"}]})


def test_there_is_room_for_deleting_in_a_full_bucket(store: Store, broken: Callable[[Trouble], None]) -> None:
    store.b2.put_object(Bucket=store.secrets.b2_bucket, Key="kept", Body=b"kept bytes")
    broken("read-only")
    broken("full")
    store.b2.delete_object(Bucket=store.secrets.b2_bucket, Key="kept")
    assert store.b2.list_objects_v2(Bucket=store.secrets.b2_bucket)["KeyCount"] == 0


def test_no_repository_is_waited_for_where_none_may_be_made(
    store: Store, broken: Callable[[Trouble], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restic, "STORE_WITHIN", math.inf)
    known = restic.Credentials(
        repository=f"s3:{store.config.store_url}/{store.secrets.b2_bucket}/none-yet",
        key_id=store.secrets.b2_key_id,
        key=store.secrets.b2_application_key,
        password="unused",  # noqa: S106 - there is nothing to open
    )
    broken("read-only")
    with pytest.raises(restic.ResticError, match=r"^restic init: .*Access Denied\.$"):
        asyncio.run(asyncio.wait_for(restic.Restic(known, tmp_path / "keys").snapshots(), DEADLINE))


def test_a_store_that_does_not_obey_is_told(store: Store) -> None:
    wrong = store.secrets.model_copy(update={"store_admin_key": "wrong"})
    try:
        with pytest.raises(StoreRefused, match=r"(?s)HTTP 403 to PUT of the bucket's policy: .*SignatureDoesNot"):
            set_trouble(store.state, store.config, wrong, "read-only")
    finally:
        mended(store)


def test_the_readiness_check_tells_why_not(store: Store) -> None:
    wrong = store.secrets.model_copy(update={"r2_secret_key": "wrong"})
    assert "SignatureDoesNotMatch" in str(store_part(store, wrong).trouble())
    missing = store.secrets.model_copy(update={"b2_bucket": "missing"})
    assert "missing" in str(store_part(store, missing).trouble())


def store_part(store: Store, secrets: Secrets) -> Part:
    return parts_of(store.state, store.config, secrets, [])[-1]


def test_the_back_doors_are_closed(store: Store) -> None:
    """The servers behind S3 know no users: without these keys of theirs, anybody on the machine could read all."""
    bucket = store.secrets.b2_bucket
    store.b2.put_object(Bucket=bucket, Key="private", Body=b"secret bytes")
    for method, path in (
        ("GET", f"/buckets/{bucket}/private"),
        ("GET", f"/buckets/{bucket}/"),
        ("PUT", f"/buckets/{bucket}/intruder"),
        ("DELETE", f"/buckets/{bucket}/private"),
    ):
        connection = HTTPConnection("127.0.0.1", store.inner.filer)
        connection.request(method, path, body=b"intruder" if method == "PUT" else None)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        assert answer.status == 401, f"{method} {path}: {answer.status} {body!r}"
        assert b"secret bytes" not in body
    assert store.b2.get_object(Bucket=bucket, Key="private")["Body"].read() == b"secret bytes"
    store.b2.delete_object(Bucket=bucket, Key="private")


def test_it_listens_on_loopback_on_the_chosen_ports_only(store: Store) -> None:
    inner = store.inner
    with_companions = (inner.master, inner.volume, inner.filer, inner.admin)
    chosen = {store.config.ports.store, inner.s3, inner.s3_grpc, *with_companions}
    chosen |= {port + seaweed.GRPC_OFFSET for port in with_companions}
    listening = {
        (connection.laddr.ip, connection.laddr.port)
        for process in store.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port) for port in chosen}


def test_it_talks_to_nobody_outside(store: Store) -> None:
    peers = {
        connection.raddr.ip
        for process in store.processes()
        for connection in process.net_connections(kind="inet")
        if connection.raddr
    }
    assert peers <= {"127.0.0.1"}
    options = (store.state.store / "options").read_text()
    assert re.search(r"^master.telemetry=false$", options, re.MULTILINE)


def test_its_files_and_sockets_stay_in_its_directory_and_are_private(store: Store) -> None:
    inside = set(store.state.store.rglob("*"))
    sockets = {path for path in inside if path.is_socket()}
    assert {path.parent for path in sockets} == {store.state.store / "tmp"}
    for port in (store.inner.master, store.inner.filer, store.inner.volume, store.inner.admin):
        assert not list(Path("/tmp").glob(f"seaweedfs*{port}*.sock"))  # noqa: S108 - that is where it would put them
    for path in ("s3.json", "security.toml", "options"):
        assert stat.S_IMODE((store.state.store / path).stat().st_mode) == 0o600
    secret = store.secrets.store_admin_key.encode()
    open_to_others = [
        path for path in inside if path.is_file() and path.stat().st_mode & 0o077 and secret in path.read_bytes()
    ]
    assert not open_to_others


def test_its_log_holds_no_secret(store: Store) -> None:
    store.b2.list_objects_v2(Bucket=store.secrets.b2_bucket)
    logs = [store.part.log, *(path for path in (store.state.store / "log").rglob("*") if path.is_file())]
    for value in (store.secrets.store_admin_key, store.secrets.b2_application_key, store.secrets.r2_secret_key):
        for log in logs:
            assert value not in log.read_text(errors="replace")


@pytest.mark.parametrize("how", ["outer", "inner", "orderly"])
def test_data_survives_its_end_and_new_ports(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path)
    store.start()
    body = os.urandom(300_000)
    store.b2.put_object(Bucket=store.secrets.b2_bucket, Key="kept", Body=body)
    if how == "orderly":
        store.running.stop()
    else:
        outer, _, inner = store.processes()
        {"outer": outer, "inner": inner}[how].kill()
        store.running.process.wait(DEADLINE)
        inner.wait(DEADLINE)
    ends = {"orderly": "exit code 0", "outer": "killed by SIGKILL", "inner": "exit code 137: killed by SIGKILL"}
    assert store.running.death() == ends[how]
    (store.state.store / "ports.json").unlink()  # so that it gets others
    store.start()
    try:
        assert store.b2.get_object(Bucket=store.secrets.b2_bucket, Key="kept")["Body"].read() == body
    finally:
        store.running.stop()
