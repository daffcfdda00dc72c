"""How the time until all is well again grows with the number of machines that are lost at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from rekindle.cycles import Failovers, Statistics
from rekindle.documents import Json
from rekindle.tables import robot_table, table, text_table

HEADING = (
    "lost at once", "back", "all back after, s", "seconds a machine", "RTO p50, s", "RTO p95, s", "RTO max, s",
    "RPO p95, s",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """So many machines, lost in the same moment. Seconds, measured by us; None: none came back.

    `all_back_sec`: from the loss of the first one until the last one had been replaced.
    """

    machines: int
    succeeded: int
    all_back_sec: float | None
    rto_p50_sec: float | None
    rto_p95_sec: float | None
    rto_max_sec: float | None
    rpo_p95_sec: float | None

    @classmethod
    def of(cls, failovers: Failovers) -> Row:
        """What came of failovers that have all ended."""
        found = failovers.statistics()
        rto, rpo = found.get("rto"), found.get("rpo")
        over = [one.failover for one in failovers.succeeded if one.failover]
        back = max((one.begun_at + one.wall_seconds for one in over), default=None)
        all_back = None if back is None else back - min(one.begun_at for one in over)
        return cls(
            failovers.wanted, len(failovers.succeeded), _rounded(all_back),
            _of(rto, "p50"), _of(rto, "p95"), _of(rto, "max"), _of(rpo, "p95"),
        )  # fmt: skip

    def cells(self) -> list[str]:
        """For people; one cell for each column of `HEADING`."""
        each = None if self.all_back_sec is None else self.all_back_sec / self.machines
        seconds = (self.all_back_sec, each, self.rto_p50_sec, self.rto_p95_sec, self.rto_max_sec, self.rpo_p95_sec)
        return [
            str(self.machines),
            str(self.succeeded),
            *("none came back" if value is None else f"{value:.2f}" for value in seconds),
        ]


@dataclass
class Growth:
    """The numbers of machines side by side. A section of a report."""

    rows: list[Row] = field(default_factory=list)

    def document(self) -> Mapping[str, Json]:
        """Keys that are added to the report."""
        return {"growth": [asdict(row) for row in self.rows]}

    def metrics(self) -> Mapping[str, Json]:
        """None but those of the failovers themselves."""
        return {}

    def headline(self) -> list[str]:
        """How long it took until all were back."""
        return [f"all back after {row.all_back_sec:.1f} s" for row in self.rows if row.all_back_sec is not None]

    def lines(self) -> list[str]:
        """A table for the console."""
        return text_table(HEADING, [row.cells() for row in self.rows])

    def html(self) -> Iterator[str]:
        """The table for log.html."""
        yield table(HEADING, [row.cells() for row in self.rows])

    def metadata(self) -> str:
        """The table as Robot shows it at the top of log.html and report.html."""
        return robot_table(HEADING, [row.cells() for row in self.rows])


def _of(found: Statistics | None, name: str) -> float | None:
    return None if found is None else _rounded(getattr(found, name))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
