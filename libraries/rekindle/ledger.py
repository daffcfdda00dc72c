"""The ledger: what was rented, written to disk before it is rented.

A rent begins as an intent, committed and flushed before the create call goes out, and ends as `destroyed` or
`never_created`. Whatever happens in between (kill -9, power lost) the next reader finds the label to look for:

    intended ──► created ──► destroyed
        ├───────────────────► destroyed       found by its label, by the guard or by a later run
        └──► never_created                    the market never knew it

Several processes and threads may use one ledger at once: the run itself, its guard, other runs.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rekindle.errors import RekindleError
from rekindle.labels import LABEL_MARK
from rekindle.wording import number

PATIENCE = 30.0  # seconds to wait for other processes that are writing; each write waits for the disk

LEAST_FREE = 1_000_000  # bytes on its disk, without which nothing is rented

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE rents (
    intent INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    owner TEXT NOT NULL,
    target TEXT NOT NULL,
    label TEXT NOT NULL,
    offer_id INTEGER,
    price REAL NOT NULL,
    minutes REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intended', 'created', 'destroyed', 'never_created')),
    instance_id INTEGER,
    intended_at REAL NOT NULL,
    created_at REAL,
    closed_at REAL,
    proof TEXT,
    intended_uptime REAL
) STRICT
"""
# SQLite writes to the pages of a file that it has already. So a reserve in the database, and in the journal that stays
# beside it, lets the end of each machine be recorded on a full disk.
_RESERVE = 1 << 18  # bytes
_FROM_VERSION_1 = "ALTER TABLE rents ADD COLUMN intended_uptime REAL"
_COLUMNS = (
    "intent, run_id, owner, target, label, offer_id, price, minutes, state, instance_id, intended_at, created_at, "
    "closed_at, proof, intended_uptime"
)


class LedgerUnusable(RekindleError):
    """The ledger cannot be read or written, so nothing may be rented."""


class State(StrEnum):
    """How far a rent has come."""

    INTENDED = "intended"
    CREATED = "created"
    DESTROYED = "destroyed"
    NEVER_CREATED = "never_created"


@dataclass(frozen=True)
class Rent:
    """One row of the ledger.

    `price` is in USD an hour, `minutes` the worst case that was reserved for, the times are seconds since the epoch.
    `offer_id` is None when the product chose the offer itself (wake). `owner` is the process that rents, `target` the
    cloud on which it rents. `intended_uptime` is how long the computer had been up then, seconds; None in rows of older
    versions.
    """

    intent: int
    run_id: str
    owner: str
    target: str
    label: str
    offer_id: int | None
    price: float
    minutes: float
    state: State
    instance_id: int | None
    intended_at: float
    created_at: float | None
    closed_at: float | None
    proof: str | None
    intended_uptime: float | None = None

    def seconds_since_intent(self) -> float:
        """Return the seconds since the intent; at least, when the computer was restarted since.

        They are counted by the computer's uptime, because its date may have been set meanwhile.
        """
        if self.intended_uptime is None:
            return max(time.time() - self.intended_at, 0.0)
        return uptime() - (self.intended_uptime if self.owner.startswith(_boot()) else 0.0)

    def is_of(self, label: str | None, instance_id: int) -> bool:
        """Whether a machine in a listing is this rent's, so that it may be destroyed.

        The label decides, because it is unique: ids begin anew when an embedded cloud is reset. A machine that a
        product made for us without passing a label on counts only with the very id and still without a label.
        """
        return (label or "") == self.label and (bool(self.label) or instance_id == self.instance_id)


