"""The S3 client, as far as it can be tested without a store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.stub import Stubber

from rekindle.errors import Unknown
from rekindle.http import is_loopback
from rekindle.objects import NotTold, ObjectStore, StoredObject, _region


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("s3.us-west-000.backblazeb2.com", "us-west-000"),
        ("s3.eu-central-003.backblazeb2.com", "eu-central-003"),
        ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
        ("127.0.0.1", "us-east-1"),
        ("0123456789abcdef.r2.cloudflarestorage.com", "us-east-1"),
    ],
)
def test_the_region_is_taken_from_the_address(host: str, region: str) -> None:
    assert _region(host) == region


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("192.168.0.1", False), ("s3.amazonaws.com", False)],
)
def test_proxies_are_for_the_world_outside(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


def test_credentials_are_not_shown() -> None:
    store = ObjectStore("http://127.0.0.1:9/", "bucket", "key-id", "canary")
    assert repr(store) == "ObjectStore(bucket at http://127.0.0.1:9)"


# What a bucket keeps besides


@pytest.fixture
def stubbed() -> Iterator[tuple[ObjectStore, Stubber]]:
    """A store, and what it will answer."""
    store = ObjectStore("http://127.0.0.1:9/", "bucket", "key-id", "canary")
    with Stubber(store._client) as stubber:
        yield store, stubber


def test_old_versions_are_those_that_are_not_the_latest(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    row = {"Key": "a/b", "Size": 3, "VersionId": "1"}
    rows = [row | {"IsLatest": True}, row | {"IsLatest": False, "Size": 5}]
    stubber.add_response("list_object_versions", {"Versions": rows}, {"Bucket": "bucket", "Prefix": "a/"})
    assert store.old_versions("a/") == [StoredObject("a/b", 5)]


def test_unfinished_uploads_are_named(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_response("list_multipart_uploads", {"Uploads": [{"Key": "a/b", "UploadId": "1"}]})
    assert store.unfinished_uploads("a/") == ["a/b"]


@pytest.mark.parametrize(("code", "status"), [("NotImplemented", 501), ("AccessDenied", 403), ("InvalidRequest", 400)])
def test_a_store_that_does_not_tell_is_no_trouble(stubbed: tuple[ObjectStore, Stubber], code: str, status: int) -> None:
    store, stubber = stubbed
    stubber.add_client_error("list_object_versions", code, http_status_code=status)
    with pytest.raises(NotTold) as raised:
        store.old_versions("")
    assert str(raised.value) == (
        f"UNKNOWN: The object store at http://127.0.0.1:9 does not tell old versions of objects ({status} {code})."
    )


def test_a_store_in_trouble_is_unknown(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_client_error("list_multipart_uploads", "SlowDown", http_status_code=503)
    with pytest.raises(Unknown, match="answered 503 SlowDown") as raised:
        store.unfinished_uploads("a/")
    assert not isinstance(raised.value, NotTold)


@pytest.mark.parametrize(
    ("rule", "removes"),
    [
        ({"Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}, True),
        ({"Status": "Disabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}, False),
        ({"Status": "Enabled", "Expiration": {"Days": 1}}, False),
    ],
)
def test_a_rule_may_remove_old_versions(
    stubbed: tuple[ObjectStore, Stubber], rule: dict[str, object], removes: bool
) -> None:
    store, stubber = stubbed
    stubber.add_response("get_bucket_lifecycle_configuration", {"Rules": [rule]})
    assert store.removes_old_versions() == removes


def test_a_bucket_without_rules_removes_nothing(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_client_error("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", http_status_code=404)
    assert not store.removes_old_versions()
