"""The opened target: the cloud under test, and everything that a run keeps beside it.

A process opens one target, and the keyword libraries share it.
"""

from __future__ import annotations

import atexit
import math
import os
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rekindle.books import Books
from rekindle.budget import Budget
from rekindle.clocks import ServiceClock
from rekindle.destruction import Destroyer
from rekindle.dumont import DumontClient
from rekindle.embedded import PROJECT_DIR, EmbeddedCloud
from rekindle.errors import Misconfigured, RekindleError, Unknown, Weather
from rekindle.gcp import GcpClient
from rekindle.guard import Guard
from rekindle.guard_snapshots import Bucket
from rekindle.labels import label_prefix, new_run_id
from rekindle.lease_keeper import LeaseKeeper
from rekindle.ledger import Ledger, process_identity
from rekindle.local_space import LocalSpace, SpaceFirst
from rekindle.market import MarketClient
from rekindle.objects import ObjectStore
from rekindle.private_folder import PrivateFolder, remove_abandoned
from rekindle.redaction import KNOWN
from rekindle.rented import RentedMachine
from rekindle.renting import Renter
from rekindle.repository_settings import repository_password, repository_prefix
from rekindle.run_snapshots import RunSnapshots
from rekindle.settings import Settings
from rekindle.settled_bill import RunBill
from rekindle.snapshot_bucket import SnapshotBucket
from rekindle.snapshot_records import SnapshotRecords
from rekindle.snapshot_sweeping import SnapshotSweeper, SweptSnapshots
from rekindle.standby import Standby, Standbys
from rekindle.sweeping import Sweeper, Swept
from rekindle.variables import BY_NAME

if TYPE_CHECKING:
    from rekindle.restic_repository import Stored

Kind = Literal["sandbox", "live"]
Witness = Literal["market", "restic", "gcp"]
StateDir = Literal["temporary", "breakable"] | Path

STATE_DIR = PROJECT_DIR / ".rekindle"
ENV_FILE = PROJECT_DIR / ".env"

# What snapshots are read with, and the market is asked with: optional by themselves.
REPOSITORY_SETTINGS = ("restic_repository", "restic_password")
MARKET_SETTINGS = ("vast_url", "vast_api_key")
# Needed only where CPU standbys are tested.
GCP_SETTINGS = ("gcp_url", "gcp_project", "gcp_access_token")


@dataclass(frozen=True)
class Choice:
    """Which cloud is the target.

    Attributes:
        kind: `sandbox` starts the embedded cloud, or joins it; `live` reads the environment and `.env`.
        budget_usd: the most that this run may spend, USD; None is no limit, which only the embedded cloud allows.
        declined: witnesses that the user cannot give.
        state_dir: where the embedded cloud keeps everything, so that several can stand side by side; its own default
            when None. A `temporary` one belongs to this process, and is removed when that ends; so is a `breakable`
            one, whose network can be broken and whose clocks can be set.
        env_file: where a live target finds the variables that the environment lacks; when None, `.env` in the project,
            if there is one.
        environment: the variables of a live target, instead of those of the environment and the file.
    """

    kind: Kind
    budget_usd: float | None
    declined: frozenset[Witness] = frozenset()
    state_dir: StateDir | None = None
    env_file: Path | None = None
    environment: Mapping[str, str] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        told = {
            "BUDGET_USD": self.budget_usd,
            "STATE_DIR": self.state_dir,
            "declined": ", ".join(sorted(self.declined)),
        }
        details = ", ".join(f"{name} {value}" for name, value in told.items() if value not in {None, ""})
        return f"{self.kind} ({details})"


