"""One failover as we see it: begun with everything written down, followed phase by phase, proven afterwards.

What the product says of it is a claim. Our clock measures it, and the market, the machines and the bytes witness it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from rekindle.clocks import ServiceClock, local_epoch
from rekindle.cycle_chart import Bar, chart
from rekindle.documents import Json
from rekindle.dumont import DumontClient
from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.failover_views import FailoverReport, PhaseView, Progression
from rekindle.labels import LABEL_MARK
from rekindle.market import MarketClient
from rekindle.money import dollars
from rekindle.rented import RentedMachine
from rekindle.renting import Expected
from rekindle.ssh import Machine
from rekindle.standby import Standby
from rekindle.tables import table
from rekindle.ticks import Loss, Ticks
from rekindle.waiting import Clock, wait_until
from rekindle.wording import named

PHASES = ("detecting", "gpu_lost", "failover_to_cpu", "searching_gpu", "provisioning", "restoring", "complete")
MIGRATION_PHASES = (
    "searching_gpu", "provisioning", "copying", "final_sync", "verifying", "switching", "complete",
)  # fmt: skip
# Until this phase of a migration its machine works on.
HALTED_IN = "final_sync"
Kind = Literal["failover", "migration"]
# What we measure begins before the product's own clock and ends after it: a request and a look. On a machine that is
# busy both take longer.
TOLERANCE, TOLERANCE_SHARE = 1.0, 0.1
# An automatic failover counts from the machine's last heartbeat, which was some time before its end: usually less than
# the first, and as long as the second when the machine was too busy to beat.
HEARTBEAT, LATE_HEARTBEAT = 1.0, 10.0
# By so many seconds may the product's clock and ours differ.
CLOCKS = 60.0
# By how much more than the product claims may be lost, because it counts from a heartbeat and we from the very end.
RPO_TOLERANCE = 2.0
# The same number told twice may be rounded differently.
ROUNDED = 0.01
# So long a product may be silent while it is followed, seconds; each question is asked several times besides.
OUTAGE = 60.0

# The kernel's boot is shared by containers of one host: the process space and its first process tell them apart.
_BOOT = "cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/pid; cut -d' ' -f22 /proc/1/stat"


@dataclass(frozen=True)
class Identity:
    """What two machines cannot have in common."""

    contract: int
    host_key: str
    boot: str

    @classmethod
    def of(cls, rented: RentedMachine) -> Identity:
        """Asks the machine itself."""
        return cls(rented.id, rented.machine.pin(), boot_of(rented.machine))

    def shared_with(self, other: Identity) -> list[str]:
        """What the other one has as well."""
        return [
            name
            for name, mine, its in (
                ("contract", self.contract, other.contract),
                ("host key", self.host_key, other.host_key),
                ("boot id", self.boot, other.boot),
            )
            if mine == its
        ]


def boot_of(machine: Machine) -> str:
    """Names the boot of a machine: another one for each start of each machine."""
    return " ".join(machine.run(_BOOT).text.split())


@dataclass(frozen=True)
class Seen:
    """A phase that came between two looks: our seconds since the beginning at the one before, and at this one."""

    phase: str
    after: float
    before: float


@dataclass
class Failover:
    """A failover or a migration, from before its beginning until it is proven.

    It is a section of the test's report.

    Attributes:
        kind: `failover` or `migration`; a migration must lose nothing.
        old: machine that is lost or replaced.
        was: who it was.
        expected: the machine that will come, in the books already.
        earlier: the failovers of the old machine that the product knew before this one.
        begun_at, begun_epoch: when it was ordered, or its machine taken away.
        standby: CPU standby of the old machine; None if it has none.
        ticks: what is written until the machine's end, to measure the loss.
        id: id at the product; None until it is known.
        seen: the phases as we saw them come.
        not_later: our seconds since the beginning at the last look that showed that it went on.
        wall_seconds: measured seconds from the beginning until its end was seen: the RTO of a failover.
        claim: what the product said last.
        new: machine that took over; None before that.
        loss: measured loss of work; None unless *Keep Writing Files* was called before.
        stood_still: measured seconds without a write during a migration; None if not measured.
    """

    old: RentedMachine
    was: Identity
    expected: Expected
    kind: Kind = "failover"
    earlier: frozenset[str] = frozenset()
    begun_at: float = 0.0
    begun_epoch: float = 0.0
    standby: Standby | None = None
    ticks: Ticks | None = None
    id: str | None = None
    seen: list[Seen] = field(default_factory=list)
    not_later: float = 0.0
    wall_seconds: float = 0.0
    claim: Progression | None = None
    new: RentedMachine | None = None
    loss: Loss | None = None
    stood_still: float | None = None

    def begin(self, clock: ServiceClock | None = None) -> None:
        """Start measuring: what comes next ends the machine.

        Args:
            clock: the market's; machines and phases are dated by it, because this computer may have another date.
        """
        self.begun_at = time.monotonic()
        self.begun_epoch = clock.at(self.begun_at) if clock else time.time()

    @property
    def phases(self) -> Sequence[str]:
        """Those that must be gone through."""
        return PHASES if self.kind == "failover" else MIGRATION_PHASES

    @property
    def expected_epoch(self) -> float:
        """The new machine is not older than this, in seconds since the epoch."""
        return self.begun_epoch - (self.begun_at - self.expected.asked_at)

    @property
    def number(self) -> str:
        return self.id or "that has no id yet"

    def seconds_by_phase(self) -> Mapping[str, float]:
        """What the product says; each phase was followed by us."""
        return self.claim.phase_seconds if self.claim else {}

    # What a report shows of it

    def document(self) -> dict[str, Json]:
        """Keys that are added to the report."""
        claim = self.claim
        return {
            self.kind: {
                f"{self.kind}_id": self.id,
                "old_instance_id": str(self.old.id),
                "new_instance_id": str(self.new.id) if self.new else None,
                "data_source": claim.data_source if claim else None,
                "phases": [
                    {
                        "phase": one.phase,
                        "seconds": round(self.seconds_by_phase().get(one.phase, 0.0), 3),
                        "first_seen_after_sec": round(one.before, 3),
                    }
                    for one in self.seen
                ],
                "total_sec": claim.total_seconds if claim else None,
                "wall_clock_sec": round(self.wall_seconds, 3),
                "lost_files": list(self.loss.lost) if self.loss else None,
            }
        }

    def metrics(self) -> dict[str, Json]:
        """RTO and RPO, and the seconds of each phase."""
        name = "rto_sec" if self.kind == "failover" else "migration_sec"
        found: dict[str, Json] = {name: round(self.wall_seconds, 3)}
        if self.loss:
            found |= {"rpo_sec": round(self.loss.seconds, 3), "files_lost": len(self.loss.lost)}
        if self.claim and self.claim.rpo_seconds is not None:
            found["rpo_claimed_sec"] = self.claim.rpo_seconds
        if self.stood_still is not None:
            found["stood_still_sec"] = round(self.stood_still, 3)
        return found | {f"phase_{name}_sec": round(value, 3) for name, value in self.seconds_by_phase().items()}

    def headline(self) -> list[str]:
        """What stands in the one line that a test is told in."""
        told = [f"{'RTO' if self.kind == 'failover' else 'migrated in'} {self.wall_seconds:.1f} s"]
        return (told if self.wall_seconds else []) + ([f"RPO {self.loss.seconds:.2f} s"] if self.loss else [])

    def lines(self) -> list[str]:
        """A block for the console."""
        if not self.wall_seconds:
            return []
        lines = [f"{self.kind.capitalize()} {self.number}, in seconds:"]
        lines += [f"   {name:<16} {seconds:8.2f}" for name, seconds in self.seconds_by_phase().items()]
        return [*lines, f"   {'wall clock':<16} {self.wall_seconds:8.2f}"]

    def html(self) -> Iterator[str]:
        """The pictures: one bar, and a row a phase."""
        if not self.claim:
            return
        yield chart(
            [Bar(self.kind.capitalize(), self.seconds_by_phase(), self.wall_seconds, self.claim.error and "failed")]
        )
        details = {one.phase: one.detail or "" for one in self.claim.phases}
        yield table(
            ("phase", "seconds, told by Dumont Cloud", "first seen by us after", "what Dumont Cloud says of it"),
            (
                (
                    one.phase,
                    f"{self.seconds_by_phase().get(one.phase, 0.0):.3f}",
                    f"{one.before:.3f} s",
                    details.get(one.phase, ""),
                )
                for one in self.seen
            ),
        )


class Silent(Unknown):
    """The product does not answer for a while: it may be restarting, and then it goes on where it was."""


def patient(look: Callable[[], Progression], clock: Clock | None = None) -> Callable[[], Progression]:
    """A look that raises `Silent` at first when the product does not answer, and after some time what it really was."""
    time_source = clock or Clock()
    heard_at = time_source.now()

    def look_again() -> Progression:
        nonlocal heard_at
        try:
            claim = look()
        except Unknown as error:
            if time_source.now() > heard_at + OUTAGE:
                raise
            raise Silent(str(error).removeprefix(Unknown.prefix)) from error
        heard_at = time_source.now()
        return claim

    return look_again


def follow(
    failover: Failover,
    look: Callable[[], Progression],
    tell: Callable[[str], None],
    came: Callable[[str], None],
    timeout: float,
    clock: Clock | None = None,
) -> None:
    """Looks until the product says that it is over; tells each phase as it goes, with its seconds.

    Args:
        failover: which one.
        look: what the product says of it now.
        tell: prints a line.
        came: is called with the name of each phase as it comes.
        timeout: how long all of it may take, seconds.
        clock: time and pause.

    Raises:
        Mismatch: it ended in `failed`; with the product's reason.
        Timeout: it did not end.
    """
    time_source = clock or Clock()

    def looked() -> Progression:
        asked = time_source.now() - failover.begun_at
        claim = look()
        elapsed = time_source.now() - failover.begun_at
        failover.claim, last = claim, failover.not_later
        for name in (claim.names or [claim.phase])[len(failover.seen) :]:
            if failover.seen:
                before = failover.seen[-1].phase
                tell(f"Phase: {before}, {claim.phase_seconds.get(before, 0.0):.2f} s")
            failover.seen.append(Seen(name, last, elapsed))
            came(name)
        if claim.over:
            failover.wall_seconds = elapsed
        else:
            failover.not_later = asked
        return claim

    claim = wait_until(
        f"{failover.kind} {failover.number} of {failover.old} to end",
        looked,
        lambda claim: claim.over,
        timeout=timeout,
        tolerate=(Silent,),
        describe=lambda claim: f"{claim.phase} after {', '.join(claim.names[:-1]) or 'nothing'}",
        clock=clock,
    ).value
    if claim.phase == "failed" or not claim.success:
        raise Mismatch(
            f"{failover.kind.capitalize()} {failover.number} of {failover.old} failed in "
            f"{claim.failed_phase or claim.phase} after {failover.wall_seconds:.1f} s: "
            f"{claim.error or 'Dumont Cloud does not say why'}"
        )


def find(failover: Failover, dumont: DumontClient, timeout: float) -> str:
    """The id of the failover that the product began by itself, or that was ordered on the page.

    Raises:
        Timeout: none begins.
    """

    def look() -> str | None:
        return next(iter(sorted(of_machine(failover.old.id, dumont) - failover.earlier)), None)

    found = wait_until(
        f"Dumont Cloud to notice that {failover.old} is lost, and to fail over", look, bool, timeout=timeout,
        describe=lambda _: f"no failover of it; the machine is {_state(dumont, failover.old.id)}",
    ).value  # fmt: skip
    assert found is not None  # noqa: S101 - it was waited for
    return found


def of_machine(instance_id: int, dumont: DumontClient) -> frozenset[str]:
    """The ids of all failovers of a machine that the product tells."""
    return frozenset(row.id for row in dumont.failovers() if row.old_id == instance_id)


def _state(dumont: DumontClient, instance_id: int) -> str:
    try:
        view = dumont.instance(instance_id)
    except RekindleError as error:
        return str(error)
    return view.actual_status or "created" if view else "unknown to it"


# The proofs


def check_phases(failover: Failover) -> int:
    """All phases were gone through, in their order, and their seconds add up to the wall clock that we measured.

    Returns:
        How many phases.

    Raises:
        Unknown: the product does not tell its phases or their seconds.
        Mismatch: one was left out, or their sum is not what we measured.
    """
    claim = failover.claim
    if claim is None or not claim.phases or claim.total_seconds is None:
        raise Unknown(
            f"Dumont Cloud does not tell the phases of {failover.kind} {failover.number} and how long they took."
        )
    if claim.names != list(failover.phases):
        raise Mismatch(
            f"{failover.kind.capitalize()} {failover.number} went through {', '.join(claim.names)}; expected were "
            f"{', '.join(failover.phases)}."
        )
    untimed = [name for name in failover.phases[:-1] if claim.phase_seconds.get(name, -1.0) < 0]
    if untimed:
        raise Unknown(f"{failover.kind.capitalize()} {failover.number} does not tell how long {named(untimed)} took.")
    by_phase, wall = sum(claim.phase_seconds.values()), failover.wall_seconds
    if abs(by_phase - claim.total_seconds) > 0.01 * len(failover.phases):
        raise Mismatch(
            f"The phases of {failover.kind} {failover.number} take {by_phase:.3f} s together, but its total is said to "
            f"be {claim.total_seconds:.3f} s."
        )
    tolerance = max(TOLERANCE, TOLERANCE_SHARE * wall)
    more = _counted_before(failover)
    if not min(wall, failover.not_later) - tolerance <= by_phase <= wall + tolerance + more:
        raise Mismatch(
            f"The phases of {failover.kind} {failover.number} take {by_phase:.2f} s together, but by our clock it took "
            f"{wall:.2f} s. More than {tolerance:.2f} s of difference cannot be explained by asking and looking."
        )
    check_pace(failover, tolerance + more)
    check_clock(failover)
    return len(claim.phases)


def _counted_before(failover: Failover) -> float:
    """For how many seconds at most the product counts what was before our clock began."""
    claim = failover.claim
    if claim is None or not claim.automatic:
        return 0.0
    return min(max(HEARTBEAT, failover.begun_epoch - claim.phases[0].entered_at), LATE_HEARTBEAT)


def check_pace(failover: Failover, tolerance: float) -> None:
    """Each phase began between the two looks before and after its coming.

    Raises:
        Mismatch: the seconds of single phases are not what we saw, although their sum may be.
    """
    assert failover.claim is not None  # noqa: S101 - the caller has looked
    began = 0.0
    for one in failover.seen:
        if not one.after - tolerance <= began <= one.before + tolerance:
            raise Mismatch(
                f"By the seconds that Dumont Cloud tells, phase {one.phase} of {failover.kind} {failover.number} began "
                f"{began:.2f} s after the beginning, but we saw it come between {one.after:.2f} and "
                f"{one.before:.2f} s."
            )
        began += failover.claim.phase_seconds.get(one.phase, 0.0)


def check_clock(failover: Failover) -> None:
    """Each phase came when the product says that it came: what was before we asked for it is not what we asked for.

    Raises:
        Mismatch: it tells another time than our clock, by more than clocks differ.
    """
    assert failover.claim is not None  # noqa: S101 - the caller has looked
    for seen, one in zip(failover.seen, failover.claim.phases, strict=False):
        told = one.entered_at - failover.begun_epoch
        if not seen.after - CLOCKS <= told <= seen.before + CLOCKS:
            raise Mismatch(
                f"Dumont Cloud says that phase {one.phase} of {failover.kind} {failover.number} came at {_day(one)}, "
                f"{told:.0f} s from the beginning, but by our clock it came between {seen.after:.1f} and "
                f"{seen.before:.1f} s. Does its clock go wrong?"
            )


def _day(phase: PhaseView) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(phase.entered_at))


def check_arrival(failover: Failover, listed: Container[int]) -> int:
    """The machine that the product names has come with the failover. Returns its id.

    Args:
        failover: that is complete.
        listed: ids of all machines that anybody lists.

    Raises:
        Unknown: it names none.
        Mismatch: it was there before, or nobody knows it.
    """
    new_id = failover.claim.new_id if failover.claim else None
    if new_id is None:
        raise Unknown(
            f"{failover.kind.capitalize()} {failover.number} is complete, but Dumont Cloud does not tell on which "
            "machine."
        )
    told = f"Dumont Cloud says that machine {new_id} took over from {failover.old}"
    if new_id in failover.expected.before:
        raise Mismatch(f"{told}, but it was there before the {failover.kind} began.")
    if new_id not in listed:
        raise Mismatch(f"{told}, but the market has no such machine.")
    return new_id


def check_another_machine(failover: Failover, new: RentedMachine) -> None:
    """Another contract, another host key, another boot.

    Raises:
        Mismatch: they have something in common.
    """
    shared = failover.was.shared_with(Identity.of(new))
    if shared:
        raise Mismatch(
            f"{new} is to be another machine than {failover.old}, but they have the same {', '.join(shared)}."
        )


def check_only_one_came(
    failover: Failover, new: RentedMachine, market: MarketClient, ours: set[int], others: Callable[[str], bool]
) -> int:
    """Of all that was rented since the beginning, only the new machine is left. The losers of the race are gone.

    Args:
        failover: which one.
        new: the machine that took over.
        market: whose listing counts.
        ours: ids of machines that this run has rented otherwise.
        others: whether a machine of that label is another run's, which goes on beside this one.

    Returns:
        How many machines the market was asked for by their id.

    Raises:
        Mismatch: a machine is left that nobody needs, or the new one is not a new one.
    """
    rows = {row.id: row for row in market.instances()}
    row = rows.get(new.id)
    if row is None:
        raise Mismatch(f"Dumont Cloud says that {new} took over, but the market has no such machine.")
    if new.id in failover.expected.before or (row.start_date or failover.begun_epoch) < failover.expected_epoch - 1:
        raise Mismatch(f"{new} took over, but the market had it before the failover began.")
    left = {
        id_: row.label
        for id_, row in rows.items()
        if id_ not in failover.expected.before
        and id_ not in ours | {new.id}
        and (row.label == new.label or not ((row.label or "").startswith(LABEL_MARK) or others(row.label or "")))
        and (row.start_date is None or row.start_date >= failover.expected_epoch - 1)
    }
    if left:
        found = named([f"{id_} (label {label or 'none'})" for id_, label in left.items()])
        raise Mismatch(
            f"After {failover.kind} {failover.number} the market has machines that came with it and that nobody needs: "
            f"{found}. Losers of the race? They cost money: `vastai destroy instance ID`."
        )
    losers = failover.claim.losers if failover.claim else ()
    for loser in losers:
        if market.instance(loser) is not None:
            raise Mismatch(f"Machine {loser} lost the race of {failover.kind} {failover.number}, and is still rented.")
        growing = [charge for charge in market.charges(loser, local_epoch(failover.begun_at)) if charge.end is None]
        if growing:
            raise Mismatch(
                f"Machine {loser} lost the race of {failover.kind} {failover.number}, and its bill still grows."
            )
    return 1 + len(losers)


def check_bill(failover: Failover, new: RentedMachine, market: MarketClient, timeout: float = 10.0) -> int:
    """The new machine is billed from its rent on, at its price. Returns the rows of its bill.

    Raises:
        Mismatch: it is billed at another price, or from another time on.
        Timeout: there is no bill at all.
    """
    charges = wait_until(
        f"a bill of {new}", lambda: market.charges(new.id, failover.expected_epoch), bool, timeout=timeout
    ).value
    rate = sum(charge.rate for charge in charges if charge.end is None)
    if abs(rate - new.hourly_usd) > 0.0005:
        raise Mismatch(
            f"{new} is rented at {dollars(new.hourly_usd, 4)}/h, but its bill grows by {dollars(rate, 4)}/h."
        )
    if min(charge.start for charge in charges) < failover.expected_epoch - 1:
        raise Mismatch(f"The bill of {new} begins before the failover did.")
    return len(charges)


def check_loss(failover: Failover, loss: Loss) -> None:
    """No more is lost than the product says, and nothing that was on the standby; nothing at all by a migration.

    Raises:
        Unknown: nothing was written any more when the machine was lost, so that nobody can tell.
        Mismatch: more is lost.
    """
    claim, ticks = failover.claim, failover.ticks
    if failover.kind == "migration" and loss.lost:
        raise Mismatch(f"A migration loses nothing, but this one did: {loss}.")
    if ticks and failover.kind == "failover":
        ticks.check_written_until(failover.begun_at)
    source = claim.data_source if claim else None
    if ticks and loss.survived < ticks.proven and source in (None, "cpu_standby"):
        raise Mismatch(
            f"{ticks.folder}/{ticks.proven:06}.txt was on the standby before {failover.old} was lost, and did not come "
            f"back with {failover.kind} {failover.number}: {loss}."
        )
    claimed = claim.rpo_seconds if claim else None
    if claimed is not None and loss.seconds > claimed + RPO_TOLERANCE:
        raise Mismatch(
            f"Dumont Cloud says that at most {claimed:.2f} s of work were lost, but by our clock it were "
            f"{loss.seconds:.2f} s ({loss})."
        )


def check_report(failover: Failover, told: FailoverReport) -> int:
    """The report of all failovers tells of this one what we have followed, and no better rate than its rows give.

    Returns:
        How many failovers it tells one by one; 0 when this is none of them, because there are more than it tells.

    Raises:
        Mismatch: it tells something else, or nothing of it.
    """
    report = "Dumont Cloud's report of failovers"
    row = next((one for one in told.rows if one.id == failover.number), None)
    if row is None:
        more = (told.total or 0) + (told.going_on or 0)
        if more > len(told.rows):
            return 0
        raise Mismatch(f"{report} does not have failover {failover.number}, which we have followed to its end.")
    assert failover.claim is not None  # noqa: S101 - it was followed
    for what, followed, reported in _told_twice(failover.claim, row):
        same = followed == reported
        if isinstance(followed, float) and isinstance(reported, float):
            same = abs(followed - reported) <= ROUNDED
        if not same:
            raise Mismatch(f"{report} tells {what} of failover {failover.number} as {reported}; it was {followed}.")
    failed = sum(one.over and not one.success for one in told.rows)
    ended = max(told.total or 0, sum(one.over for one in told.rows))
    if told.success_rate is not None and ended and told.success_rate > 100 * (ended - failed) / ended + ROUNDED:
        raise Mismatch(
            f"{report} tells that {told.success_rate:g} % of {ended} succeeded; but in its own rows {failed} failed."
        )
    return len(told.rows)


def _told_twice(claim: Progression, row: Progression) -> Iterator[tuple[str, object, object]]:
    """What the failover itself and its row in the report tell, where both tell it."""
    yield "the success", claim.success, row.success
    for what, followed, reported in (
        ("the new machine", claim.new_id, row.new_id),
        ("the source of the data", claim.data_source, row.data_source),
        ("the seconds", claim.total_seconds, row.total_seconds),
        ("the seconds of lost work", claim.rpo_seconds, row.rpo_seconds),
    ):
        if followed is not None and reported is not None:
            yield what, followed, reported
    for phase in claim.phase_seconds.keys() & row.phase_seconds.keys():
        yield f"the seconds of {phase}", claim.phase_seconds[phase], row.phase_seconds[phase]
    if row.names:
        yield "the phases", ", ".join(claim.names), ", ".join(row.names)


def check_work_went_on(failover: Failover) -> float:
    """A machine that is migrated works until the last of its files are copied, and stands still for as long as told.

    Returns:
        For how many seconds nothing was written, by our clock: from the last file on the old machine to the end.

    Raises:
        Unknown: nothing was written.
        Mismatch: it stood still before, or for longer.
    """
    ticks, claim = failover.ticks, failover.claim
    if ticks is None or not ticks.heard:
        raise Unknown(f"Nothing was written while {failover.old} was migrated: whether it worked cannot be told.")
    last = ticks.last_heard - failover.begun_at
    halted = next((one for one in failover.seen if one.phase == HALTED_IN), None)
    patience = ticks.patience(TOLERANCE)
    if halted and last < halted.after - patience:
        raise Mismatch(
            f"{failover.old} should work until {HALTED_IN} of {failover.kind} {failover.number}, which came "
            f"{halted.after:.2f} s after the beginning or later, but the last file on it was written after {last:.2f} "
            "s. Was it halted while it was copied?"
        )
    told = claim.quiet_seconds if claim else None
    tolerance = max(patience, TOLERANCE_SHARE * failover.wall_seconds)
    if told is not None and told < failover.not_later - last - tolerance:
        raise Mismatch(
            f"Dumont Cloud says that {failover.old} was halted for {told:.2f} s while it was migrated, but by our "
            f"clock nothing was written on it for {failover.not_later - last:.2f} s at least."
        )
    return max(0.0, failover.wall_seconds - last)
