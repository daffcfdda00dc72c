"""The object store as we see it ourselves, by S3: what a snapshot's evidence is read with.

The user's AWS configuration is not looked at: what counts is what is given here.
"""

from __future__ import annotations

import builtins
import logging
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from rekindle.clocks import ServiceClock
from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown
from rekindle.http import is_loopback

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# Below WARNING they write every signed request, key ids included, and Robot would put that into its log.
for _logger in ("boto3", "botocore"):
    logging.getLogger(_logger).setLevel(logging.WARNING)

CHUNK = 1 << 20
# Between the tries of a read that broke off, seconds. It goes on where it stopped.
PAUSES = (0.5, 1.0, 2.0)
_KEYS_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "Unauthorized", "Forbidden"}
_CLOCKS_DIFFER = "RequestTimeTooSkewed"
_NO_OBJECT = {"NoSuchKey", "404"}
_CONDITION_FAILED = {412, 409}  # 409: another conditional write of the same object was under way
_NO_RULES = "NoSuchLifecycleConfiguration"
_NOT_OFFERED = {400, 405, 501}  # what stores answer to calls of S3 that they do not have
_IGNORED_SETTINGS: dict[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


class ObjectMissing(Mismatch):
    """There is no such object."""


class KeysRefused(Misconfigured):
    """The store does not take our keys, or does so no longer: what lies there is not known."""

    prefix = Unknown.prefix


class ConditionFailed(Mismatch):
    """An object exists, or changed, contrary to the condition of a write. Nothing was written."""


class NotTold(Unknown):
    """The store does not answer this question: not to our keys, or to nobody."""


@dataclass(frozen=True)
class StoredObject:
    """An object as the store lists it. `size` is in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class DatedObject:
    """An object as the store lists it. `age` is in seconds, by the store's own clock."""

    key: str
    etag: str
    age: float


class ObjectStore:
    """One bucket at an S3 endpoint. Thread-safe.

    Args:
        endpoint: its address, with scheme.
        bucket: its name.
        key_id: the id of the application key.
        secret: the application key.

    Every method raises:
        KeysRefused: it does not let us in.
        Misconfigured: there is no such bucket.
        Unknown: the store cannot be reached, or answers with an error.
    """

    def __init__(self, endpoint: str, bucket: str, key_id: str, secret: str) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.bucket = bucket
        self.key_id = key_id
        self.secret = secret
        self._let_in = False
        self._honours_conditions: bool | None = None

    @cached_property
    def _client(self) -> S3Client:
        # Imported late: it takes a fifth of a second, which listing keywords or a dry run need not wait for.
        import boto3  # noqa: PLC0415
        import botocore.session  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        host = urlsplit(self.endpoint).hostname or ""
        loopback = is_loopback(host)
        # A proxy or a private certificate bundle is for the world outside.
        ignored = _IGNORED_SETTINGS | ({"ca_bundle": (None, None, None, None)} if loopback else {})
        session = boto3.session.Session(botocore_session=botocore.session.Session(session_vars=ignored))
        return session.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=_region(host),
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            config=Config(
                proxies={} if loopback else None,
                s3={"addressing_style": "path"},
                retries={"mode": "standard", "total_max_attempts": 4},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=32,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def __repr__(self) -> str:
        return f"ObjectStore({self.bucket} at {self.endpoint})"

    def where(self, key: str) -> str:
        """An object's place in words, for messages."""
        return f"{key} in bucket {self.bucket}" if key else f"bucket {self.bucket}"

    def list(self, prefix: str) -> list[StoredObject]:
        """Every object whose key begins with `prefix`, from all pages, in the order of the keys."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            found = [StoredObject(row["Key"], row["Size"]) for page in pages for row in page.get("Contents", [])]
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, "list", prefix) from None
        self._let_in = True
        return found

    def old_versions(self, prefix: str) -> builtins.list[StoredObject]:
        """What a bucket with versions keeps of objects that were deleted or overwritten. Raises NotTold as well."""
        try:
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix)
            rows = [row for page in pages for row in page.get("Versions", [])]
        except (BotoCoreError, ClientError) as error:
            raise self._untold(error, "old versions of objects", prefix) from None
        return [StoredObject(row["Key"], row["Size"]) for row in rows if not row["IsLatest"]]

    def unfinished_uploads(self, prefix: str) -> builtins.list[str]:
        """The keys of objects of which parts were uploaded, and nothing more since. Raises NotTold as well."""
        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=prefix)
            return [row["Key"] for page in pages for row in page.get("Uploads", [])]
        except (BotoCoreError, ClientError) as error:
            raise self._untold(error, "unfinished uploads", prefix) from None

    def removes_old_versions(self) -> bool:
        """Whether a rule of the bucket removes old versions by itself, some day. Raises NotTold as well."""
        try:
            rules = self._client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and error.response["Error"].get("Code") == _NO_RULES:
                return False
            raise self._untold(error, "the rules of the bucket", "") from None
        return any(rule["Status"] == "Enabled" and "NoncurrentVersionExpiration" in rule for rule in rules)

    def read(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing as well."""
        return b"".join(self.stream(key))

    def stream(self, key: str) -> Iterator[bytes]:
        """The whole object in chunks of at most 1 MiB; goes on where it stopped when the connection breaks.

        Raises ObjectMissing as well.
        """
        position = 0
        unchanged: dict[str, Any] = {}
        pauses = iter(PAUSES)
        while True:
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=key, **unchanged)
                with closing(answer["Body"]) as body:
                    while chunk := body.read(CHUNK):
                        position += len(chunk)
                        yield chunk
            except ClientError as error:
                raise self._explained(error, "read", key) from None
            except BotoCoreError as error:
                pause = next(pauses, None) if position else None
                if pause is None:
                    raise self._explained(error, "read", key) from None
                unchanged = {"Range": f"bytes={position}-", "IfMatch": answer["ETag"]}
                time.sleep(pause)
            else:
                return

    def put(self, key: str, data: bytes) -> None:
        """Writes an object, over what may be there."""
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=data)
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, "write", key) from None

    def dated(self, prefix: str) -> builtins.list[DatedObject]:
        """Return every object whose key begins with `prefix`, with its age.

        The age is the `Date` of the answer minus the object's last change, both by the store's clock.

        Raises:
            Unknown: the store does not date its answers.
        """
        found = []
        try:
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix):
                now = self._date(page["ResponseMetadata"]["HTTPHeaders"].get("date"))
                found += [
                    DatedObject(row["Key"], row["ETag"], (now - row["LastModified"]).total_seconds())
                    for row in page.get("Contents", [])
                ]
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, "list", prefix) from None
        return found

    def put_if(self, key: str, data: bytes, etag: str | None) -> str:
        """Write an object on a condition. Useful only where `honours_conditions` is true.

        Args:
            key: the object.
            data: its content.
            etag: the version that must still be there; None when there must be no such object.

        Returns:
            The ETag of the new version.

        Raises:
            ConditionFailed: the object exists or is another version. After an answer that was lost, it can be the
                object of this very call.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            return self._client.put_object(Bucket=self.bucket, Key=key, Body=data, **condition)["ETag"]
        except (BotoCoreError, ClientError) as error:
            if isinstance(error, ClientError) and _status(error) in _CONDITION_FAILED:
                raise ConditionFailed(f"Object {self.where(key)} was written by another client.") from None
            raise self._explained(error, "write", key) from None

    def honours_conditions(self) -> bool:
        """Return whether the store honours `If-None-Match` at writes. Tried once, with an object of our own.

        Backblaze B2 answers 501. Other stores ignore the header, which is worse: so the store must also refuse.
        """
        if self._honours_conditions is None:
            self._honours_conditions = self._try_conditions(f"rekindle/probe-{secrets.token_hex(8)}")
        return self._honours_conditions

    def _try_conditions(self, key: str) -> bool:
        try:
            self._client.put_object(Bucket=self.bucket, Key=key, Body=b"", IfNoneMatch="*")
        except ClientError as error:
            if _status(error) in _NOT_OFFERED:
                return False
            if _status(error) not in _CONDITION_FAILED:  # a repeated attempt meets the object of the first one
                raise self._explained(error, "write", key) from None
        except BotoCoreError as error:
            raise self._explained(error, "write", key) from None
        try:
            self.put_if(key, b"", None)
        except ConditionFailed:
            return True
        finally:
            self.delete(key)
        return False

    def delete(self, key: str) -> None:
        """Removes an object. One that is not there is fine."""
        try:
            self._client.delete_object(Bucket=self.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, "delete", key) from None

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _date(self, text: str | None) -> datetime:
        try:
            return parsedate_to_datetime(text or "")
        except ValueError:
            raise Unknown(
                f"The object store at {self.endpoint} does not date its answers (Date: {text}), so the age of an "
                "object is unknown."
            ) from None

    def _untold(self, error: BotoCoreError | ClientError, what: str, prefix: str) -> RekindleError:
        explained = self._explained(error, "list", prefix)
        if not isinstance(error, ClientError):
            return explained
        status = _status(error)
        if not isinstance(explained, KeysRefused) and status not in _NOT_OFFERED:
            return explained
        return NotTold(
            f"The object store at {self.endpoint} does not tell {what} "
            f"({status} {error.response['Error'].get('Code', '')})."
        )

    def _explained(self, error: BotoCoreError | ClientError, verb: str, key: str) -> RekindleError:
        if isinstance(error, BotoCoreError):
            return Unknown(
                f"The object store at {self.endpoint} cannot be reached ({type(error).__name__}), so nothing is known "
                f"of {self.where(key)}. Is B2_ENDPOINT right, and is the store running?"
            )
        code = error.response["Error"].get("Code", "")
        status = _status(error)
        if code == _CLOCKS_DIFFER:
            clock = ServiceClock("the object store")
            clock.read(error.response["ResponseMetadata"].get("HTTPHeaders", {}).get("date"))
            return Unknown(
                f"The object store at {self.endpoint} refuses this computer's requests, so nothing is known of "
                f"{self.where(key)}: {clock.disagreement() or 'the clocks differ'}. Set this computer's clock."
            )
        if code in _NO_OBJECT:
            return ObjectMissing(f"Object {self.where(key)} is missing.")
        if code == "NoSuchBucket":
            return Misconfigured(
                f"There is no bucket {self.bucket} at {self.endpoint}: check B2_BUCKET and B2_ENDPOINT."
            )
        if code in _KEYS_REFUSED:
            # Keys that are limited to one bucket are told no more than this of one that does not exist.
            bucket = "B2_BUCKET, " if code == "AccessDenied" else ""
            refused = "no longer takes" if self._let_in else "refused"
            return KeysRefused(
                f"The object store at {self.endpoint} {refused} our keys for bucket {self.bucket} ({code}): check "
                f"{bucket}B2_KEY_ID and B2_APPLICATION_KEY, and that they may {verb} {key}."
            )
        return Unknown(
            f"The object store at {self.endpoint} answered {status} {code} at {verb} {self.where(key)}: "
            f"{error.response['Error'].get('Message', 'no reason given')}"
        )


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _region(host: str) -> str:
    """`s3.us-west-000.backblazeb2.com` names its region; where a host names none, S3's first one is understood."""
    found = re.match(r"s3[.-]([a-z0-9-]+)\.", host)
    return found[1] if found else "us-east-1"