@dataclass
class Target:
    """A cloud under test, entered with the user's credentials.

    Attributes:
        choice: what was asked for.
        run_id: names this run; every machine's label carries it.
        settings: addresses and credentials.
        market: None when it is declined as a witness.
        gcp: the CPU cloud; None when it is declined as a witness, or its credentials are not given.
        standbys: makes CPU standbys, and proves that they are gone.
        budget: what this run may still spend.
        books: what it has paid for.
        leases: what of the bucket this run has for itself.
        machines: what this run has rented, by id; those that are gone too.
        audited: what each snapshot that was found whole needs of the bucket.
        warnings: what the user should know although nothing failed.
        sweeper: finds and destroys what runs that are over have left.
        swept: what it did when the target was opened; None when it could not look.
        snapshots: the snapshots that this run causes.
        snapshot_sweeper, swept_snapshots: as `sweeper` and `swept`, for snapshots.
        space: the disks of this computer that must have space before each rent.
        private_folder: holds private files of this run, and is removed with it.
    """

    choice: Choice
    run_id: str
    settings: Settings
    dumont: DumontClient
    market: MarketClient | None
    store: ObjectStore
    leases: LeaseKeeper
    ledger: Ledger
    guard: Guard
    destroyer: Destroyer
    renter: Renter
    budget: Budget
    books: Books
    warnings: list[str]
    sweeper: Sweeper
    swept: Swept | None
    snapshots: RunSnapshots
    snapshot_sweeper: SnapshotSweeper
    swept_snapshots: SweptSnapshots | None
    space: LocalSpace
    private_folder: PrivateFolder
    gcp: GcpClient | None = None
    machines: dict[int, RentedMachine] = field(default_factory=dict)
    audited: dict[str, Stored] = field(default_factory=dict)
    made_standbys: list[Standby] = field(default_factory=list)
    _embedded: EmbeddedCloud | None = None
    _standbys: Standbys | None = None

    @property
    def embedded(self) -> EmbeddedCloud:
        """The way to the embedded cloud's switches; nothing that a test concludes from.

        Raises:
            Misconfigured: the target is a live one.
        """
        if self._embedded is None:
            raise Misconfigured(
                "A live target has no switches: only the embedded cloud (TARGET:sandbox) can be broken."
            )
        return self._embedded

    @property
    def market_clock(self) -> ServiceClock | None:
        """The market's clock; None when the market is declined as a witness."""
        return self.market.clock if self.market else None

    @property
    def console_url(self) -> str:
        """Where the web page is."""
        return self.settings.dumont_console_url or self.settings.dumont_api_url

    @property
    def standbys(self) -> Standbys:
        """Makes CPU standbys, and proves that they are gone.

        Raises:
            Misconfigured: the credentials of the CPU cloud are missing, and it is not declined as a witness.
        """
        if self.gcp is None and "gcp" not in self.declined:
            self.settings.require(*GCP_SETTINGS)
        if self._standbys is None:
            known_hosts = self.private_folder.path / "known_hosts"
            self._standbys = Standbys(
                self.dumont,
                self.gcp,
                self.renter,
                known_hosts,
                self.settings.ssh_key_path,
                ended=self.books.standby_ended,
            )
        return self._standbys

    @property
    def label_prefix(self) -> str:
        """What the labels of this run's machines begin with."""
        return label_prefix(self.run_id)

    def growing_usd(self) -> float:
        """What the machines and standbys that are still there have cost so far."""
        now = time.monotonic()
        costs = [machine.cost(now) for machine in list(self.machines.values()) if not machine.gone]
        costs += [standby.cost(now) for standby in list(self.made_standbys) if not standby.gone]
        return sum(cost.usd for cost in costs)

    def bill(self) -> RunBill:
        """Everything that this run has paid for, beside what is billed for it.

        Raises:
            Misconfigured, Unknown: a cloud could not be asked for its bill.
        """
        market = self.market.statement(self.books.begun_epoch) if self.market else None
        cpu = self.gcp.statement() if self.gcp else None
        not_witnessed = [] if self.market else ["market: the bill, because VAST_API_KEY is not given"]
        if cpu is None and self.made_standbys:
            not_witnessed.append("CPU cloud: the bill, because it shows none")
        storage = tuple(self.snapshots.storage())
        if storage:
            not_witnessed.append("storage: the bill, because the store shows none")
        bill = self.books.settle(self.label_prefix, market, cpu, not_witnessed, self.ledger.rents(self.run_id))
        return replace(bill, storage=storage)

    @property
    def declined(self) -> frozenset[Witness]:
        """Witnesses that the user cannot give: the `market`, the CPU cloud, or the program `restic` on this side."""
        return self.choice.declined

    @property
    def repository_prefix(self) -> str:
        """Where in the bucket the restic repository lies: `s3:http://host/bucket/restic` is `restic`.

        Raises:
            Misconfigured: RESTIC_REPOSITORY names another bucket than B2_BUCKET, or another store than B2_ENDPOINT.
        """
        return repository_prefix(self.settings)

    @property
    def repository_password(self) -> str:
        """Opens the restic repository."""
        return repository_password(self.settings)


class _Opened:
    target: Target | None = None


def current() -> Target:
    """The opened target.

    Raises:
        Misconfigured: none is open.
    """
    if _Opened.target is None:
        raise Misconfigured("No target is open. Begin the suite with `Suite Setup    Open Target    sandbox`.")
    return _Opened.target


def opened() -> Target | None:
    """The opened target, if any."""
    return _Opened.target


