"""CPU standbys: made by the product, looked at by ourselves.

That the product says "ready" is a claim. The witnesses are the CPU cloud, which lists the machine, and the machine
itself, which must hold over SSH what we have written on the GPU machine after the claim.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rekindle.cost import Cost, Life
from rekindle.destruction import Gone, Witness
from rekindle.dumont import DumontClient
from rekindle.errors import Mismatch, RekindleError, Unknown
from rekindle.failover_views import StandbyView
from rekindle.gcp import CpuMachine, GcpClient
from rekindle.manifest import Comparison, Manifest, compare, take_manifest
from rekindle.rented import RentedMachine
from rekindle.renting import STANDBY_USD, Renter
from rekindle.ssh import Machine, SshRefused
from rekindle.waiting import Clock, Timeout, wait_until

# Standbys whose CPU machine has this name have it written after the state that the product claims.
USABLE = frozenset({"syncing", "ready"})
# The product measures by how much a standby is behind with its own clock, which may be put right meanwhile.
LAG_TOLERANCE = 1.0
NOT_WITNESSED = "the CPU cloud is declined"

_WRITE = 'printf "%s\\n" "$2" >"$1.part" && mv -- "$1.part" "$1"'
_READ = 'cat -- "$1" 2>/dev/null || true'


@dataclass
class Standby:
    """A CPU machine that mirrors a GPU machine.

    Times are monotonic seconds, money is USD/h.

    Attributes:
        machine: GPU machine that it mirrors now.
        name: name at the CPU cloud.
        zone: zone at the CPU cloud.
        hourly_usd: price of the CPU machine in USD/h, without its disk; None if no price list has it.
        ssh: access over SSH; None until the CPU machine has an address.
        gone: whether it is proven to be deleted.
        asked_at: when it was ordered, or earlier.
        intent: its row in the ledger.
        with_disk_usd: its price with its disk; where nobody tells it, the most that it can be.
    """

    machine: RentedMachine
    name: str
    zone: str
    hourly_usd: float | None
    asked_at: float
    intent: int
    with_disk_usd: float = STANDBY_USD
    ssh: Machine | None = None
    gone: bool = False
    _met_at: float | None = None
    _seen_alive_at: float = 0.0

    def __str__(self) -> str:
        return f"standby {self.name} of machine {self.machine.id}"

    def seen_alive(self, at: float) -> None:
        """Remembers that it surely ran at this moment; sharpens what its life can have cost."""
        self._met_at = at if self._met_at is None else self._met_at
        self._seen_alive_at = at

    def cost(self, gone_at: float) -> Cost:
        """What it cost, when `gone_at` is the first moment at which it was surely gone."""
        at_least = self._seen_alive_at - self._met_at if self._met_at is not None else 0.0
        return Cost(self.with_disk_usd, Life(at_least, gone_at - self.asked_at))

    @property
    def cpu(self) -> Machine:
        """The way in over SSH."""
        if self.ssh is None:
            raise Unknown(f"{self} has no SSH address yet, so nothing can be asked of it.")
        return self.ssh


@dataclass(frozen=True)
class Synced:
    """A nonce that was written on the GPU machine and has been read on the standby.

    Attributes:
        nonce: text that was written.
        path: file that it was written to.
        seconds: seconds from the end of the write until it was read on the standby.
        looks: number of reads.
        claimed_lag: lag in seconds that the product reported at that time; None if it reported none.
    """

    nonce: str
    path: str
    seconds: float
    looks: int
    claimed_lag: float | None


@dataclass
class Standbys:
    """Makes standbys, looks at them, and proves that they are gone."""

    dumont: DumontClient
    gcp: GcpClient | None
    renter: Renter
    known_hosts: Path
    key: Path
    clock: Clock = field(default_factory=Clock)
    expected: dict[int, tuple[int, float]] = field(default_factory=dict)
    ended: Callable[[str, Cost], None] | None = None

    def expect(self, machine: RentedMachine) -> None:
        """Writes down that a standby is about to be ordered elsewhere (on the page)."""
        self.expected[machine.id] = self.renter.intend_standby(machine), self.clock.now()

    def enable(self, machine: RentedMachine, timeout: float) -> Standby:
        """Has the product give a machine a standby, and waits until the CPU machine is there and lets us in.

        Raises:
            Timeout: it does not come up, or the product says why not.
            Mismatch: the product says that it is there, and the CPU cloud has no such machine.
        """
        intent = self.renter.intend_standby(machine)
        asked_at = self.clock.now()
        try:
            self.dumont.enable_standby(machine.id)
            return self.existing(machine, timeout, intent=intent, asked_at=asked_at)
        except RekindleError:
            if self._nothing_is_there(machine):
                self.renter.standby_gone(intent, "the product made none")
            raise

    def existing(
        self, machine: RentedMachine, timeout: float, *, intent: int | None = None, asked_at: float | None = None
    ) -> Standby:
        """Takes over a standby that was ordered elsewhere (on the page), and waits until it is there."""
        if intent is None or asked_at is None:
            # One that nobody has ordered came with its machine.
            prepared = self.expected.pop(machine.id, None)
            intent, asked_at = prepared or (self.renter.intend_standby(machine), machine.asked_at)
        view = wait_until(
            f"{machine} to have a CPU standby that has synced",
            lambda: self.dumont.standby(machine.id),
            lambda view: view is not None and view.state in USABLE and bool(view.ip and view.ssh_port),
            timeout=timeout,
            hopeless=lambda view: f"it failed: {view.sync_error}" if view and view.state == "error" else None,
            describe=lambda view: str(view or "Dumont Cloud knows of none"),
            clock=self.clock,
        ).value
        assert view is not None  # noqa: S101 - it was waited for
        standby = Standby(machine, view.name, view.zone, view.hourly_usd, asked_at, intent)
        self._meet(standby, view)
        return standby

    def _meet(self, standby: Standby, view: StandbyView) -> None:
        """Goes where the CPU cloud says that it is; where nobody can be asked, where the product says."""
        host, port = view.ip, view.ssh_port
        if row := self._row(standby):
            if (row.ip, row.ssh_port) != (host, port) or row.status != "RUNNING":
                raise Mismatch(
                    f"Dumont Cloud says that {standby} is at {host}:{port}; the CPU cloud says that it is "
                    f"{row.status} at {row.ip}:{row.ssh_port}."
                )
            standby.hourly_usd = row.hourly_usd if row.hourly_usd is not None else standby.hourly_usd
            standby.with_disk_usd = row.hourly_with_disk_usd or standby.with_disk_usd
        assert host is not None  # noqa: S101 - it was waited for
        assert port is not None  # noqa: S101 - it was waited for
        standby.ssh = Machine(host, port, self.key, self.known_hosts, standby.name)
        wait_until(
            f"{standby} to let us in over SSH", standby.ssh.pin, bool, timeout=30, tolerate=(SshRefused,),
            clock=self.clock,
        )  # fmt: skip
        standby.seen_alive(self.clock.now())

    def _row(self, standby: Standby) -> CpuMachine | None:
        if self.gcp is None:
            return None
        row = self.gcp.machine(standby.zone, standby.name)
        if row is None:
            raise Mismatch(f"Dumont Cloud says that {standby} is there, but the CPU cloud has no such machine.")
        return row

    def _nothing_is_there(self, machine: RentedMachine) -> bool:
        try:
            if self.dumont.standby(machine.id) is not None:
                return False
            return self.gcp is not None and all(row.label != machine.label for row in self.gcp.instances())
        except RekindleError:
            return False

    def wait_until_synced(self, standby: Standby, root: str, timeout: float) -> Synced:
        """Writes a nonce on the GPU machine, and looks for it on the standby by ourselves.

        Raises:
            Timeout: it does not arrive; says what the product claims meanwhile.
            Mismatch: it is not there, although the standby is said to be of a later moment.
        """
        nonce = secrets.token_hex(16)
        path = f"{root}/sync-test-{nonce[:8]}.txt"
        standby.machine.machine.run(_WRITE, path, nonce)
        written_at = self.clock.now()
        standby.machine.seen_alive()
        try:
            waited = wait_until(
                f"{path} to be on {standby}",
                lambda: self._holds(standby, path, nonce, written_at),
                bool,
                timeout=timeout,
                tolerate=(SshRefused,),
                clock=self.clock,
            )
        except Timeout as late:
            raise Timeout(f"{late} Dumont Cloud says of it: {self.dumont.standby(standby.machine.id)}.") from None
        standby.seen_alive(self.clock.now())
        seconds = self.clock.now() - written_at
        # A sync that began after the nonce was there has brought everything that was there before it.
        view = wait_until(
            f"a whole sync of {standby} that began after {path} was written",
            lambda: self.dumont.standby(standby.machine.id),
            lambda view: view is not None and view.lag_seconds is not None
            and view.lag_seconds < self.clock.now() - written_at,
            timeout=timeout,
            describe=str,
            clock=self.clock,
        ).value  # fmt: skip
        return Synced(nonce, path, seconds, waited.looks, view.lag_seconds if view else None)

    def _holds(self, standby: Standby, path: str, nonce: str, written_at: float) -> bool:
        """Whether a standby has what was written; it must when the product says so, who is asked before we look."""
        since = self.clock.now() - written_at
        view = None
        with suppress(Unknown):  # a product that is away for a moment claims nothing
            view = self.dumont.standby(standby.machine.id)
        if standby.cpu.run(_READ, path).text == nonce:
            return True
        lag = view.lag_seconds if view and not view.gpu_failed else None
        if lag is not None and lag < since - LAG_TOLERANCE:
            raise Mismatch(
                f"Dumont Cloud says that {standby} is {lag:.2f} s behind, but {path}, which was written {since:.2f} s "
                "before, was not on it."
            )
        return False

    def compare(self, standby: Standby, manifest: Manifest) -> Comparison:
        """Reads the whole tree on the standby and compares it with a manifest of the GPU machine's."""
        held = take_manifest(standby.cpu, manifest.root)
        standby.seen_alive(self.clock.now())
        return compare(manifest, held)

    def prove_gone(self, standby: Standby, patience: float) -> Gone:
        """Proves that nobody sees a standby any more: product, CPU cloud (by name and in the listing), SSH.

        Raises:
            Mismatch: it is still there; it was deleted at the CPU cloud, where there is a way in.
        """
        begun = self.clock.now()
        traces: list[str] = []

        def look() -> bool:
            traces[:] = self._traces(standby)
            return not traces

        try:
            looks = wait_until(f"{standby} to be gone", look, bool, timeout=patience, clock=self.clock).looks
        except Timeout:
            seen = ", ".join(traces)
            raise Mismatch(f"{standby} should be gone, but {seen}.{self._rescue(standby)}") from None
        if standby.ssh:
            standby.ssh.close()
        self._ended(standby)
        none = f"no trace in {looks} look{'s' if looks > 1 else ''}"
        listing = "by name and in a full listing"
        proof = Gone(
            (
                Witness("Dumont Cloud", "association", none),
                Witness("machine", "SSH", none),
                Witness("CPU cloud", listing, none if self.gcp else NOT_WITNESSED, witnessed=self.gcp is not None),
            ),
            self.clock.now() - begun,
        )
        told = f"{none}, by {', '.join(witness.name for witness in proof.asked)}"
        self.renter.standby_gone(standby.intent, told, standby.cost(self.clock.now()).usd)
        return proof

    def _ended(self, standby: Standby) -> None:
        standby.gone = True
        if self.ended:
            self.ended(standby.name, standby.cost(self.clock.now()))

    def _traces(self, standby: Standby) -> list[str]:
        traces = []
        if self.dumont.standby(standby.machine.id) is not None:
            traces.append("Dumont Cloud still shows it")
        if self.gcp and (row := self.gcp.machine(standby.zone, standby.name)):
            traces.append(f"the CPU cloud still has it as {row.status}")
        elif self.gcp and any(row.name == standby.name for row in self.gcp.instances()):
            traces.append("the CPU cloud still lists it")
        if standby.ssh and _lives(standby.ssh):
            traces.append("SSH to it still answers")
        return traces

    def _rescue(self, standby: Standby) -> str:
        if self.gcp is None:
            return f" Delete {standby.name} in zone {standby.zone} by hand: it costs money."
        try:
            row = self.gcp.machine(standby.zone, standby.name)
            if row is None or not self.gcp.destroy(row.id):
                return " The CPU cloud does not have it."
            wait_until(
                "it to be gone", lambda: self.gcp is None or self.gcp.machine(standby.zone, standby.name) is None, bool,
                timeout=60, clock=self.clock,
            )  # fmt: skip
        except RekindleError as error:
            return f" Rekindle tried to delete it at the CPU cloud and failed: {error}"
        self._ended(standby)
        spent = standby.cost(self.clock.now()).usd
        self.renter.standby_gone(standby.intent, "deleted at the CPU cloud by Rekindle", spent)
        return " Rekindle has deleted it at the CPU cloud itself."


def _lives(ssh: Machine) -> bool:
    try:
        return ssh.answers()
    except Mismatch:  # the address was given to another machine already
        return False