class Ledger:
    """The rents of every run on this computer, in one SQLite file that only its user can read."""

    def __init__(self, path: Path, target: str = "") -> None:
        """Opens the ledger; makes it where it is missing.

        Args:
            path: the database file.
            target: names the cloud that is rented on, so that a sweep of one cloud does not judge the rents of another.

        Raises:
            LedgerUnusable: it cannot be written.
        """
        self.path = path.absolute()
        self.target = target
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite gives the files it puts beside the database the database's own mode.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.path.chmod(0o600)
        except OSError as error:
            raise self.unusable(error) from error
        with self.transaction() as database:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                database.execute(_SCHEMA)
            elif version == 1:
                database.execute(_FROM_VERSION_1)
            elif version != _SCHEMA_VERSION:
                raise self.unusable(f"it was written by another version of Rekindle (format {version})")
            database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        with suppress(LedgerUnusable):  # on a full disk the ledger can be read, and what is open can be closed
            self._fill_reserve()

    def intend(self, run_id: str, label: str, offer_id: int | None, price: float, minutes: float) -> int:
        """Writes down that a machine is about to be rented. Returns the number of the intent, which closes it later.

        Args:
            run_id: the run that rents.
            label: the label that the machine will carry.
            offer_id: the offer to rent; None when the product will choose it.
            price: USD an hour, at worst.
            minutes: how long the machine may live, at worst.

        Raises:
            LedgerUnusable: it could not be written to disk, or the end of the rent could not. Nothing may be rented
                then.
        """
        disk = os.statvfs(self.path.parent)
        if (free := disk.f_bavail * disk.f_frsize) < LEAST_FREE:
            raise self.unusable(
                f"the disk of this computer that holds it is full ({number(free)} bytes free of {number(LEAST_FREE)} "
                "needed)"
            )
        self._fill_reserve()
        with self.transaction() as database:
            cursor = database.execute(
                "INSERT INTO rents (run_id, owner, target, label, offer_id, price, minutes, state,"
                " intended_at, intended_uptime) VALUES (?, ?, ?, ?, ?, ?, ?, 'intended', ?, ?)",
                (
                    run_id,
                    process_identity(os.getpid()),
                    self.target,
                    label,
                    offer_id,
                    price,
                    minutes,
                    time.time(),
                    uptime(),
                ),
            )
            assert cursor.lastrowid is not None  # noqa: S101  # sqlite3 sets it after every INSERT
            return cursor.lastrowid

    def created(self, intent: int, instance_id: int) -> None:
        """Writes down the machine that came of an intent."""
        self._change(
            intent,
            "UPDATE rents SET state = 'created', instance_id = ?, created_at = ?"
            " WHERE intent = ? AND state = 'intended'",
            (instance_id, time.time(), intent),
        )

    def relabelled(self, intent: int, label: str) -> None:
        """Writes down the label that the machine really carries, when the product chose another one (or none: "")."""
        self._change(intent, "UPDATE rents SET label = ? WHERE intent = ?", (label, intent))

    def destroyed(self, intent: int, proof: str) -> None:
        """Writes down that the machine is proven gone, and by what. When closed already, the first proof stays."""
        self._close(intent, State.DESTROYED, proof)

    def never_created(self, intent: int, reason: str) -> None:
        """Writes down that no machine came of the intent, and how that is known."""
        self._close(intent, State.NEVER_CREATED, reason)

    def rent(self, intent: int) -> Rent:
        """The row of one intent.

        Raises:
            LedgerUnusable: there is no such intent.
        """
        rents = self._select("WHERE intent = ?", (intent,))
        if not rents:
            raise self.unusable(f"it holds no intent {intent}")
        return rents[0]

    def rents(self, run_id: str) -> list[Rent]:
        """Every rent of a run, oldest first."""
        return self._select("WHERE run_id = ?", (run_id,))

    def of_machine(self, instance_id: int) -> list[Rent]:
        """Return the rents of this target that a machine of this id came of, oldest first."""
        return self._select("WHERE instance_id = ? AND target = ?", (instance_id, self.target))

    def is_in_use(self, label: str, but_for: str = "") -> bool:
        """Whether the machine of that label was rented by another process of this computer that still runs.

        Args:
            label: the label.
            but_for: a run that does not count.
        """
        own = process_identity(os.getpid())
        owners = {rent.owner for rent in self._select("WHERE label = ? AND run_id <> ?", (label, but_for))}
        return any(owner != own and is_alive(owner) for owner in owners)

    def lives(self, run_id: str) -> bool | None:
        """Whether a run goes on; None when this ledger has never heard of it."""
        owners = {rent.owner for rent in self.rents(run_id)}
        return any(map(is_alive, owners)) if owners else None

    def open_rents(self, run_id: str | None = None) -> list[Rent]:
        """The rents of which a machine may be running, oldest first: of one run, or of all."""
        open_ = "WHERE state IN ('intended', 'created')"
        return self._select(open_, ()) if run_id is None else self._select(f"{open_} AND run_id = ?", (run_id,))

    def _fill_reserve(self) -> None:
        """Make sure that records can be changed, and some added, while the disk is full.

        Raises:
            LedgerUnusable: the disk is full already.
        """
        with self._connection() as database:
            free, size = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
            if free * size >= _RESERVE / 2 and self._journal_bytes() >= _RESERVE / 2:
                return
            database.execute("CREATE TABLE IF NOT EXISTS reserve (filler BLOB)")
            database.execute("BEGIN IMMEDIATE")
            with database:
                database.execute("DELETE FROM reserve")  # left by a process that was killed here
                database.execute("INSERT INTO reserve VALUES (zeroblob(?))", (_RESERVE,))
            database.execute("UPDATE reserve SET filler = randomblob(?)", (_RESERVE,))  # only changes are journalled
            database.execute("DELETE FROM reserve")

    def _journal_bytes(self) -> int:
        """Return the size of the journal that stays; a ledger that other processes hold in the WAL mode has none."""
        journal = self.path.with_name(f"{self.path.name}-journal")
        return journal.stat().st_size if journal.exists() else 0

    def _close(self, intent: int, state: State, proof: str) -> None:
        self._change(
            intent,
            "UPDATE rents SET state = ?, proof = ?, closed_at = ?"
            " WHERE intent = ? AND state IN ('intended', 'created')",
            (state, proof, time.time(), intent),
        )

    def _change(self, intent: int, update: str, values: tuple[object, ...]) -> None:
        with self.transaction() as database:
            changed = database.execute(update, values).rowcount
            if not changed and not database.execute("SELECT 1 FROM rents WHERE intent = ?", (intent,)).fetchone():
                raise self.unusable(f"it holds no intent {intent}")

    def _select(self, where: str, values: tuple[object, ...]) -> list[Rent]:
        with self.transaction() as database:
            rows = database.execute(f"SELECT {_COLUMNS} FROM rents {where} ORDER BY intent", values)  # noqa: S608  # constants
            return [Rent(**{**row, "state": State(row["state"])}) for row in rows]

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Open a connection of its own for each use: cheap, and safe in every thread and after every fork.

        Raises:
            LedgerUnusable: the database cannot be read or written.
        """
        with self._connection() as database:
            database.execute("BEGIN IMMEDIATE")
            with database:  # commits, or rolls back on an exception
                yield database

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as database:
                database.row_factory = sqlite3.Row
                with suppress(sqlite3.OperationalError):  # an older version has it open in the WAL mode: it stays so
                    database.execute("PRAGMA journal_mode = PERSIST")
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self.unusable(error) from error

    def unusable(self, reason: object) -> LedgerUnusable:
        """Return the error for a ledger that cannot be used."""
        return LedgerUnusable(
            f"The ledger of rented machines {self.path} cannot be used: {reason}. Without it nothing is rented, "
            "because a machine could be forgotten. See that the file is readable, its disk has space and no other "
            "program holds it. If it is damaged, move it away and run `robot --include sweep suites`, which goes by "
            f"the labels (`{LABEL_MARK}…`) of the machines."
        )


def process_identity(pid: int) -> str:
    """Names one process for ever: boot and process space, number, start. A number alone is given again later.

    An ended process has the identity `""`.
    """
    try:
        # The name of the program, in parentheses, may hold spaces and parentheses itself: count from behind it.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in {"Z", "X"} else f"{_boot()}.{_process_space()}/{pid}/{fields[18]}"


def is_alive(identity: str) -> bool:
    """Whether the very process still runs. One in another container of this computer counts as alive: its number says
    nothing here."""
    place, _, process = identity.partition("/")
    boot, _, space = place.partition(".")
    pid = process.partition("/")[0]
    if boot != _boot() or not pid.isdigit():
        return False
    return space != _process_space() or process_identity(int(pid)) == identity


def pid_of(identity: str) -> int:
    """Return the number of the process that an identity names."""
    return int(identity.split("/")[1])


def uptime() -> float:
    """Return how long this computer has been up, seconds."""
    return float(Path("/proc/uptime").read_text().split()[0])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _process_space() -> str:
    """The number of the process namespace; the same program in a container has another one."""
    return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