def open_target(
    kind: Kind,
    *,
    budget_usd: float | None,
    declined: Collection[Witness] = (),
    state_dir: StateDir | None = None,
    env_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Target:
    """Opens the target, or returns it when this process has opened it already.

    Machines that earlier, dead runs have left on it are destroyed first.

    Args:
        kind, budget_usd, declined, state_dir, env_file, environment: as in `Choice`.

    Raises:
        Misconfigured: a credential or the budget is missing or wrong, an API cannot be reached or entered, or another
            target is open.
        CloudDown: the embedded cloud does not start.
    """
    choice = Choice(kind, budget_usd, frozenset(declined), state_dir, env_file, environment)
    if _Opened.target is None:
        _Opened.target = _open(choice)
    elif _Opened.target.choice != choice:
        raise Misconfigured(
            f"The target {_Opened.target.choice} is open, and a process has one at a time: `Close Target` must come "
            f"before the target {choice} is opened."
        )
    return _Opened.target


def witnesses(text: str) -> frozenset[Witness]:
    """Return the witnesses that a text names, with commas between them.

    Raises:
        Misconfigured: there is no such witness.
    """
    return frozenset(cast(tuple[Witness, ...], BY_NAME["DECLINED_WITNESSES"].read(text)))


def kind(text: str) -> Kind:
    """Return the target that a text names, in capitals or not.

    Raises:
        Misconfigured: there is no such target.
    """
    return cast(Kind, BY_NAME["TARGET"].read(text))


def budget(amount: float | str | None) -> float | None:
    """Return an amount of money in USD; None stays None.

    Raises:
        Misconfigured: it is no amount of money.
    """
    return cast(float | None, BY_NAME["BUDGET_USD"].read(amount))


def state_directory(text: str | Path | None) -> StateDir | None:
    """Return the state directory that a text names; None stays None.

    Raises:
        Misconfigured: the text is a misspelled special name, a file, or a directory whose parent does not exist.
    """
    return cast(StateDir | None, BY_NAME["STATE_DIR"].read(text))


def embedded_cloud(state_dir: StateDir | None) -> EmbeddedCloud:
    """The embedded cloud of a state directory; it may be down."""
    if isinstance(state_dir, str):
        return _temporary_cloud(breakable=state_dir == "breakable")
    return EmbeddedCloud(state_dir)


@cache
def _temporary_cloud(*, breakable: bool) -> EmbeddedCloud:
    folder = PrivateFolder("cloud")
    cloud = EmbeddedCloud(folder.path, breakable=breakable)
    atexit.register(_remove, cloud, folder)
    return cloud


def _remove(cloud: EmbeddedCloud, folder: PrivateFolder) -> None:
    """At the end of the process: the guard first, which could not settle anything on a cloud that is gone."""
    with suppress(RekindleError):
        close()
    cloud.remove()
    folder.remove()


def _remove_abandoned_cloud(folder: Path) -> None:
    """Remove the cloud of a run that was killed together with its watchdog. What cannot be removed stays."""
    with suppress(RekindleError, OSError):
        EmbeddedCloud(folder).remove()


def close() -> None:
    """Closes the target and lets the guard go; does nothing when none is open.

    Raises:
        Mismatch: a machine of this run was still there; the guard has destroyed it.
    """
    if (target := _Opened.target) is None:
        return
    _Opened.target = None
    try:
        target.guard.stand_down(snapshots_reported=bool(target.snapshots.reported))
    finally:
        target.leases.close()
        ways_in = [machine.ssh for machine in target.machines.values()]
        ways_in += [standby.ssh for standby in target.made_standbys]
        for ssh in filter(None, ways_in):
            ssh.close()
        for client in (target.dumont, target.market, target.gcp):
            if client:
                client.close()
        tempfile.tempdir = None
        target.private_folder.remove()


def _open(choice: Choice) -> Target:
    if choice.budget_usd is None and choice.kind == "live":
        raise Misconfigured(
            "BUDGET_USD is not set, so nothing that costs money is started. Say how much this run may spend at most: "
            "--variable BUDGET_USD:3"
        )
    optional = (*REPOSITORY_SETTINGS, *(() if "market" in choice.declined else MARKET_SETTINGS))
    embedded = embedded_cloud(choice.state_dir) if choice.kind == "sandbox" else None
    if embedded:
        settings = embedded.up()
    elif choice.state_dir:
        raise Misconfigured(
            f"STATE_DIR ({choice.state_dir}) is a directory of the embedded cloud: it goes with TARGET:sandbox only."
        )
    elif choice.environment is None:
        env_file = choice.env_file or (ENV_FILE if ENV_FILE.exists() else None)
        settings = Settings.from_environment(env_file, also=optional)
    else:
        settings = Settings.from_mapping(choice.environment, also=optional)
    settings.require(*optional)
    for name, value in settings.secrets().items():
        KNOWN.learn(name, value)
    for variables in (os.environ, choice.environment or {}, embedded.environment if embedded else {}):
        KNOWN.learn_from(variables)
    dumont = DumontClient(settings.dumont_api_url, settings.dumont_email, settings.dumont_password.get_secret_value())
    dumont.login()
    KNOWN.learn("the Dumont token", dumont.token().get_secret_value())
    market = None
    if "market" not in choice.declined and settings.vast_url and settings.vast_api_key:
        market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
    gcp = None
    if "gcp" not in choice.declined and settings.gcp_url and settings.gcp_project and settings.gcp_access_token:
        gcp = GcpClient(settings.gcp_url, settings.gcp_project, settings.gcp_access_token.get_secret_value())
    run_id = new_run_id()
    ledger = Ledger(STATE_DIR / "ledger.db", target=settings.dumont_api_url)
    sweeper = Sweeper(dumont, market, gcp, ledger)
    swept, trouble = _swept(sweeper, market)
    store = ObjectStore(
        settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, settings.b2_application_key.get_secret_value()
    )
    bucket = partial(_bucket, store, settings)
    snapshot_sweeper = SnapshotSweeper(dumont, market, bucket, ledger)
    swept_snapshots, more_trouble = _swept_snapshots(snapshot_sweeper)
    limit_usd = math.inf if choice.budget_usd is None else choice.budget_usd  # the embedded cloud is free
    budget = Budget(limit_usd)
    remove_abandoned(_remove_abandoned_cloud)
    private_folder = PrivateFolder("run")
    folder = private_folder.path
    space = LocalSpace({"the directory of temporary files (TMPDIR)": folder.parent, "that of the ledger": STATE_DIR})
    # Every temporary file of this run lies in one folder, and the guard removes that when the run is killed: for a
    # moment such files hold credentials.
    tempfile.tempdir = str(folder)
    guard = Guard(
        settings,
        ledger,
        run_id,
        private_files=folder,
        watches_cpu_cloud=gcp is not None,
        bucket=Bucket.of(settings),
        temporary_cloud=embedded.state_dir if embedded and isinstance(choice.state_dir, str) else None,
    )
    books = Books(run_id, limit_usd)
    destroyer = Destroyer(dumont, market, ledger, budget, ended=books.machine_ended)
    machines: dict[int, RentedMachine] = {}
    return Target(
        choice=choice,
        run_id=run_id,
        settings=settings,
        _embedded=embedded,
        dumont=dumont,
        market=market,
        gcp=gcp,
        store=store,
        leases=LeaseKeeper(store, run_id),
        ledger=ledger,
        guard=guard,
        destroyer=destroyer,
        renter=Renter(
            dumont,
            market,
            ledger,
            SpaceFirst(space, guard),
            budget,
            destroyer,
            run_id,
            folder / "known_hosts",
            settings.ssh_key_path,
        ),
        budget=budget,
        books=books,
        warnings=[
            *settings.warnings,
            *trouble,
            *more_trouble,
            *_left_by_earlier_runs(swept, swept_snapshots),
        ],
        sweeper=sweeper,
        swept=swept,
        snapshots=RunSnapshots(SnapshotRecords(ledger), bucket, run_id, partial(_minutes, ledger, run_id, machines)),
        snapshot_sweeper=snapshot_sweeper,
        swept_snapshots=swept_snapshots,
        machines=machines,
        space=space,
        private_folder=private_folder,
    )


def _left_by_earlier_runs(*swept: Swept | SweptSnapshots | None) -> list[str]:
    return [f"Left by earlier runs: {done}." for done in swept if done and not done.ended_nothing]


def _bucket(store: ObjectStore, settings: Settings) -> SnapshotBucket:
    return SnapshotBucket(store, repository_prefix(settings), repository_password(settings))


def _minutes(ledger: Ledger, run_id: str, machines: Mapping[int, RentedMachine]) -> dict[int, float]:
    """Return the machines that this process has rented, each with the minutes that it may live."""
    own = [rent for rent in ledger.rents(run_id) if rent.owner == process_identity(os.getpid())]
    known = {machine.id: ledger.rent(machine.intent).minutes for machine in list(machines.values())}
    return known | {rent.instance_id: rent.minutes for rent in own if rent.instance_id is not None}


def _swept_snapshots(sweeper: SnapshotSweeper) -> tuple[SweptSnapshots | None, list[str]]:
    """Sweep snapshots before anything is rented; return also what the user should know when that was impossible."""
    try:
        return sweeper.sweep(), []
    except Misconfigured:
        return None, []  # the first test that needs the bucket says so
    except RekindleError as error:
        return None, [f"It could not be seen whether earlier runs have left snapshots: {error}"]


def _swept(sweeper: Sweeper, market: MarketClient | None) -> tuple[Swept | None, list[str]]:
    """Sweeps before anything is rented; returns also what the user should know when that cannot be done.

    A wrong key is told here already, and not by the first rent. Any other trouble of the market may pass until then.
    """
    try:
        if market:
            market.balance()
        swept = sweeper.sweep()
    except (Unknown, Weather) as error:
        return None, [f"It could not be seen whether earlier runs have left machines: {error}"]
    return swept, [swept.clocks] if swept.clocks else []
