"""Small HTTP questions to the parts of a cloud, without a client library whose import takes longer than the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit


class Strange(Exception):
    """The part answered, but not with what was asked for."""


def health_trouble(url: str, cloud_id: str) -> str | None:
    """Asks a part for its health. None when it answers and belongs to this cloud, else what is amiss.

    Raises:
        OSError, HTTPException: nothing answers, or nothing that speaks HTTP.
    """
    status, seen_id, body = _get(f"{url}/health", {})
    if status != 200:
        return f"/health answers HTTP {status} {body[:300].decode(errors='replace')}"
    if seen_id != cloud_id:
        return "another program answers on its port" if seen_id is None else "a part of another cloud answers"
    return None


def market_rows(url: str, rows: str, api_key: str) -> Iterator[dict[str, Any]]:
    """All rows of one of the market's paged listings, as the holder of the key sees it.

    Raises:
        Strange: the market refuses, or answers something else.
        OSError, HTTPException: nothing answers.
    """
    token: str | None = None
    while True:
        query = urlencode({"limit": 100} | ({"after_token": token} if token else {}))
        status, _, body = _get(f"{url}?{query}", {"Authorization": f"Bearer {api_key}"})
        if status != 200:
            raise Strange(f"HTTP {status} {body[:200].decode(errors='replace')}")
        try:
            page = json.loads(body)
            yield from page[rows]
            token = page.get("next_token")
        except (ValueError, LookupError, TypeError) as error:
            raise Strange(f"not a listing: {body[:200].decode(errors='replace')}") from error
        if not token:
            return


def _get(url: str, headers: dict[str, str]) -> tuple[int, str | None, bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("X-Sandbox-Id"), answer.read()
    finally:
        connection.close()
