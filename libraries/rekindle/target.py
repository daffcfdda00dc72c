"""The opened target: the cloud under test, and everything that a run keeps beside it.

A process opens one target, and the keyword libraries share it.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from rekindle.budget import Budget
from rekindle.clearing import Clearing, sweep
from rekindle.destruction import Destroyer
from rekindle.dumont import DumontClient
from rekindle.embedded import PROJECT_DIR, EmbeddedCloud
from rekindle.errors import Misconfigured
from rekindle.guard import Guard
from rekindle.ledger import Ledger
from rekindle.market import MarketClient
from rekindle.objects import ObjectStore
from rekindle.rented import RentedMachine
from rekindle.renting import Renter
from rekindle.settings import Settings

Kind = Literal["sandbox", "live"]
Witness = Literal["market", "restic"]

STATE_DIR = PROJECT_DIR / ".rekindle"
ENV_FILE = PROJECT_DIR / ".env"

# What snapshots are read with, and the market is asked with: optional by themselves.
REPOSITORY_SETTINGS = ("restic_repository", "restic_password")
MARKET_SETTINGS = ("vast_url", "vast_api_key")


@dataclass
class Target:
    """A cloud under test, entered with the user's credentials.

    Attributes:
        kind: `sandbox` or `live`.
        run_id: names this run; every machine's label carries it.
        settings: addresses and credentials.
        declined: witnesses that the user cannot give: the `market`, or the program `restic` on this side.
        embedded: the way to the embedded cloud's switches; nothing that a test concludes from.
        market: None when it is declined as a witness.
        machines: what this run has rented, by id; those that are gone too.
        warnings: what the user should know although nothing failed.
        folder: private files of this run, removed with it.
    """

    kind: Kind
    run_id: str
    settings: Settings
    declined: frozenset[Witness]
    embedded: EmbeddedCloud
    dumont: DumontClient
    market: MarketClient | None
    store: ObjectStore
    guard: Guard
    destroyer: Destroyer
    renter: Renter
    warnings: list[str]
    folder: Path
    machines: dict[int, RentedMachine] = field(default_factory=dict)

    @property
    def repository_prefix(self) -> str:
        """Where in the bucket the restic repository lies: `s3:http://host/bucket/restic` is `restic`.

        Raises:
            Misconfigured: RESTIC_REPOSITORY names another bucket than B2_BUCKET.
        """
        repository = self.settings.restic_repository or ""
        bucket, _, prefix = urlsplit(repository.removeprefix("s3:")).path.lstrip("/").partition("/")
        if not repository.startswith("s3:") or bucket != self.settings.b2_bucket:
            raise Misconfigured(
                f"RESTIC_REPOSITORY must be s3:https://<endpoint>/{self.settings.b2_bucket}/<folder>, in the bucket "
                f"that B2_BUCKET names; it is {repository}."
            )
        return prefix

    @property
    def repository_password(self) -> str:
        """Opens the restic repository."""
        password = self.settings.restic_password
        return password.get_secret_value() if password else ""


class _Opened:
    target: Target | None = None


def current() -> Target:
    """The opened target.

    Raises:
        Misconfigured: none is open.
    """
    if _Opened.target is None:
        raise Misconfigured("No target is open. Begin the suite with `Suite Setup    Open Target    ${TARGET}`.")
    return _Opened.target


def open_target(kind: Kind, *, budget_usd: float | None, declined: Collection[Witness] = ()) -> Target:
    """Opens the target, or returns the one that this process has opened.

    Machines that earlier, dead runs have left on it are destroyed first.

    Args:
        kind: `sandbox` starts the embedded cloud, or joins it; `live` reads the environment and `.env`.
        budget_usd: the most that this run may spend, USD.
        declined: witnesses that the user cannot give.

    Raises:
        Misconfigured: a credential or the budget is missing or wrong, or the API cannot be reached or entered.
        CloudDown: the embedded cloud does not start.
    """
    if _Opened.target is None:
        _Opened.target = _open(kind, budget_usd, frozenset(declined))
    elif _Opened.target.kind != kind:
        raise Misconfigured(f"This run has opened the target {_Opened.target.kind}; it cannot also open {kind}.")
    return _Opened.target


def close() -> None:
    """Closes the target and lets the guard go; does nothing when none is open.

    Raises:
        Mismatch: a machine of this run was still there; the guard has destroyed it.
    """
    if (target := _Opened.target) is None:
        return
    _Opened.target = None
    try:
        target.guard.stand_down()
    finally:
        for machine in target.machines.values():
            if machine.ssh:
                machine.ssh.close()
        target.dumont.close()
        if target.market:
            target.market.close()
        shutil.rmtree(target.folder, ignore_errors=True)


def _open(kind: Kind, budget_usd: float | None, declined: frozenset[Witness]) -> Target:
    if budget_usd is None:
        raise Misconfigured(
            "BUDGET_USD is not set, so nothing that costs money is started. Say how much this run may spend at most: "
            "--variable BUDGET_USD:3"
        )
    embedded = EmbeddedCloud()
    settings = embedded.up() if kind == "sandbox" else Settings.from_environment(ENV_FILE)
    settings.require(*REPOSITORY_SETTINGS, *(() if "market" in declined else MARKET_SETTINGS))
    dumont = DumontClient(settings.dumont_api_url, settings.dumont_email, settings.dumont_password.get_secret_value())
    dumont.login()
    market = None
    if "market" not in declined and settings.vast_url and settings.vast_api_key:
        market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value())
    run_id = f"{time.strftime('%m%d%H%M%S')}-{secrets.token_hex(3)}"
    ledger = Ledger(STATE_DIR / "ledger.db", target=settings.dumont_api_url)
    swept = sweep(Clearing(dumont, market, ledger, lambda _: None), ledger)
    budget = Budget(budget_usd)
    guard = Guard(settings, ledger, run_id)
    destroyer = Destroyer(dumont, market, ledger, budget)
    folder = Path(tempfile.mkdtemp(prefix="rekindle-"))
    return Target(
        kind=kind,
        run_id=run_id,
        settings=settings,
        declined=declined,
        embedded=embedded,
        dumont=dumont,
        market=market,
        store=ObjectStore(
            settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, settings.b2_application_key.get_secret_value()
        ),
        guard=guard,
        destroyer=destroyer,
        renter=Renter(
            dumont, market, ledger, guard, budget, destroyer, run_id, folder / "known_hosts", settings.ssh_key_path
        ),
        warnings=[
            *settings.warnings,
            *([f"Left by earlier runs: {swept}."] if swept.destroyed or swept.unsettled else []),
        ],
        folder=folder,
    )
