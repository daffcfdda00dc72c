"""Many machines that go through the same steps side by side."""

from __future__ import annotations

from dataclasses import dataclass, field

from rekindle.cycles import Cycle
from rekindle.errors import Misconfigured
from rekindle.failover import Failover
from rekindle.manifest import Manifest
from rekindle.rented import RentedMachine
from rekindle.wording import counted


@dataclass
class Member:
    """One of many machines, and how far it has come.

    Attributes:
        number: from 1.
        machine: the rented machine; None before it is rented.
        manifest: the files that it must hold; None before they are written.
        failover: its failover; None before it is lost.
        error: why it does not continue; None while it does.
        failed_in: the step that failed.
        lines: console lines, held back until all members have finished the step.
    """

    number: int
    machine: RentedMachine | None = None
    manifest: Manifest | None = None
    failover: Failover | None = None
    error: str | None = None
    failed_in: str | None = None
    lines: list[str] = field(default_factory=list)

    @property
    def rented(self) -> RentedMachine:
        """Its machine."""
        if self.machine is None:
            raise Misconfigured("[Rent Machines At Once] comes first.")
        return self.machine

    @property
    def files(self) -> Manifest:
        """What it must hold."""
        if self.manifest is None:
            raise Misconfigured("[Protect Machines At Once] comes first.")
        return self.manifest

    @property
    def lost(self) -> Failover:
        """Its failover."""
        if self.failover is None:
            raise Misconfigured("[Lose Machines At Once] comes first.")
        return self.failover

    def cycle(self) -> Cycle:
        """What became of it."""
        one, files = self.failover, self.files
        proven = self.error is None
        return Cycle(
            number=self.number,
            nonce="",
            old=self.rented.id,
            new=one.new.id if one and one.new else None,
            snapshot_id=None,
            phases=one.seconds_by_phase() if one else {},
            seconds=one.wall_seconds if one else 0.0,
            files=files.files if proven else 0,
            bytes=files.bytes if proven else 0,
            error=self.error,
            failed_in=self.failed_in,
            failover=one,
        )


@dataclass
class Crowd:
    """Machines that are rented, protected and lost together.

    Attributes:
        members: the machines, each with `number`, `machine`, `manifest`, `failover`, and `error` if it failed.
    """

    members: list[Member]

    def __str__(self) -> str:
        return counted(len(self.members), "machine")
