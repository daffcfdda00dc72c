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


def market_json(url: str, api_key: str) -> Any:
    """What the market answers to the holder of a key.

    Raises:
        Strange: it refuses, or the answer is no JSON.
        OSError, HTTPException: nothing answers.
    """
    status, _, body = _get(url, {"Authorization": f"Bearer {api_key}"})
    if status != 200:
        raise Strange(f"HTTP {status} {body[:200].decode(errors='replace')}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise Strange(f"no JSON: {body[:200].decode(errors='replace')}") from error


def market_rows(url: str, rows: str, api_key: str) -> Iterator[dict[str, Any]]:
    """All rows of one of the market's paged listings."""
    token: str | None = None
    while True:
        page = market_json(f"{url}?{urlencode({'limit': 25} | ({'after_token': token} if token else {}))}", api_key)
        yield from page[rows]
        token = page.get("next_token")
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
