"""Ways to fail over: how each is chosen, what it costs before anything happens, and how they compare afterwards."""

from __future__ import annotations

from datetime import timedelta

from robot.api.deco import keyword, library

from library_parts import failing_over
from library_parts.console import tell
from library_parts.returned import converters
from library_parts.side_by_side import publish
from library_parts.standing_by import standby_of
from library_parts.telling import tell_proof, tell_standby_proof, tell_unclaimed
from rekindle import report, target
from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.failover import Failover
from rekindle.http import Refused
from rekindle.market import Volume
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.staying_lost import stay_lost
from rekindle.strategies import Comparison, Row
from rekindle.waiting import wait_until

# A machine that shall stay lost is looked at for so many times as long as the slowest failover here needed to begin.
LONGER = 3


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Failover, RentedMachine))
class StrategyLibrary:
    """Ways to fail over: how each is chosen, what it costs before anything happens, and how they compare afterwards."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._compared: report.Report | None = None
        self._costs: dict[int, float] = {}
        self._volumes: dict[int, int] = {}
        self._warm: dict[int, int] = {}

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
        self._compared = self._compared or report.Report("strategies")
        if strategy != "disabled":
            failing_over.prepare(machine)
        renter, warm = target.current().renter, None
        try:
            if strategy == "warm_pool":
                warm = renter.keep_warm(machine)
            effective = target.current().dumont.failover_strategy(machine.id, strategy)
        except RekindleError as error:
            if warm:
                renter.not_kept(machine, warm)
            raise failing_over.unprepared(machine, error) from None
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

        The CPU cloud tells it of a standby, the market of a warm machine or a volume. Snapshots are stored by the byte,
        at a price that nobody tells.

        Args:
            machine: which one.
            strategy: how it is protected.

        Raises:
            AssertionError: what should protect it is not there (`UNKNOWN:`).
        """
        if strategy == "regional_volume":
            volume = _volume_of(machine)
            self._volumes[machine.id], hourly = volume.id, volume.hourly_usd
        elif strategy == "warm_pool":
            self._warm[machine.id], hourly = _warm_machine_of(machine)
        elif strategy == "cpu_standby":
            hourly = _standby_costs(machine)
        else:
            report.current().not_witnessed.append(f"cost of protection by {strategy}: nobody tells it")
            return
        self._costs[machine.id] = hourly
        report.current().metrics["protection_usd_per_hour"] = round(hourly, 6)
        tell(f"Protection: {strategy}, {dollars(hourly, 4)}/h beside the machine itself")

    @keyword
    def record_strategy(self, failover: Failover, strategy: str) -> None:
        """Adds a proven failover to the comparison, and makes sure that it went the way that was chosen.

        Args:
            failover: that *Failover Should Be Proven* has proven.
            strategy: that was chosen.

        Raises:
            AssertionError: the data came back another way; or another machine took over than the warm one, or without
                the volume; or a volume lost work.
        """
        old, new = failover.old, failover.new
        row = Row.of(failover, strategy, self._costs.get(old.id))
        if new and (warm := self._warm.get(old.id)) is not None:
            if new.id != warm:
                raise Mismatch(f"Machine {warm} was kept warm for {old}, but {new} took over.")
            report.current().add_check("the warm machine took over", "market", machines=1)
        if new and (volume := self._volumes.get(old.id)) is not None:
            if _volume_of(new).id != volume:
                raise Mismatch(f"The workspace was on volume {volume}; the market says that {new} has another.")
            report.current().add_check("the new machine has the volume", "market", volumes=1)
        self._add(row)

    @keyword
    def machine_should_stay_lost(self, loss: Failover, duration: timedelta) -> None:
        """Looks for a while that nothing brings a machine back which shall not fail over.

        The whole time there must be no failover of it, no machine with its label, and no way in. It is looked at for
        longer than the failovers that this run has compared needed to begin.

        Args:
            loss: what *Kill Machine* returned.
            duration: how long, at least.

        Raises:
            AssertionError: something brings it back; that is destroyed then, and the machine itself.
        """
        opened, machine = target.current(), loss.old
        report.current().sections.remove(loss)  # it has no times to tell
        slowest = max((row.detecting_sec or 0.0 for row in self._rows), default=0.0)
        try:
            held = stay_lost(machine, opened.dumont, opened.renter, max(duration.total_seconds(), LONGER * slowest))
        except RekindleError as error:
            # A failover that has only begun ends with the machine that it is of; then nothing can come any more.
            tell_proof(machine, opened.destroyer.destroy_and_prove(machine))
            raise opened.renter.did_not_arrive(loss.expected, error) from None
        nothing = RekindleError("It stayed lost, as was chosen.")
        if (trouble := opened.renter.did_not_arrive(loss.expected, nothing)) is not nothing:
            raise trouble
        tell_unclaimed(opened.renter.unclaimed(loss.expected.before), f"{machine} stayed lost")
        tell(f"Lost: {machine} for {held.seconds:.1f} s, in {held.looks} looks nothing brought it back")
        report.current().add_check("the machine stays lost", "Dumont Cloud, market, machine", looks=held.looks)
        self._add(Row.of_none("disabled"))

    @keyword
    def compare_strategies(self) -> None:
        """Shows all strategies of this run in a table: how fast each is, how much is lost, what it costs.

        It stands on the console, at the top of log.html and in `strategies_report_<epoch>.json`. For suite teardowns;
        says nothing when nothing was compared.
        """
        if self._compared and self._rows:
            publish(self._compared, Comparison(self._rows), "Strategies")

    def _add(self, row: Row) -> None:
        self._rows.append(row)
        report.current().sections.append(Comparison([row]))

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


def _standby_costs(machine: RentedMachine) -> float:
    standby = standby_of(machine)
    if standby is None or standby.hourly_usd is None:
        raise Unknown(f"What the standby of {machine} costs is not known.")
    return standby.hourly_usd


def _warm_machine_of(machine: RentedMachine) -> tuple[int, float]:
    """Its id, and its price in USD an hour."""
    opened = target.current()
    warm = [row for row in opened.dumont.instances() if row.warm_for == machine.id]
    if len(warm) != 1:
        raise Unknown(f"{machine} should have one warm machine; Dumont Cloud lists {len(warm)}.")
    row = opened.market.instance(warm[0].id) if opened.market else warm[0]
    if row is None:
        raise Mismatch(f"Dumont Cloud says that machine {warm[0].id} is kept warm; the market has no such machine.")
    return row.id, row.dph_total
