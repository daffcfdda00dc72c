"""Starts, stops and breaks the embedded cloud. On a live target every keyword of it fails."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from robot.api.deco import keyword, library

from library_parts.console import tell
from library_parts.returned import converters
from rekindle import target
from rekindle.embedded import EmbeddedCloud
from rekindle.rented import RentedMachine

Part = Literal["store", "marketplace", "control"]


@library(scope="GLOBAL", doc_format="MARKDOWN", converters=converters(RentedMachine))
class SandboxLibrary:
    """Starts, stops and breaks the embedded cloud.

    These keywords do to the cloud what the world does to a real one. They work through its command line and its
    control API, and only there: on a live target they fail.
    """

    @keyword
    def start_sandbox(self) -> None:
        """Starts the embedded cloud again after [Stop Sandbox] or [Kill Part]. Its machines boot again."""
        _cloud().up_again()
        for machine in target.current().machines.values():
            machine.was_interrupted()

    @keyword
    def stop_sandbox(self) -> None:
        """Stops the embedded cloud at once; its state is kept. Without this it stops some seconds after the run."""
        _cloud().down()

    @keyword
    def open_sandbox_as_live_target(
        self,
        budget_usd: float | None = None,
        declined: str = "",
        state_dir: str | Path | None = None,
        **variables: str,
    ) -> None:
        """Opens the embedded cloud by the variables of a live target: what a suite does on live can be tried for free.

        Args:
            budget_usd: as for [Open Target].
            declined: as for [Open Target].
            state_dir: as for [Open Target].
            variables: what the user has set otherwise, such as `B2_BUCKET=another`; an empty one is not set.

        Raises:
            AssertionError: as [Open Target] on live; also when a target is open already.
        """
        cloud = target.embedded_cloud(target.state_directory(state_dir))
        cloud.up()
        environment = cloud.environment | variables
        opened = target.open_target(
            "live",
            budget_usd=target.budget(budget_usd),
            declined=target.witnesses(declined),
            environment=environment,
        )
        tell(f"Target: live at {opened.settings.dumont_api_url}")

    @keyword
    def sandbox_status(self) -> str:
        """Returns what the cloud says of its parts, its machines and its bill."""
        return _cloud().status()

    @keyword
    def kill_part(self, part: Part) -> None:
        """Kills a part of the cloud with SIGKILL, as a crash does.

        Args:
            part: which one.
        """
        _cloud().kill(part)
        tell(f"Killed: the {part} of the embedded cloud")

    @keyword
    def kill_part_when_bucket_grows(self, part: Part, prefix: str = "restic/data/") -> None:
        """Returns at once, and kills a part as soon as a new object is in the bucket: in the middle of a snapshot.

        [Mend Sandbox] calls it off.

        Args:
            part: which one.
            prefix: how the keys of the objects begin that count.
        """
        _cloud().kill_when(part, _bucket_grows(prefix))

    @keyword
    def stop_part(self, part: Part) -> None:
        """Stops a part of the cloud in order, while the others run on: an outage.

        [Start Part] or [Mend Sandbox] ends it. Without the marketplace there are no machines: they boot again with it.

        Args:
            part: which one.
        """
        _cloud().stop_part(part)
        tell(f"Stopped: the {part} of the embedded cloud")

    @keyword
    def start_part(self, part: Part) -> None:
        """Starts a part again after [Stop Part], and waits until it answers.

        Args:
            part: which one.
        """
        _cloud().start_part(part)
        tell(f"Started: the {part} of the embedded cloud")

    @keyword
    def stop_part_when_bucket_grows(
        self, part: Part, back_after: timedelta | None = None, prefix: str = "restic/data/"
    ) -> None:
        """Returns at once, and stops a part as soon as a new object is in the bucket: in the middle of a snapshot.

        [Mend Sandbox] calls it off, and starts the part again.

        Args:
            part: which one.
            back_after: how long it is away; until [Start Part] or [Mend Sandbox] when not given.
            prefix: how the keys of the objects begin that count.
        """
        seconds = None if back_after is None else back_after.total_seconds()
        _cloud().stop_part_when(part, _bucket_grows(prefix), seconds)

    @keyword
    def make_bucket_read_only(self) -> None:
        """Forbids all writing and deleting in the bucket of the snapshots, until [Mend Sandbox].

        It is done by a policy of the bucket, as an administrator of the store may do it: the store answers
        `AccessDenied`. Reading goes on.
        """
        _cloud().break_bucket("read-only")
        tell("Bucket: read-only from now on")

    @keyword
    def fill_bucket(self) -> None:
        """Makes the bucket of the snapshots full, until [Mend Sandbox].

        It gets the mark that the store puts on a bucket over its quota. The store answers every attempt to write with
        an error; reading and deleting go on.
        """
        _cloud().break_bucket("full")
        tell("Bucket: full from now on")

    @keyword
    def preempt_machine(self, machine: RentedMachine) -> None:
        """Has the market take a machine away, as it does when somebody else pays more.

        The machine is killed and its disk wiped. The market shows it as stopped, and charges for its disk until it is
        destroyed.

        Args:
            machine: which one.
        """
        machine.was_interrupted()
        _cloud().preempt(machine.id)
        tell(f"Preempted: {machine}")

    @keyword
    def preempt_machine_during_restore(self, machine: RentedMachine) -> None:
        """Returns at once, and has the market take a machine away in the middle of the next restore onto it.

        [Mend Sandbox] calls it off.

        Args:
            machine: which one.
        """
        dumont = target.current().dumont
        machine.was_interrupted()

        def is_being_restored() -> bool:
            seen = dumont.instance(machine.id)
            return seen is not None and seen.progress is not None and seen.progress.activity == "restore"

        _cloud().preempt_when(machine.id, is_being_restored)

    @keyword
    def break_answers(
        self,
        part: Literal["control", "market"],
        match: str,
        status: int,
        body: Any = None,
        times: int | None = None,
    ) -> None:
        """Makes a part give a fixed answer to some requests, without doing what they ask for.

        Args:
            part: whose answers.
            match: regular expression, searched in `METHOD /path`.
            status: the HTTP status of the answer.
            body: its JSON body, or text.
            times: how often; until [Mend Sandbox] when not given.
        """
        fault = {"name": f"answer-{status}", "kind": "answer", "match": match, "status": status, "body": body}
        _cloud().add_fault(part, fault | ({"times": times} if times else {}))

    @keyword
    def delay_answers(self, part: Literal["control", "market"], match: str, duration: timedelta) -> None:
        """Makes a part wait before it looks at some requests, until [Mend Sandbox].

        Args:
            part: which one.
            match: regular expression, searched in `METHOD /path`.
            duration: how long.
        """
        _cloud().add_fault(
            part, {"name": "delay", "kind": "delay", "match": match, "seconds": duration.total_seconds()}
        )

    @keyword
    def break_new_machines(
        self, trouble: Literal["boot_hangs", "ssh_refused", "no_restic", "small_disk"], megabytes: int = 0
    ) -> None:
        """Gives a trouble to every machine that boots from now on.

        Args:
            trouble: `boot_hangs` (it never runs), `ssh_refused` (it runs, and nobody answers), `no_restic` (restic is
                not there), `small_disk` (its workspace has the given size).
            megabytes: size of the small disk, MB.
        """
        fault = {"name": trouble, "kind": "machine", "machine": trouble, "megabytes": megabytes}
        _cloud().add_fault("market", fault)

    @keyword
    def mend_sandbox(self) -> None:
        """Undoes what was done to the cloud: faults, stopped parts, a bucket that refuses, and what was yet to come.

        What has died stays dead: after [Kill Part] call [Start Sandbox]; a machine that was taken away is lost.
        """
        _cloud().mend()


def _bucket_grows(prefix: str) -> Callable[[], bool]:
    """Looks whether there are more objects in the bucket than now."""
    store = target.current().store
    before = len(store.list(prefix))
    return lambda: len(store.list(prefix)) > before


def _cloud() -> EmbeddedCloud:
    return target.current().embedded
