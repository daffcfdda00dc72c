"""A folder of a bucket, for the few small objects that no other program writes for us. Its calls block."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class BucketFolder:
    """The objects below `folder` in the bucket of an address like `http://host:port/bucket/folder`, by their names."""

    def __init__(self, address: str, key_id: str, key: str) -> None:
        parts = urlsplit(address)
        self._endpoint = f"{parts.scheme}://{parts.netloc}"
        self._bucket, _, self._folder = parts.path.strip("/").partition("/")
        self._key_id = key_id
        self._key = key

    @cached_property
    def _client(self) -> S3Client:
        # Imported late: it takes a fifth of a second, and most starts of a cloud have no use for it.
        import boto3  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        # What this user has set up for stores in the world outside means nothing here.
        ignored = {"profile": None, "config_file": os.devnull, "credentials_file": os.devnull, "ca_bundle": None}
        session = botocore.session.Session(
            session_vars={name: (None, None, value, None) for name, value in ignored.items()}
        )
        return boto3.session.Session(botocore_session=session).client(
            "s3",
            endpoint_url=self._endpoint,
            region_name="us-east-1",
            aws_access_key_id=self._key_id,
            aws_secret_access_key=self._key,
            # A store that has just started fails now and then, for seconds.
            config=Config(
                s3={"addressing_style": "path"}, proxies={}, connect_timeout=2, read_timeout=5,
                retries={"mode": "standard", "total_max_attempts": 5},
            ),
        )  # fmt: skip

    def names(self) -> list[str]:
        prefix = f"{self._folder}/"
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        return [found["Key"].removeprefix(prefix) for page in pages for found in page.get("Contents", ())]

    def read(self, name: str) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=f"{self._folder}/{name}")["Body"].read()

    def write(self, name: str, data: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=f"{self._folder}/{name}", Body=data)

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=f"{self._folder}/{name}")
