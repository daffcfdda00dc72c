"""One signed request: listing a bucket, which proves that the store runs, knows our keys and has the bucket.

The AWS library can do it too, but takes half a second to import; a start of the whole cloud takes two.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from http.client import HTTPConnection
from urllib.parse import urlsplit

_REGION = "us-east-1"
_NO_BODY = hashlib.sha256(b"").hexdigest()


def bucket_trouble(store_url: str, bucket: str, key_id: str, key: str) -> str | None:
    """Lists the bucket with the key. None when the store allows it, else what it says.

    Raises:
        OSError: nothing answers (yet).
    """
    host = urlsplit(store_url).netloc
    path, query = f"/{bucket}", "list-type=2&max-keys=1"
    connection = HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", f"{path}?{query}", headers=_sign(host, path, query, key_id, key))
        answer = connection.getresponse()
        body = answer.read(300).decode(errors="replace")
    finally:
        connection.close()
    return None if answer.status == 200 else f"bucket {bucket}: HTTP {answer.status} {body}"


def _sign(host: str, path: str, query: str, key_id: str, key: str) -> dict[str, str]:
    """AWS signature version 4 of a GET without a body. The query must be sorted and encoded."""
    time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{time[:8]}/{_REGION}/s3/aws4_request"
    headers = {"host": host, "x-amz-content-sha256": _NO_BODY, "x-amz-date": time}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"GET\n{path}\n{query}\n{lines}\n{names}\n{_NO_BODY}"
    to_sign = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signing_key = f"AWS4{key}".encode()
    for word in scope.split("/"):
        signing_key = hmac.digest(signing_key, word.encode(), "sha256")
    signature = hmac.digest(signing_key, to_sign.encode(), "sha256").hex()
    authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "authorization": authorization}
