"""How the strategies to fail over compare: what was measured of each, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from rekindle.documents import Json
from rekindle.errors import Mismatch, Unknown
from rekindle.failover import Failover
from rekindle.money import amount
from rekindle.tables import robot_table, table, text_table

HEADING = ("strategy", "data came from", "noticed after, s", "RTO, s", "RPO, s", "files lost", "costs meanwhile, USD/h")


@dataclass(frozen=True)
class Row:
    """What one strategy did, measured by us unless said otherwise.

    Attributes:
        strategy: as it was chosen.
        data_source: where the product says that the data came from; None: nothing came back.
        detecting_sec: how long the product says that it took to notice the loss.
        rto_sec: from the loss until another machine had taken over; None: none has.
        rpo_sec, files_lost: what was written last and is gone; None: nothing came back, or nothing was written.
        protection_usd_per_hour: what it costs beside the machine for as long as nothing happens; None: nobody tells.
    """

    strategy: str
    data_source: str | None
    detecting_sec: float | None
    rto_sec: float | None
    rpo_sec: float | None
    files_lost: int | None
    protection_usd_per_hour: float | None

    @classmethod
    def of(cls, failover: Failover, strategy: str, hourly_usd: float | None) -> Row:
        """That of a failover which was followed to its end.

        Raises:
            Unknown: it has not ended.
            Mismatch: the product went another way than was chosen, or a volume that survives its machine lost work.
        """
        claim, loss = failover.claim, failover.loss
        if claim is None or failover.new is None:
            raise Unknown("Nothing has failed over yet: [Follow Failover] comes first.")
        if claim.data_source != strategy:
            raise Mismatch(f"Strategy {strategy} was chosen, but the data came from {claim.data_source}.")
        if strategy == "regional_volume" and loss and loss.lost:
            raise Mismatch(f"A volume survives its machine, so that nothing may be lost; but {loss}.")
        return cls(
            strategy,
            claim.data_source,
            _rounded(claim.phase_seconds.get("detecting")),
            _rounded(failover.wall_seconds),
            _rounded(loss.seconds if loss else None),
            len(loss.lost) if loss else None,
            _rounded(hourly_usd, 6),
        )

    @classmethod
    def of_none(cls, strategy: str) -> Row:
        """That of a machine which was lost and stayed lost, as was chosen."""
        return cls(strategy, None, None, None, None, None, 0.0)

    def cells(self) -> list[str]:
        """For people; one cell for each column of `HEADING`."""
        nothing, hourly = self.rto_sec is None, self.protection_usd_per_hour
        unknown = "by the byte stored" if self.strategy == "snapshot" else "not told"
        return [
            self.strategy,
            "nowhere" if nothing else self.data_source or "not told",
            _seconds(self.detecting_sec, "never" if nothing else "not told"),
            _seconds(self.rto_sec, "does not come back"),
            _seconds(self.rpo_sec, "everything" if nothing else "not measured"),
            ("all" if nothing else "not measured") if self.files_lost is None else str(self.files_lost),
            unknown if hourly is None else amount(hourly, 4),
        ]


@dataclass
class Comparison:
    """Strategies side by side. A section of a report."""

    rows: list[Row] = field(default_factory=list)

    def document(self) -> Mapping[str, Json]:
        """Keys that are added to the report."""
        return {"strategies": [asdict(row) for row in self.rows]}

    def metrics(self) -> Mapping[str, Json]:
        """None but those of the failovers themselves."""
        return {}

    def headline(self) -> list[str]:
        """Nothing: one line has no room for a table."""
        return []

    def lines(self) -> list[str]:
        """A table for the console."""
        return text_table(HEADING, [row.cells() for row in self.rows])

    def html(self) -> Iterator[str]:
        """The table for log.html."""
        yield table(HEADING, [row.cells() for row in self.rows])

    def metadata(self) -> str:
        """The table as Robot shows it at the top of log.html and report.html."""
        return robot_table(HEADING, [row.cells() for row in self.rows])


def _seconds(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:.2f}"


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
