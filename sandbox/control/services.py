"""Everything the routes work with, wired together; started and stopped as one."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sandbox.control.agents import Agents
from sandbox.control.auth import Accounts
from sandbox.control.cpu_cloud import CpuCloud
from sandbox.control.detection import Watch
from sandbox.control.disposals import Disposals
from sandbox.control.errors import ApiError
from sandbox.control.failover import Failovers
from sandbox.control.failover_settings import FailoverSettings
from sandbox.control.fleet import Fleet, TrackedMachine
from sandbox.control.hibernation import Hibernations
from sandbox.control.history import History
from sandbox.control.homes import Homes
from sandbox.control.instances import Instances
from sandbox.control.machines import Machines
from sandbox.control.market_client import MarketClient
from sandbox.control.migration import Migrations
from sandbox.control.progress import ProgressOf
from sandbox.control.race import Races
from sandbox.control.rehearsal import Rehearsals
from sandbox.control.restic import Credentials, Restic
from sandbox.control.settings import tuning
from sandbox.control.snapshots import Snapshots
from sandbox.control.sources import SnapshotSource, StandbySource, VolumeSource, WarmSource
from sandbox.control.ssh import Door
from sandbox.control.standby import Standbys
from sandbox.control.succession import Succession
from sandbox.control.volume_machines import VolumeMachines
from sandbox.control.volumes import RegionalVolumes
from sandbox.control.wake import Wakes
from sandbox.control.warm_pool import WarmPool
from sandbox.events import Events
from sandbox.records import Records
from sandbox.state import StateDir

_log = logging.getLogger(__name__)


class Services:
    def __init__(self, state: StateDir, events: Events) -> None:
        config, secrets = state.config(), state.secrets()
        times = tuning(config.profile)
        self.config = config
        self.records = Records(state.control_db)
        self.accounts = Accounts(secrets)
        public_key = state.control_key.with_suffix(".pub").read_text().strip()
        seen = config.for_product
        self.market = MarketClient(seen.market, secrets.dumont_vast_api_key, public_key, pause=times.market_pause)
        self.restic = Restic(
            Credentials(
                repository=f"s3:{seen.store}/{secrets.b2_bucket}/restic",
                key_id=secrets.b2_key_id,
                key=secrets.b2_application_key,
                password=secrets.restic_password,
            ),
            state.root / "control",
        )
        self.door = Door(state.control_key, state.root / "known_hosts", config.cloud_id)
        self.machines = Machines(self.market, self.door)
        self.fleet = Fleet(self.records)
        self.history = History(self.records)
        progress_of = ProgressOf()
        self.snapshots = Snapshots(self.records, self.restic, self.machines, progress_of, events)
        self.standbys = Standbys(
            self.records,
            CpuCloud(f"{seen.market}/gcp", secrets.gcp_project, secrets.gcp_access_token, pause=times.market_pause),
            self.market,
            self.machines,
            self.door,
            self.fleet,
            copies=state.root / "control" / "standby",
            public_key=public_key,
            interval=times.standby_sync,
            ready_within=times.ready_within,
        )
        self.hibernations = Hibernations(
            self.fleet,
            self.market,
            self.machines,
            self.snapshots,
            self.history,
            events,
            times.heartbeat,
            self.standbys,
        )
        self.watch = Watch(
            self.fleet, self.market, self.machines, missed_after=times.missed_after, look=times.look_for_losses
        )
        self.agents = Agents(
            self.fleet, self.market, self.machines, self._vanished, self.watch.refusal,
            address=seen.control, heartbeat=times.heartbeat, look=times.look_for_agents,
        )  # fmt: skip
        self.wakes = Wakes(
            self.fleet,
            self.market,
            self.machines,
            self.snapshots,
            self.history,
            events,
            self.agents,
            times.ready_within,
        )
        self.disposals = Disposals(self.records, self.market)
        self.races = Races(self.fleet, self.market, self.machines, self.agents, self.disposals, times.ready_within)
        settings = FailoverSettings(self.records)
        succession = Succession(self.fleet, self.agents, settings)
        self.warm_pool = WarmPool(
            self.fleet,
            self.market,
            self.machines,
            self.races,
            settings,
            copies=state.root / "control" / "warm",
            interval=times.standby_sync,
        )
        self.volumes = RegionalVolumes(self.records, self.fleet, self.market)
        homes = Homes(self.standbys, self.warm_pool, self.volumes)
        self.migrations = Migrations(
            self.fleet,
            self.market,
            self.machines,
            self.races,
            self.standbys,
            succession,
            events,
            state.root / "control" / "migration",
        )
        self.failovers = Failovers(
            self.fleet,
            self.market,
            self.machines,
            succession,
            self.races,
            homes,
            [
                StandbySource(self.standbys, progress_of),
                SnapshotSource(self.snapshots, self.standbys),
                WarmSource(self.warm_pool, self.standbys),
                VolumeSource(self.volumes, self.standbys),
            ],
            self.watch,
            events,
        )
        self.rehearsals = Rehearsals(
            self.fleet,
            self.market,
            self.machines,
            self.snapshots,
            self.agents,
            self.failovers,
        )
        self.volume_machines = VolumeMachines(
            self.fleet,
            self.market,
            self.races,
            self.volumes,
            settings,
            self.agents,
        )
        self.instances = Instances(
            self.market,
            self.machines,
            self.fleet,
            self.agents,
            self.hibernations,
            self.wakes,
            progress_of,
            homes,
            self.failovers,
            self.migrations,
        )
        self.settled = asyncio.Event()
        self._background: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Returns at once: the market and the store may still be coming up."""
        self.door.open()
        self.restic.open()
        self.snapshots.settle()
        self._background = asyncio.create_task(self._work())

    async def _work(self) -> None:
        for step in (
            self.market.register_key,
            self.disposals.settle,
            self.races.settle,
            self.wakes.settle,
            self.hibernations.settle,
            self.standbys.settle,
            self.warm_pool.settle,
            self.volumes.settle,
            self.failovers.settle,
            self.migrations.settle,
            self.rehearsals.settle,
        ):
            while True:
                try:
                    await step()
                    break
                except ApiError as error:
                    _log.warning("at start: %s", error.message)
                    await asyncio.sleep(0.1)
        self.settled.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.agents.keep(self.warm_pool.machine_ids))
            group.create_task(self.warm_pool.keep())
            group.create_task(self.volumes.keep())
            group.create_task(self.watch.keep(self.failovers.is_protected, self.failovers.lost))

    def _vanished(self, machine: TrackedMachine) -> None:
        """The market no longer has a machine."""
        if not self.failovers.vanished(machine):
            self.hibernations.lost(machine)

    async def stop(self) -> None:
        if self._background is not None:
            self._background.cancel()
            with suppress(asyncio.CancelledError):
                await self._background
        for service in (
            self.rehearsals,
            self.failovers,
            self.migrations,
            self.warm_pool,
            self.races,
            self.standbys,
            self.hibernations,
            self.wakes,
            self.disposals,
            self.snapshots,
            self.restic,
            self.market,
        ):
            await service.close()
        self.door.close()
        self.records.close()
