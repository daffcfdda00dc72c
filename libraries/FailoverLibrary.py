"""Runs failovers in a row, and says how often and how fast they succeed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from robot.api.deco import keyword, library
from robot.errors import ExecutionFailed
from robot.libraries.BuiltIn import BuiltIn

from console import tell
from ProvisioningLibrary import tell_proof
from rekindle import report, target
from rekindle.cycles import AfterFailure, Cycle, Failovers, compared, phases_of
from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown
from rekindle.rented import RentedMachine
from rekindle.wording import counted, named


@library(scope="GLOBAL", doc_format="MARKDOWN")
class FailoverLibrary:
    """Runs failovers in a row, and says how often and how fast they succeed.

    A failover is a keyword of yours: it moves the work from one machine to another. Its steps (`GROUP`) are the phases
    that are timed. See [Repeat Failover].
    """

    @keyword
    def repeat_failover(
        self, cycles: int, failover: str, machine: RentedMachine, after_failed_cycle: AfterFailure = "stop"
    ) -> RentedMachine:
        """Moves the work from machine to machine, so many times, each time with a keyword of yours.

        The keyword is given a nonce, which is new in each cycle, and the machine that has the work; it returns the one
        that took over. A cycle succeeds when the keyword does, the new machine is another one, the old one is proven
        gone, and files were compared on the new one (by [Workspace Should Equal Manifest]).

        A cycle that fails does not end the test by itself: [All Failovers Should Have Succeeded] does. What it rented
        is destroyed, and proven gone; the machine that has the work stays, unless it is gone already. Ctrl-C and
        timeouts end the test at once.

        Args:
            cycles: how many failovers are wanted.
            failover: name of the keyword.
            machine: which has the work.
            after_failed_cycle: `stop`, or `continue` with the machine that still has the work.

        Returns:
            The machine that has the work at the end.
        """
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
                if trouble or machine.gone or after_failed_cycle == "stop":
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

        Raises:
            AssertionError: names every cycle that failed, in which step and why, and how many did not run. It begins
                with `WEATHER:` or `UNKNOWN:` when no cycle failed for another reason.
        """
        for failovers in _of_this_test():
            tell(failovers.score())
            failovers.raise_unless_all_succeeded()

    @keyword
    def delete_snapshots_of_failovers(self) -> None:
        """Has the product delete the snapshots of all cycles of this test, and makes sure that none is left.

        Raises:
            AssertionError: at least one is still listed, or still in the bucket; names them.
        """
        snapshots = [cycle.snapshot_id for failovers in _of_this_test() for cycle in failovers.cycles]
        opened = target.current()
        made = [snapshot for snapshot in snapshots if snapshot]
        for snapshot in made:
            opened.dumont.delete_snapshot(snapshot)
        listed = {str(value) for row in opened.dumont.snapshots() for value in row.values()}
        stored = {one.key.rpartition("/")[2] for one in opened.store.list(f"{opened.repository_prefix}/snapshots/")}
        left = [one for one in made if one in listed or any(name.startswith(one) for name in stored)]
        if left:
            raise Mismatch(
                f"Dumont Cloud said that {counted(len(made), 'snapshot')} were deleted, but of {named(left)} there is "
                "still a trace in its list or in the bucket."
            )
        tell(f"Deleted: {counted(len(made), 'snapshot')}")


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
        )

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
