"""How fast snapshots travel: from bytes that lay in the bucket, and our own seconds."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from rekindle.errors import Unknown
from rekindle.restic_repository import Stored


def uploaded(stored: Stored, before: AbstractSet[str]) -> int:
    """Bytes of the packs that a snapshot needs and that were not in the bucket before.

    Raises:
        Unknown: there is none, so that nothing was uploaded whose speed could be told.
    """
    size = sum(size for key, size in stored.packs.items() if key not in before)
    if not size:
        raise Unknown(
            f"The upload has no speed: all {len(stored.packs)} packs that the snapshot needs were in the bucket before."
        )
    return size


def mbps(size: int, seconds: float) -> float:
    """Megabits (10⁶) a second.

    Raises:
        Unknown: no bytes or no time, so that there is no speed.
    """
    if size <= 0 or seconds <= 0:
        raise Unknown(f"{size} bytes in {seconds:g} s have no speed.")
    return size * 8 / seconds / 1e6


def compression_ratio(original: int, stored: Stored) -> float:
    """Bytes of the files for each byte that is stored: above 1 when compression gains something.

    Raises:
        Unknown: one of the two is nothing.
    """
    if not original or not stored.bytes:
        raise Unknown(f"{original} bytes of files stored in {stored.bytes} bytes have no compression ratio.")
    return original / stored.bytes
