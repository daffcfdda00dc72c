"""The product's own way: it notices an idle machine and hibernates it, and wakes it again on demand."""

from __future__ import annotations

import math
import time
from datetime import timedelta

from robot import result, running
from robot.api import logger
from robot.api.deco import keyword, library

from library_parts.console import tell
from library_parts.deleting import delete_snapshot
from library_parts.returned import converters
from library_parts.telling import tell_rented
from rekindle import report, target
from rekindle.dumont_views import WakeResult
from rekindle.errors import CapabilityMissing, RekindleError, Unknown, Weather
from rekindle.hibernating import (
    IdleTime,
    check_wake_time,
    gpu_utilisation,
    stay_idle,
    wait_until_begun,
    wait_until_hibernated,
)
from rekindle.kept_hibernations import (
    Hibernation,
    Maker,
    SetAside,
    forget,
    keep,
    lease_name,
    newest,
    set_aside,
    woken_before,
)
from rekindle.manifest import Manifest
from rekindle.rented import RentedMachine
from rekindle.variable_checks import check_argument

# A test that fails with one of these says nothing against the hibernation that it used.
_NOT_ITS_FAULT = (Weather.prefix, Unknown.prefix, "capability missing:")


@library(
    scope="GLOBAL", doc_format="MARKDOWN", converters=converters(Hibernation, Manifest, RentedMachine), listener="SELF"
)
class HibernationLibrary:
    """The product's own way: it notices an idle machine and hibernates it, and wakes it again on demand.

    A *hibernation* is a snapshot with the manifest that was taken before; both lie in the bucket, so that waking can
    follow on another day.

    Runs that use one bucket at the same time do not disturb each other: a run holds the lease of each hibernation that
    it has made or found. When a test fails with a hibernation that it found, the hibernation is set aside under
    `rekindle/set-aside/` in the bucket: later runs make a new one instead of failing in the same way again.
    """

    ROBOT_LISTENER_API_VERSION = 3

    def __init__(self) -> None:
        self._told: dict[int, IdleTime] = {}
        self._found: dict[str, Hibernation] = {}  # by the running test, by snapshot

    def start_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Each test answers for the hibernations that it finds itself."""
        self._found.clear()

    def end_test(self, data: running.TestCase, result: result.TestCase) -> None:
        """Set aside what a failed test has found, unless the failure lies elsewhere."""
        if not result.failed or target.opened() is None or any(mark in result.message for mark in _NOT_ITS_FAULT):
            return
        for kept in self._found.values():
            reason = f"{data.full_name} failed with it: {result.message}"
            try:
                if aside := set_aside(target.current().store, kept.snapshot_id, reason):
                    logger.warn(f"Set aside {aside.key}, the {kept}, because a test failed with it.")
            except RekindleError as error:
                logger.warn(f"The {kept} could not be set aside, so the next run may fail with it: {error}")

    @keyword
    def machine_should_stay_idle(self, machine: RentedMachine, duration: timedelta) -> None:
        """Watches the GPU over SSH; it must do nothing for the whole time.

        Args:
            machine: whose GPU.
            duration: for how long.

        Raises:
            AssertionError: it worked; says how much and when.
        """
        waited = stay_idle(machine.machine, str(machine), duration.total_seconds())
        machine.seen_alive()
        tell(f"Idle: {waited.seconds:.1f} s, seen in {waited.looks} looks at nvidia-smi")
        report.current().add_check("GPU is idle", "nvidia-smi on the machine", looks=waited.looks)

    @keyword
    def hibernate_when_idle(self, machine: RentedMachine, after: timedelta) -> None:
        """Tells the product to hibernate this machine when its GPU has been idle, counted from now on.

        The product may count from the machine's first day, for its GPU may never have worked. So the idle time that it
        is told is the machine's age and this: then a hibernation that begins earlier than it should is noticed.

        Args:
            machine: which one.
            after: idle time from now on.

        Raises:
            AssertionError: the target has no such setting; names the route.
        """
        check_argument("after", "IDLE_SECONDS", after.total_seconds())
        now = time.monotonic()
        seconds = math.ceil(now - machine.asked_at + after.total_seconds())
        target.current().snapshots.expect(machine.id)
        target.current().dumont.configure_hibernation(
            machine.id, auto_hibernation_enabled=True, idle_timeout_seconds=seconds
        )
        self._told[machine.id] = IdleTime(seconds, machine.asked_at, now)
        tell(
            f"Auto-hibernation: after {seconds} s without work on the GPU, {after.total_seconds():g} s from now or more"
        )

    @keyword
    def keep_machine_awake(self, machine: RentedMachine) -> None:
        """Tells the product not to hibernate this machine, however long its GPU is idle.

        Most tests never use the GPU of a machine. [Hibernate When Idle] undoes it. A target that has no such setting
        goes by its own default, which is told.

        Args:
            machine: which one.
        """
        self._told.pop(machine.id, None)
        try:
            target.current().dumont.configure_hibernation(machine.id, auto_hibernation_enabled=False)
        except CapabilityMissing as error:
            tell(f"Auto-hibernation: as the target has it by default ({error})")
        else:
            tell("Auto-hibernation: off")

    @keyword
    def wait_until_hibernation_begins(self, machine: RentedMachine, timeout: timedelta) -> None:
        """Waits until the product has noticed that the machine is idle, and begins to hibernate it.

        It is not believed: nvidia-smi on the machine is asked all the while, as long as it answers. And the idle time
        of [Hibernate When Idle] must be over, by our own clock.

        Args:
            machine: which one.
            timeout: how long it may take.

        Raises:
            AssertionError: it does not notice; says what it knew last. Or the machine is not idle, or nobody could see
                whether it is (`UNKNOWN:`). Or its idle time was not over, or was long ago.
        """
        asked = 0

        def utilisation() -> float:
            nonlocal asked
            percent = gpu_utilisation(machine.machine)
            asked += 1
            return percent

        dumont, seconds = target.current().dumont, timeout.total_seconds()
        told = self._told.get(machine.id)
        waited = wait_until_begun(dumont, machine.id, utilisation, seconds, told=told)
        if asked:
            report.current().add_check("GPU is idle when the product says so", "nvidia-smi on the machine", looks=asked)
        else:
            report.current().not_witnessed.append("idle GPU: the machine was gone before it could be asked")
        if told:
            report.current().add_check("idle time is over when the product says so", "our own clock", machines=1)
        tell(f"Noticed: Dumont Cloud began to hibernate the machine after {waited.seconds:.1f} s")
        report.current().claims["idle_since"] = waited.value.get("idle_since")

    @keyword
    def wait_until_hibernated(self, machine: RentedMachine, timeout: timedelta) -> str:
        """Waits until the product says that it has hibernated the machine by itself.

        Args:
            machine: which one.
            timeout: how long it may take.

        Returns:
            The id of the snapshot.

        Raises:
            AssertionError: it has not; the hibernation failed, or is overdue and has not begun: at once then, with the
                reason.
        """
        waited = wait_until_hibernated(
            target.current().dumont, machine.id, timeout.total_seconds(), told=self._told.get(machine.id)
        )
        tell(f"Hibernated: snapshot {waited.value}, {waited.seconds:.1f} s after we began to wait")
        report.current().resources["snapshot_id"] = waited.value
        target.current().snapshots.taken_by_product(machine.id, waited.value)
        return waited.value

    @keyword
    def wake_machine(
        self, hibernation: Hibernation, max_price: float, timeout: timedelta = timedelta(seconds=600)
    ) -> RentedMachine:
        """Has the product wake a hibernated machine, and makes sure that another machine of ours runs now.

        Args:
            hibernation: what to wake.
            max_price: USD/h.
            timeout: how long it may take.

        Returns:
            The machine that it woke on.

        Raises:
            AssertionError: in the product's own words; a machine that it rented in vain is destroyed. Or it says that
                the wake took longer, or much less time, than by our clock.
        """
        opened = target.current()
        opened.leases.require(lease_name(hibernation.snapshot_id))
        answers: list[WakeResult] = []

        def wake() -> int:
            answers.append(opened.dumont.wake(hibernation.instance_id, max_price, timeout=timeout.total_seconds()))
            return answers[-1].new_instance_id

        machine = opened.renter.adopt(
            hibernation.label,
            wake,
            what=f"a machine to wake {hibernation.instance_id} on",
            max_price=max_price,
            ready_timeout=timeout.total_seconds(),
        )
        opened.machines[machine.id] = machine
        tell_rented(machine)
        current = report.current()
        for woken in answers:
            current.claims["wake_time_taken_sec"] = woken.time_taken
            if woken.time_taken is not None:
                check_wake_time(hibernation.instance_id, woken.time_taken, woken.seconds)
                current.add_check("the wake took as long as is said", "our own clock", machines=1)
        return machine

    @keyword
    def record_wake_up_time(self, *steps: str) -> None:
        """Reports how long the named steps of this test took together as the wake-up time.

        Args:
            steps: names as in the report's timings, without the unit: `provision`, `restore`.
        """
        seconds = report.current().seconds_of(*steps)
        report.current().metrics["wake_up_time_sec"] = round(seconds, 3)
        tell(f"WAKE UP TIME: {seconds:.1f} s ({' + '.join(steps)})")

    @keyword
    def keep_hibernation(self, maker: Maker, machine: RentedMachine, snapshot_id: str, manifest: Manifest) -> None:
        """Keep the manifest with the snapshot in the bucket, so that waking can follow on another day.

        A sweep deletes both after 7 days. If this run is killed before it ends in order, its watchdog or the next sweep
        deletes them at once.

        Args:
            maker: who made the snapshot: `steps` of the API one by one, or the `product` by itself.
            machine: which machine was hibernated.
            snapshot_id: its snapshot.
            manifest: what its workspace held.
        """
        opened = target.current()
        keep(opened.store, opened.leases, Hibernation(snapshot_id, machine.id, machine.label, maker, manifest))
        opened.snapshots.promise(snapshot_id)

    @keyword
    def find_newest_hibernation(self, maker: Maker) -> Hibernation | None:
        """Find the newest hibernation whose manifest lies in the bucket, and take its lease until the run ends.

        A hibernation that another run uses is passed over, on whichever computer that run is. One that the product
        has woken before (for a run that did not come to its end) cannot be woken again, and is set aside.

        Args:
            maker: who made it.

        Returns:
            The hibernation, with `snapshot_id`, `manifest` and more, see [Hibernation]; None if there is none.

        Raises:
            AssertionError: a kept manifest cannot be read or was changed (`UNKNOWN:`). It is set aside.
        """
        opened = target.current()
        found = newest(opened.store, opened.leases, maker, _unusable, in_use=_tell_in_use, aside=_tell_set_aside)
        if found:
            self._found[found.snapshot_id] = found
            tell(f"Found: snapshot {found.snapshot_id} of machine {found.instance_id}, {found.manifest.summary()}")
            report.current().resources["snapshot_id"] = found.snapshot_id
        return found

    @keyword
    def forget_hibernation(self, hibernation: Hibernation) -> None:
        """Remove a hibernation that was woken: its snapshot through the product, its manifest from the bucket.

        The snapshot must have left the bucket, with every pack that it alone needed.

        Args:
            hibernation: what was woken and compared, so that nobody needs it any more.

        Raises:
            AssertionError: the snapshot or its data is still in the bucket; or another run holds the hibernation.
        """
        opened = target.current()
        opened.leases.require(lease_name(hibernation.snapshot_id))
        forget(opened.store, opened.leases, hibernation, delete_snapshot)
        self._found.pop(hibernation.snapshot_id, None)


def _unusable(hibernation: Hibernation) -> str | None:
    if hibernation.maker == "steps":
        return None
    return woken_before(hibernation, target.current().dumont.hibernation(hibernation.instance_id))


def _tell_in_use(snapshot_id: str) -> None:
    holder = target.current().leases.holder(lease_name(snapshot_id))
    who = f"run {holder.owner}" if holder else "another run"
    tell(f"Passed over: snapshot {snapshot_id}, because {who} uses it")


def _tell_set_aside(aside: SetAside) -> None:
    logger.warn(f"Set aside: {aside}")
    report.current().resources["hibernation_set_aside"] = aside.key
