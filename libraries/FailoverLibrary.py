"""Lets the product fail over, follows it and proves it; runs failovers in a row, and says how often they succeed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from robot.api.deco import keyword, library
from robot.errors import ExecutionFailed
from robot.libraries.BuiltIn import BuiltIn

from library_parts import failing_over
from library_parts.console import tell
from library_parts.returned import converters
from library_parts.telling import tell_proof, tell_rented
from rekindle import report, target
from rekindle.cycles import AfterFailure, Cycle, Failovers, compared, phases_of
from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown
from rekindle.failover import Failover
from rekindle.manifest import Manifest
from rekindle.rented import RentedMachine
from rekindle.variable_checks import check_argument
from rekindle.wording import counted


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Failover, Manifest, RentedMachine))
class FailoverLibrary:
    """Lets the product fail over, follows it and proves it; runs failovers in a row.

    The product's own failover begins with [Fail Over] (by its API), [Kill Machine] (from outside, nobody asks) or
    [Expect Failover] (something else is about to begin it, such as a click). [Follow Failover] tells its phases as they
    come and returns the machine that took over; [Failover Should Be Proven] believes none of it.

    ```robotframework
    *** Test Cases ***
    Work Survives A Lost Machine
        ${machine} =    Rent Machine    max_price=0.5    disk_gb=20
        Create Test Files    ${machine}    /workspace
        ${standby} =    Enable Standby    ${machine}
        Wait Until Standby Is Synced    ${standby}    /workspace
        ${manifest} =    Take Manifest    ${machine}    /workspace
        Keep Writing Files    ${machine}    /workspace
        ${failover} =    Kill Machine    ${machine}
        ${new} =    Follow Failover    ${failover}
        Failover Should Be Proven    ${failover}    ${manifest}
        Log    RTO ${failover.wall_seconds} s, RPO ${failover.loss.seconds} s
        Destroy Machine    ${new}
    ```

    A failover in a row is a keyword of yours: it moves the work from one machine to another. Its steps (`GROUP`) are
    the phases that are timed. See [Repeat Failover].
    """

    @keyword
    def keep_writing_files(
        self, machine: RentedMachine, root: str, timeout: timedelta = timedelta(seconds=120)
    ) -> None:
        """Writes small files one after the other until the machine is lost.

        It returns at once, or, when this run has made a standby for the machine, when the first of them is there. What
        of them survives a failover tells how much work it loses (the RPO), by our own clock.

        Args:
            machine: where.
            root: an existing directory that is protected.
            timeout: how long it may take until the first one is on the standby.
        """
        failing_over.keep_writing(machine, root, timeout.total_seconds())

    @keyword
    def expect_failover(self, machine: RentedMachine) -> Failover:
        """Makes ready for a failover that something else is about to begin, such as a click on the page.

        From here on the time counts, and the machine that will come is in the books.

        Args:
            machine: that will be lost.

        Returns:
            The failover, for [Follow Failover] and [Failover Should Be Proven].
        """
        failover = failing_over.expect(machine)
        failing_over.remember_earlier(failover)
        failover.begin(target.current().market_clock)
        return failover

    @keyword
    def fail_over(self, machine: RentedMachine) -> Failover:
        """Has the product fail over, by its API. It ends the machine for real.

        Args:
            machine: that will be lost.

        Returns:
            The failover, for [Follow Failover] and [Failover Should Be Proven].

        Raises:
            AssertionError: the product refuses; in its own words. Nothing has happened then.
        """
        failover = failing_over.expect(machine)
        failover.begin(target.current().market_clock)
        try:
            failover.id = target.current().dumont.fail_over(machine.id)
        except RekindleError as error:
            raise target.current().renter.did_not_arrive(failover.expected, error) from None
        tell(f"Failover: {failover.id}, ordered by API")
        return failover

    @keyword
    def kill_machine(self, machine: RentedMachine, way: failing_over.Way | None = None) -> Failover:
        """Takes a machine away from outside the product, which has to notice it by itself.

        Args:
            machine: that will be lost.
            way: `preempt`, as the market does when somebody else pays more (embedded cloud only; the default there),
                or `destroy`, at the market with the user's own key (the default on live).

        Returns:
            The failover, for [Follow Failover] and [Failover Should Be Proven].
        """
        way = failing_over.way_to_kill(way)
        failover = failing_over.expect(machine)
        failing_over.kill(failover, way)
        return failover

    @keyword
    def migrate_machine(
        self, machine: RentedMachine, gpu_name: str, max_price: float, timeout: timedelta = timedelta(seconds=600)
    ) -> Failover:
        """Has the product move a machine to another GPU model, and follows it until that has taken over.

        Args:
            machine: that will be replaced.
            gpu_name: the model, as the market names it.
            max_price: the dearest that may be rented, USD/h.
            timeout: how long all of it may take.

        Returns:
            The migration; its `new` is the machine that took over. [Failover Should Be Proven] proves it.

        Raises:
            AssertionError: it failed, in the product's own words, or does not end; or it has another GPU than that; or
                the old machine has that GPU already, so that nothing would be proven.
        """
        if machine.gpu_name == gpu_name:
            raise Misconfigured(f"{machine} has that GPU already: migrate to another model than {gpu_name}.")
        dumont = target.current().dumont
        migration = failing_over.expect(machine, "migration", max_price)
        migration.begin(target.current().market_clock)
        try:
            migration.id = dumont.migrate(machine.id, gpu_name, max_price)
        except RekindleError as error:
            raise target.current().renter.did_not_arrive(migration.expected, error) from None
        tell(f"Migration: {migration.id}, from {machine.gpu_name} to {gpu_name}")
        new = failing_over.follow(migration, timeout.total_seconds(), lambda _: None)
        tell_rented(new)
        said = new.machine.run("nvidia-smi --query-gpu=name --format=csv,noheader").text
        if new.gpu_name != gpu_name or gpu_name not in said:
            raise Mismatch(f"{gpu_name} was asked for; the market says {new.gpu_name}, nvidia-smi says {said!r}.")
        report.current().add_check(f"its GPU is {gpu_name}", "market, nvidia-smi on the machine", machines=1)
        return migration

    @keyword
    def follow_failover(
        self, failover: Failover, timeout: timedelta = timedelta(seconds=600), on_phase: str | None = None
    ) -> RentedMachine:
        """Follows a failover through its phases, each with its seconds, until another machine has taken over.

        Args:
            failover: as it was begun.
            timeout: how long all of it may take.
            on_phase: name of a keyword that is given the name of each phase as it comes.

        Returns:
            The machine that took over; a command can run on it.

        Raises:
            AssertionError: it failed, in the product's own words, or does not end. What it had rented is destroyed.
        """

        def came(phase: str) -> None:
            if on_phase:
                BuiltIn().run_keyword(on_phase, phase)

        new = failing_over.follow(failover, timeout.total_seconds(), came)
        total = sum(failover.seconds_by_phase().values())
        tell(f"Failed over: to {new} in {failover.wall_seconds:.2f} s by our clock; phases {total:.2f} s")
        tell_rented(new)
        return new

    @keyword
    def failover_should_be_proven(
        self, failover: Failover, manifest: Manifest, timeout: timedelta = timedelta(seconds=60)
    ) -> None:
        """Proves a failover that the product calls complete.

        - All phases were gone through in their order; their seconds add up to the wall clock that we measured.
        - Another contract, another host key, another boot.
        - The whole tree equals the manifest. Of the files that were still written ([Keep Writing Files]) only the very
          last may be missing; they are named, and their time is the RPO. Those that were on the standby may not.
        - The old machine is gone by all witnesses, and its bill is closed.
        - The market has nothing else that came with the failover: no loser of the race is left.
        - The new machine is billed from its rent on, at its price.
        - The standby follows the new machine: a new nonce arrives on it.
        - The product's report of failovers tells what we have followed, and no better rate than its own rows give.
        - A machine that was migrated worked until its last files were copied, and stood still for no longer than the
          product says.

        Args:
            failover: that [Follow Failover] has followed.
            manifest: of the old machine, before the failover.
            timeout: how long the old machine may take to vanish, and the standby to follow.

        Raises:
            AssertionError: names what is not so, what was expected and what was seen.
        """
        failing_over.prove(failover, manifest, timeout.total_seconds())

    @keyword
    def repeat_failover(
        self, cycles: int, failover: str, machine: RentedMachine, after_failed_cycle: AfterFailure = "stop"
    ) -> RentedMachine:
        """Moves the work from machine to machine, so many times, each time with a keyword of yours.

        The keyword is given a nonce, which is new in each cycle, and the machine that has the work; it returns the one
        that took over. A cycle succeeds when the keyword does, the new machine is another one, the old one is proven
        gone, and files were compared on the new one (by [Workspace Should Equal Manifest]).

        What is told of the product's own failover, when the keyword begins one, stands in the cycle: its phases, and in
        the statistics of all cycles the seconds until another machine had taken over (RTO) and of lost work (RPO).

        A cycle that fails does not end the test by itself: [All Failovers Should Have Succeeded] does. What it rented
        is destroyed, and proven gone; the machine that has the work stays, unless it is gone already or lost. Ctrl-C
        and timeouts end the test at once.

        Args:
            cycles: how many failovers are wanted.
            failover: name of the keyword.
            machine: which has the work.
            after_failed_cycle: `stop`, or `continue` with the machine that still has the work.

        Returns:
            The machine that has the work at the end.
        """
        check_argument("cycles", "CYCLES", cycles)
        failovers = Failovers(cycles)
        report.current().sections.append(failovers)
        for number in range(1, cycles + 1):
            attempt = _Attempt(number, machine)
            tell(f"── Cycle {number} of {cycles}: from machine {machine.id}, nonce {attempt.nonce}")
            try:
                machine = attempt.succeed(failover)
            except (RekindleError, ExecutionFailed) as failure:
                failovers.cycles.append(cycle := attempt.ended(str(failure)))
                if isinstance(failure, ExecutionFailed) and (failure.dont_continue or failure.skip):
                    raise
                machine, trouble = attempt.clear_up()
                if trouble:
                    failovers.cycles[-1] = cycle = replace(cycle, error=" ".join([str(failure), *trouble]))
                tell(f"── Cycle {number} of {cycles}: ✗ failed{cycle.place} after {cycle.seconds:.1f} s: {cycle.error}")
                # One that was lost, and did not come back elsewhere, has the work no more.
                if trouble or machine.gone or after_failed_cycle == "stop" or not machine.machine.answers():
                    break
            except BaseException as cut:
                failovers.cycles.append(attempt.ended(str(cut) or "It was cut off."))
                raise
            else:
                failovers.cycles.append(cycle := attempt.ended(None))
                files = counted(cycle.files, "file")
                tell(f"── Cycle {number} of {cycles}: ✓ {cycle.seconds:.1f} s, {files} equal on machine {machine.id}")
        return machine

    @keyword
    def all_failovers_should_have_succeeded(self) -> None:
        """Passes when every failover that was wanted has run and succeeded. Prints how many did.

        The test goes on when it fails: a clean-up that follows is done, and does not hide what went wrong.

        Raises:
            AssertionError: names every cycle that failed, in which step and why, and how many did not run. It begins
                with `WEATHER:` or `UNKNOWN:` when no cycle failed for another reason.
        """
        for failovers in _of_this_test():
            tell(failovers.score())
            try:
                failovers.raise_unless_all_succeeded()
            except RekindleError as error:
                error.ROBOT_CONTINUE_ON_FAILURE = True  # type: ignore[attr-defined] # Robot looks for it
                raise


@dataclass
class _Attempt:
    """One cycle while it runs, and what the report knew before it."""

    number: int
    old: RentedMachine
    nonce: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        current = report.current()
        current.resources.pop("snapshot_id", None)
        self._begun, self._steps, self._checks = current.elapsed(), len(current.steps), len(current.checks)
        self._sections = len(current.sections)
        self._known = frozenset(target.current().machines)

    def succeed(self, failover: str) -> RentedMachine:
        """Runs the keyword, and makes sure that another machine has taken over."""
        new = BuiltIn().run_keyword(failover, self.nonce, self.old)
        if not isinstance(new, RentedMachine):
            raise Misconfigured(f"Keyword {failover!r} must return the machine that took over; it returned {new!r}.")
        if new.id == self.old.id or _host_key(new) == _host_key(self.old):
            raise Mismatch(f"No other machine has taken over: {new} has the work, as before.")
        if new.gone or not self.old.gone:
            state = "the new one is gone" if new.gone else "the old one is still rented"
            raise Mismatch(f"After a failover from {self.old} to {new} {state}.")
        current = report.current()
        if compared(current.checks[self._checks :])[0] == 0:
            raise Unknown(f"No file was compared on {new}, so nobody can tell that the work has come over.")
        current.add_check("another machine took over", "ids and host keys", machines=2)
        return new

    def clear_up(self) -> tuple[RentedMachine, list[str]]:
        """Destroys what a failed cycle has rented.

        Returns:
            The machine that has the work, and sentences on what could not be destroyed or not be proven gone.
        """
        half_made = list(self._rented())
        # The old machine is destroyed last: when it is gone, the new one has everything.
        if self.old.gone and half_made:
            return half_made[-1], []
        trouble = []
        for machine in half_made:
            try:
                tell_proof(machine, target.current().destroyer.destroy_and_prove(machine))
            except RekindleError as failure:
                trouble.append(f"What it had rented could not be cleared up: {failure}")
        return self.old, trouble

    def ended(self, error: str | None) -> Cycle:
        """What became of it."""
        current = report.current()
        steps = current.steps[self._steps :]
        files, size = compared(current.checks[self._checks :])
        snapshot = current.resources.get("snapshot_id")
        new = [id_ for id_ in target.current().machines if id_ not in self._known]
        failed = [step.key.removesuffix("_sec") for step in steps if not step.passed]
        return Cycle(
            number=self.number,
            nonce=self.nonce,
            old=self.old.id,
            new=new[-1] if new else None,
            snapshot_id=str(snapshot) if snapshot else None,
            phases=phases_of(steps),
            seconds=current.elapsed() - self._begun,
            files=files,
            bytes=size,
            error=error,
            failed_in=failed[0] if failed else None,
            failover=self._take_failover(),
        )

    def _take_failover(self) -> Failover | None:
        """The product's own failover of this cycle, out of the report: it stands in the cycle from now on."""
        sections = report.current().sections
        found = [one for one in sections[self._sections :] if isinstance(one, Failover)]
        sections[self._sections :] = [one for one in sections[self._sections :] if not isinstance(one, Failover)]
        return found[-1] if found else None

    def _rented(self) -> Iterable[RentedMachine]:
        machines = target.current().machines
        return (machine for id_, machine in machines.items() if id_ not in self._known and not machine.gone)


def _of_this_test() -> list[Failovers]:
    found = [section for section in report.current().sections if isinstance(section, Failovers)]
    if not found:
        raise Unknown("No failover was tried in this test: [Repeat Failover] comes first.")
    return found


def _host_key(machine: RentedMachine) -> str:
    return machine.machine.host_key_fingerprint()
