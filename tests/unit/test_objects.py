"""The S3 client, as far as it can be tested without a store."""

from __future__ import annotations

import pytest

from rekindle.http import is_loopback
from rekindle.objects import ObjectStore, _region


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
