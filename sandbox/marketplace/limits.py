"""Rate limits: so many requests by one key to one endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Bucket:
    tokens: float
    at: float


class RateLimiter:
    """One token bucket for each pair of key and endpoint. It fills at `per_second` up to `burst`."""

    def __init__(self, per_second: float, burst: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def admits(self, key: str, endpoint: str) -> bool:
        """Takes a token, if there is one."""
        now = self._now()
        bucket = self._buckets.setdefault((key, endpoint), _Bucket(self._burst, now))
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
