"""Many machines at once: rented, protected, lost in the same moment, and each failover proven."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from robot.api import logger
from robot.api.deco import keyword, library

from HibernationLibrary import HibernationLibrary
from library_parts import failing_over
from library_parts.console import kept_back, tell
from library_parts.crowd import Crowd, Member
from library_parts.returned import converters
from library_parts.side_by_side import publish
from library_parts.telling import GONE_TIMEOUT
from ProvisioningLibrary import ProvisioningLibrary
from rekindle import renting, report
from rekindle.cycles import Failovers
from rekindle.errors import Mismatch, RekindleError
from rekindle.failover import Failover
from rekindle.growth import Growth, Row
from rekindle.variable_checks import check_argument
from StandbyLibrary import StandbyLibrary
from WorkspaceLibrary import WorkspaceLibrary

RENTING = timedelta(seconds=renting.READY_TIMEOUT)
TOGETHER = 60.0  # seconds until all threads must be ready to strike
RENTERS = 4  # each takes the cheapest offer that is left: more of them would only be in each other's way


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Crowd))
class LoadLibrary:
    """Many machines at once: rented, protected, lost in the same moment, and each failover proven.

    The keywords follow each other in this order: [Rent Machines At Once], [Protect Machines At Once],
    [Lose Machines At Once], [Follow Failovers At Once], [Failovers Should Be Proven At Once]. Each does the same as its
    namesake for a single machine, for all of them in threads of their own. What each machine tells is in log.html.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._compared: report.Report | None = None

    @keyword
    def rent_machines_at_once(
        self,
        count: int,
        max_price: float,
        disk_gb: int = 100,
        minutes: float = renting.MINUTES,
        ready_timeout: timedelta = RENTING,
    ) -> Crowd:
        """Rents so many machines, and tells the product to keep them awake.

        Args:
            count: how many.
            max_price: USD/h, each.
            disk_gb: the disk of each, GB.
            minutes: how long each may live at worst; so much money is set aside.
            ready_timeout: how long it may take until each one runs and answers.

        Returns:
            The crowd, with its `members`; see [Crowd].

        Raises:
            AssertionError: one of them could not be rented; names each.
        """
        check_argument("count", "FAILOVERS", count)
        crowd = Crowd([Member(number) for number in range(1, count + 1)])
        self._compared = self._compared or report.Report("failovers_at_once")

        def rent(member: Member) -> None:
            member.machine = ProvisioningLibrary().rent_machine(
                max_price, disk_gb=disk_gb, minutes=minutes, ready_timeout=ready_timeout
            )
            HibernationLibrary().keep_machine_awake(member.machine)

        _each(crowd, "rent", rent, at_once=RENTERS)
        _all_must_be_well(crowd)
        tell(f"Rented: {crowd}")
        report.current().resources["machines"] = count
        return crowd

    @keyword
    def protect_machines_at_once(
        self,
        crowd: Crowd,
        root: str = "/workspace",
        small_files: int = 50,
        large_bytes: int = 100_000,
        standby_timeout: timedelta = timedelta(seconds=300),
        sync_timeout: timedelta = timedelta(seconds=120),
    ) -> None:
        """Fills each workspace with files of its own, gives each machine a CPU standby, and goes on writing.

        Args:
            crowd: the machines.
            root: the workspace.
            small_files: how many small files each gets.
            large_bytes: size of the large file of each.
            standby_timeout: how long it may take until a standby has synced for the first time.
            sync_timeout: how long it may take until a standby has what we wrote.

        Raises:
            AssertionError: one of them could not be protected; names each.
        """

        def protect(member: Member) -> None:
            workspace, standbys = WorkspaceLibrary(), StandbyLibrary()
            workspace.create_test_files(member.rented, root, small_files=small_files, large_bytes=large_bytes)
            standby = standbys.enable_standby(member.rented, standby_timeout)
            standbys.wait_until_standby_is_synced(standby, root, sync_timeout)
            member.manifest = workspace.take_manifest(member.rented, root)
            failing_over.keep_writing(member.rented, root, sync_timeout.total_seconds())

        _each(crowd, "protect", protect)
        _all_must_be_well(crowd)
        tell(f"Protected: {crowd}, each with a CPU standby in step")

    @keyword
    def lose_machines_at_once(self, crowd: Crowd, way: failing_over.Way | None = None) -> None:
        """Takes all machines away in the same moment, from outside the product.

        Args:
            crowd: the machines.
            way: as for *Kill Machine*.
        """
        way = failing_over.way_to_kill(way)
        ready = threading.Barrier(len(crowd.members))
        sections = report.current().sections

        def expect(member: Member) -> None:
            member.failover = failing_over.expect(member.rented)

        def lose(member: Member) -> None:
            ready.wait(TOGETHER)
            failing_over.kill(member.lost, way)

        _each(crowd, "expect", expect)
        sections[:] = [one for one in sections if not isinstance(one, Failover)]  # they will stand in one table
        _all_must_be_well(crowd)
        _each(crowd, "lose", lose)
        begun = [member.lost.begun_at for member in crowd.members]
        tell(f"Lost: {crowd}, within {max(begun) - min(begun):.2f} s")

    @keyword
    def follow_failovers_at_once(self, crowd: Crowd, timeout: timedelta = timedelta(seconds=600)) -> None:
        """Follows each failover until another machine has taken over. One that fails is named at the end.

        Args:
            crowd: whose machines were lost.
            timeout: how long each may take.
        """
        _each(crowd, "failover", lambda one: _ignore(failing_over.follow(one.lost, timeout.total_seconds(), _silent)))
        back = [member for member in crowd.members if not member.error]
        tell(f"Back: {len(back)} of {crowd}")

    @keyword
    def failovers_should_be_proven_at_once(self, crowd: Crowd, timeout: timedelta = GONE_TIMEOUT) -> None:
        """Proves each failover as *Failover Should Be Proven* does, and tells RTO and RPO over all of them.

        Args:
            crowd: whose failovers were followed.
            timeout: how long an old machine may take to vanish, and a standby to follow.

        Raises:
            AssertionError: names each machine whose failover failed or could not be proven, and why.
        """
        _each(crowd, "proof", lambda one: failing_over.prove(one.lost, one.files, timeout.total_seconds()))
        failovers = Failovers(len(crowd.members), [member.cycle() for member in crowd.members], "machine")
        row = Row.of(failovers)
        self._rows.append(row)
        report.current().sections += [failovers, Growth([row])]
        tell(failovers.score())
        failovers.raise_unless_all_succeeded()

    @keyword
    def compare_crowds(self) -> None:
        """Shows in a table how the time grew with the number of machines that were lost at once.

        It stands on the console, at the top of log.html and in `failovers_at_once_report_<epoch>.json`. For suite
        teardowns; says nothing when nothing was lost.
        """
        if self._compared and self._rows:
            publish(self._compared, Growth(sorted(self._rows, key=lambda row: row.machines)), "Lost at once")


