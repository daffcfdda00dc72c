"""The S3 client, as far as it can be tested without a store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from botocore.stub import Stubber

from rekindle.errors import Unknown
from rekindle.http import is_loopback
from rekindle.objects import ConditionFailed, DatedObject, NotTold, ObjectStore, StoredObject, _region


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


def test_a_store_that_refuses_a_wrong_clock_names_both(
    stubbed: tuple[ObjectStore, Stubber], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stubber = stubbed
    monkeypatch.setattr(time, "time", lambda: 1_800_007_200.0)
    stubber.add_client_error(
        "list_objects_v2", "RequestTimeTooSkewed", http_status_code=403,
        response_meta={"HTTPHeaders": {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}},
    )  # fmt: skip
    with pytest.raises(Unknown) as raised:
        store.list("a/")
    assert str(raised.value) == (
        "UNKNOWN: The object store at http://127.0.0.1:9 refuses this computer's requests, so nothing is known of a/ "
        "in bucket bucket: this computer's clock shows 2027-01-15 10:00:00 UTC, but that of the object store "
        "2027-01-15 08:00:00 UTC. Set this computer's clock."
    )


# Conditional writes


NOW = "Mon, 30 Nov 2026 22:00:10 GMT"


def dated_answer(**answer: object) -> dict[str, object]:
    return answer | {"ResponseMetadata": {"HTTPHeaders": {"date": NOW}}}


def test_the_age_of_an_object_is_told_by_the_store_alone(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    row = {"Key": "a/b", "ETag": '"1"', "LastModified": datetime(2026, 11, 30, 22, 0, 3, tzinfo=UTC)}
    stubber.add_response("list_objects_v2", dated_answer(Contents=[row]), {"Bucket": "bucket", "Prefix": "a/"})
    assert store.dated("a/") == [DatedObject("a/b", '"1"', 7.0)]


def test_a_store_that_does_not_date_its_answers_leaves_ages_unknown(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_response("list_objects_v2", {"ResponseMetadata": {"HTTPHeaders": {}}})
    with pytest.raises(Unknown, match="does not date its answers"):
        store.dated("a/")


def test_a_conditional_write_names_the_version_that_it_replaces(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    asked = {"Bucket": "bucket", "Key": "a", "Body": b"new"}
    stubber.add_response("put_object", {"ETag": '"1"'}, asked | {"IfNoneMatch": "*"})
    stubber.add_response("put_object", {"ETag": '"2"'}, asked | {"IfMatch": '"1"'})
    assert store.put_if("a", b"new", None) == '"1"'
    assert store.put_if("a", b"new", '"1"') == '"2"'


@pytest.mark.parametrize(("code", "status"), [("PreconditionFailed", 412), ("ConditionalRequestConflict", 409)])
def test_a_write_whose_condition_fails_is_told_apart(
    stubbed: tuple[ObjectStore, Stubber], code: str, status: int
) -> None:
    store, stubber = stubbed
    stubber.add_client_error("put_object", code, http_status_code=status)
    with pytest.raises(ConditionFailed, match=r"^Object a in bucket bucket was written by another client\.$"):
        store.put_if("a", b"", None)


def test_a_store_that_refuses_a_second_creation_honours_conditions(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_response("put_object", {"ETag": '"1"'})
    stubber.add_client_error("put_object", "PreconditionFailed", http_status_code=412)
    stubber.add_response("delete_object", {})
    assert store.honours_conditions()
    assert store.honours_conditions()  # not tried again


def test_a_store_that_ignores_conditions_does_not_honour_them(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_response("put_object", {"ETag": '"1"'})
    stubber.add_response("put_object", {"ETag": '"1"'})
    stubber.add_response("delete_object", {})
    assert not store.honours_conditions()


def test_a_store_without_conditional_writes_says_so(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_client_error("put_object", "NotImplemented", http_status_code=501)
    assert not store.honours_conditions()


def test_a_store_in_trouble_is_not_taken_for_one_without_conditions(stubbed: tuple[ObjectStore, Stubber]) -> None:
    store, stubber = stubbed
    stubber.add_client_error("put_object", "InternalError", http_status_code=500)
    with pytest.raises(Unknown, match="500 InternalError"):
        store.honours_conditions()
