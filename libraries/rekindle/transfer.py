"""How fast snapshots travel: from bytes that lay in the bucket, and our own seconds."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

from rekindle.documents import Json
from rekindle.errors import Unknown
from rekindle.report import Report
from rekindle.restic_repository import Stored
from rekindle.tables import table
from rekindle.wording import number


@dataclass(frozen=True)
class Transfer:
    """Bytes that travelled between the bucket and a machine, and the seconds that this took.

    Raises:
        Unknown: no bytes or no time, so that there is no speed.
    """

    direction: Literal["upload", "download"]
    bytes: int
    seconds: float

    def __post_init__(self) -> None:
        if self.bytes <= 0 or self.seconds <= 0:
            raise Unknown(f"The {self.direction} of {self.bytes} bytes in {self.seconds:g} s has no speed.")

    @property
    def mbps(self) -> float:
        """Megabits (10⁶) a second."""
        return self.bytes * 8 / self.seconds / 1e6

    def __str__(self) -> str:
        return f"{self.direction} {self.mbps:.0f} Mbps"


@dataclass
class Transfers:
    """The transfers of one test, as a section of its report."""

    rows: list[Transfer] = field(default_factory=list)

    @classmethod
    def of(cls, report: Report) -> Transfers:
        """Those of a report, where they can be added to."""
        for section in report.sections:
            if isinstance(section, cls):
                return section
        report.sections.append(new := cls())
        return new

    def document(self) -> dict[str, Json]:
        return {}

    def metrics(self) -> dict[str, Json]:
        """`upload_mbps`, `upload_bytes`, `download_mbps`, `download_bytes`."""
        speeds: dict[str, Json] = {f"{row.direction}_mbps": round(row.mbps, 3) for row in self.rows}
        return speeds | {f"{row.direction}_bytes": row.bytes for row in self.rows}

    def headline(self) -> list[str]:
        return [str(row) for row in self.rows]

    def lines(self) -> list[str]:
        return []

    def html(self) -> Iterator[str]:
        """A table."""
        yield table(
            ("transfer", "bytes", "seconds", "Mbps"),
            ((row.direction, number(row.bytes), f"{row.seconds:.2f}", f"{row.mbps:.1f}") for row in self.rows),
        )


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


def compression_ratio(original: int, stored: Stored) -> float:
    """Bytes of the files for each byte that is stored: above 1 when compression gains something.

    Raises:
        Unknown: one of the two is nothing.
    """
    if not original or not stored.bytes:
        raise Unknown(f"{original} bytes of files stored in {stored.bytes} bytes have no compression ratio.")
    return original / stored.bytes