def _each(crowd: Crowd, step: str, work: Callable[[Member], None], at_once: int | None = None) -> None:
    """Does something for all that are still well: at once, or for some at a time. Who fails is out, with the reason."""

    def do(member: Member) -> None:
        with kept_back() as lines:
            try:
                work(member)
            except (RekindleError, threading.BrokenBarrierError) as error:
                member.error, member.failed_in = str(error) or "The others did not come so far.", step
        member.lines += lines

    well = [member for member in crowd.members if not member.error]
    if not well:
        return
    with ThreadPoolExecutor(at_once or len(well)) as pool:
        list(pool.map(do, well))
    for member in well:
        title = f"Machine {member.number} of {len(crowd.members)}, {step}: {member.error or 'well'}"
        logger.info("\n".join([title, *(f"   {line}" for line in member.lines)]))
        member.lines.clear()


def _all_must_be_well(crowd: Crowd) -> None:
    failed = [one for one in crowd.members if one.error]
    if failed:
        raise Mismatch(
            "\n".join(
                f"Machine {one.number} of {len(crowd.members)} failed in {one.failed_in}: {one.error}" for one in failed
            )
        )


def _ignore(_: object) -> None:
    """Its result stands in what it was done to."""


def _silent(_: str) -> None:
    """A phase came; the table at the end tells all."""
