"""Signed requests to the store, such as listing a bucket: that proves that it runs, knows our keys and has the bucket.

The AWS library can do it too, but takes half a second to import; a start of the whole cloud takes two.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from http.client import HTTPConnection
from urllib.parse import urlsplit

_REGION = "us-east-1"


def bucket_trouble(store_url: str, bucket: str, key_id: str, key: str) -> str | None:
    """Lists the bucket with the key. None when the store allows it, else what it says.

    Raises:
        OSError: nothing answers (yet).
    """
    status, words = send(store_url, "GET", f"/{bucket}", "list-type=2&max-keys=1", b"", key_id, key)
    return None if status == 200 else f"bucket {bucket}: HTTP {status} {words}"


def send(store_url: str, method: str, path: str, query: str, body: bytes, key_id: str, key: str) -> tuple[int, str]:
    """Sends one request and returns the status and the beginning of the answer.

    Args:
        query: sorted and encoded, each name with its `=`.

    Raises:
        OSError: nothing answers (yet).
    """
    host = urlsplit(store_url).netloc
    connection = HTTPConnection(host, timeout=5)
    try:
        headers = _sign(method, host, path, query, body, key_id, key)
        connection.request(method, f"{path}?{query}", body=body or None, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(300).decode(errors="replace")
    finally:
        connection.close()


def _sign(method: str, host: str, path: str, query: str, body: bytes, key_id: str, key: str) -> dict[str, str]:
    """AWS signature version 4."""
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{_REGION}/s3/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": time}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{digest}"
    to_sign = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing_key = f"AWS4{key}".encode()
    for word in scope.split("/"):
        signing_key = hmac.digest(signing_key, word.encode(), "sha256")
    signature = hmac.digest(signing_key, to_sign.encode(), "sha256").hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": authorization}
