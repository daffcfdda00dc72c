"""Ways to fail over: how each is chosen, what it costs before anything happens, and how they compare afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from robot.api import logger
from robot.api.deco import keyword, library

import failing_over
from console import tell
from ProvisioningLibrary import tell_standby_proof
from rekindle import report, target
from rekindle.errors import Mismatch, Unknown
from rekindle.failover import Failover
from rekindle.http import Refused
from rekindle.market import Volume
from rekindle.rented import RentedMachine
from rekindle.timeline import table
from rekindle.waiting import wait_until
from StandbyLibrary import standby_of

HEADING = ("strategy", "RTO, s", "RPO, s", "files lost", "costs meanwhile, USD/h", "data came from")


@dataclass(frozen=True)
class _Row:
    strategy: str
    rto: float
    rpo: float | None
    lost: int | None
    hourly_usd: float
    source: str | None

    def cells(self) -> list[str]:
        return [
            self.strategy,
            f"{self.rto:.2f}",
            "not measured" if self.rpo is None else f"{self.rpo:.2f}",
            "not measured" if self.lost is None else str(self.lost),
            f"{self.hourly_usd:.4f}",
            self.source or "not told",
        ]


@library(scope="GLOBAL", doc_format="MARKDOWN")
class StrategyLibrary:
    """Ways to fail over: how each is chosen, what it costs before anything happens, and how they compare afterwards."""

    def __init__(self) -> None:
        self._rows: list[_Row] = []
        self._costs: dict[int, float] = {}
        self._volumes: dict[int, int] = {}

    @keyword
    def choose_failover_strategy(self, machine: RentedMachine, strategy: str) -> None:
        """Tells the product how a machine shall fail over.

        From here on a replacement may be rented (a warm pool does so at once): it is in the books.

        Args:
            machine: which one.
            strategy: `cpu_standby`, `snapshot`, `warm_pool`, `regional_volume`, `disabled`, …

        Raises:
            AssertionError: the product does not know it, or says that another one is in effect.
        """
        if strategy != "disabled":
            failing_over.prepare(machine)
        effective = target.current().dumont.failover_strategy(machine.id, strategy)
        if effective != strategy:
            raise Mismatch(f"Strategy {strategy} was chosen for {machine}, but {effective!r} is in effect.")
        report.current().resources["strategy"] = strategy

    @keyword
    def wait_until_ready_to_fail_over(
        self, machine: RentedMachine, source: str, timeout: timedelta = timedelta(seconds=300)
    ) -> None:
        """Waits until the product says that a machine could fail over now, and what its data would come from.

        Args:
            machine: which one.
            source: what they must come from: `cpu_standby`, `snapshot`, `warm_pool`, `regional_volume`.
            timeout: how long it may take.
        """
        dumont = target.current().dumont
        waited = wait_until(
            f"{machine} to be ready to fail over by {source}",
            lambda: dumont.readiness(machine.id),
            lambda seen: seen.get("data_source") == source,
            timeout=timeout.total_seconds(),
        )
        tell(f"Ready: to fail over by {source}, after {waited.seconds:.1f} s")

    @keyword
    def failover_should_be_refused(self, machine: RentedMachine, words: str) -> None:
        """Orders a failover that must be refused, and makes sure that the machine is still there and answers.

        Args:
            machine: which one.
            words: what the refusal must contain.

        Raises:
            AssertionError: it was begun, or refused with other words, or the machine is gone.
        """
        dumont = target.current().dumont
        try:
            failover_id = dumont.fail_over(machine.id)
        except Refused as refused:
            if words not in str(refused):
                raise Mismatch(
                    f"The failover of {machine} is refused, but not because of {words!r}: {refused}"
                ) from None
        else:
            raise Mismatch(f"The failover of {machine} should be refused ({words}); it was begun as {failover_id}.")
        if not machine.machine.answers():
            raise Mismatch(f"The failover of {machine} was refused, but it does not answer any more.")
        machine.seen_alive()
        tell(f"Refused: as it must be ({words}); {machine} still answers")
        report.current().add_check("refused, and nothing was touched", "SSH to the machine", machines=1)

    @keyword
    def record_cost_of_protection(self, machine: RentedMachine, strategy: str) -> None:
        """Reports what it costs that a machine is protected, for as long as nothing happens to it.

        The CPU cloud tells it of a standby, the market of a warm machine or a volume. Snapshots are stored by the byte.

        Args:
            machine: which one.
            strategy: how it is protected.

        Raises:
            AssertionError: what should protect it is not there (`UNKNOWN:`).
        """
        if strategy == "regional_volume":
            volume = _volume_of(machine)
            self._volumes[machine.id], hourly = volume.id, volume.hourly_usd
        else:
            hourly = _cost_of(machine, strategy)
        self._costs[machine.id] = hourly
        report.current().metrics["protection_usd_per_hour"] = round(hourly, 6)
        tell(f"Protection: {strategy}, ${hourly:.4f}/h beside the machine itself")

    @keyword
    def record_strategy(self, failover: Failover, strategy: str) -> None:
        """Adds a proven failover to the comparison, and makes sure that it went the way that was chosen.

        Args:
            failover: that *Failover Should Be Proven* has proven.
            strategy: that was chosen.

        Raises:
            AssertionError: the data came back another way.
        """
        source = failover.claim.data_source if failover.claim else None
        if source not in (None, strategy):
            raise Mismatch(f"Strategy {strategy} was chosen, but the data came from {source}.")
        if (volume := self._volumes.get(failover.old.id)) is not None and failover.new:
            if _volume_of(failover.new).id != volume:
                raise Mismatch(
                    f"The workspace was on volume {volume}; the market says that {failover.new} has another."
                )
            report.current().add_check("the new machine has the volume", "market", volumes=1)
        loss = failover.loss
        self._rows.append(
            _Row(
                strategy,
                failover.wall_seconds,
                loss.seconds if loss else None,
                len(loss.lost) if loss else None,
                self._costs.get(failover.old.id, 0.0),
                source,
            )
        )

    @keyword
    def compare_strategies(self) -> None:
        """Prints a table of all strategies of this run: how fast, how much is lost, what it costs."""
        if not self._rows:
            return
        rows = [row.cells() for row in self._rows]
        logger.info(table(HEADING, rows), html=True)
        widths = [max(len(row[column]) for row in [list(HEADING), *rows]) for column in range(len(HEADING))]
        for row in [list(HEADING), *rows]:
            tell("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())

    @keyword
    def nothing_should_be_left_of(self, failover: Failover, timeout: timedelta = timedelta(seconds=30)) -> None:
        """Makes sure that nothing is left of a machine that failed over and was destroyed afterwards.

        No machine with its label (warm ones, losers of races), no standby, no volume: each of them costs money.

        Args:
            failover: whose new machine was destroyed.
            timeout: how long it may take until nothing is left.
        """
        opened, label = target.current(), failover.old.label
        wait_until(
            f"no machine with the label {label}",
            lambda: [id_ for id_, its in opened.renter.everything().items() if its == label],
            lambda left: not left,
            timeout=timeout.total_seconds(),
        )
        if failover.standby and not failover.standby.gone:
            tell_standby_proof(failover.standby, opened.standbys.prove_gone(failover.standby, timeout.total_seconds()))
        if (volume := self._volumes.get(failover.old.id)) is not None:
            wait_until(
                f"volume {volume} to be gone",
                lambda: [one for one in _market_volumes() if one.id == volume],
                lambda left: not left,
                timeout=timeout.total_seconds(),
            )
        tell(f"Nothing is left of {label}")
        report.current().add_check("nothing is left that costs money", "Dumont Cloud, market", machines=1)


def _market_volumes() -> list[Volume]:
    market = target.current().market
    if market is None:
        raise Unknown("Without VAST_API_KEY nobody can tell which volumes there are.")
    return market.volumes()


def _volume_of(machine: RentedMachine) -> Volume:
    found = [volume for volume in _market_volumes() if volume.instance_id == machine.id]
    if len(found) != 1:
        raise Mismatch(f"The workspace of {machine} should be on a volume; the market says that it has {len(found)}.")
    return found[0]


def _cost_of(machine: RentedMachine, strategy: str) -> float:
    opened = target.current()
    if strategy == "cpu_standby":
        standby = standby_of(machine)
        if standby is None or standby.hourly_usd is None:
            raise Unknown(f"What the standby of {machine} costs is not known.")
        return standby.hourly_usd
    if strategy == "warm_pool":
        warm = [row for row in opened.dumont.instances() if row.warm_for == machine.id]
        if len(warm) != 1:
            raise Unknown(f"{machine} should have one warm machine; Dumont Cloud lists {len(warm)}.")
        row = opened.market.instance(warm[0].id) if opened.market else warm[0]
        if row is None:
            raise Mismatch(f"Dumont Cloud says that machine {warm[0].id} is kept warm; the market has no such machine.")
        return row.dph_total
    return 0.0
