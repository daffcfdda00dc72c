"""Who looks on all the time: what the marketplace, its volumes and the CPU cloud list, and when it was last seen."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rekindle.clearing import CPU_CLOUD, MARKET, VOLUMES, Cloud, Volumes
from rekindle.errors import RekindleError
from rekindle.gcp import GcpClient
from rekindle.kept_manifests import FOLDER as MANIFESTS
from rekindle.labels import Label
from rekindle.market import MarketClient
from rekindle.objects import ObjectStore
from rekindle.repository_settings import repository_prefix
from rekindle.settings import Settings

LOOK = 0.1  # seconds between two looks
NOT_OURS = ""  # stands for the run of what carries no label of ours


@dataclass(frozen=True)
class Sight:
    """One whole look: monotonic seconds of its beginning and end, and what was there, as "where id label"."""

    begun: float
    ended: float
    there: tuple[str, ...]


class Witness:
    """Looks at one cloud, on which nobody else rents, until it is closed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        settings = Settings.from_mapping(environment)
        assert settings.vast_url
        assert settings.vast_api_key
        assert settings.gcp_url
        assert settings.gcp_project
        assert settings.gcp_access_token
        market = MarketClient(settings.vast_url, settings.vast_api_key.get_secret_value(), pauses=())
        gcp = GcpClient(settings.gcp_url, settings.gcp_project, settings.gcp_access_token.get_secret_value(), pauses=())
        self._clients = (market, gcp)
        self._store = ObjectStore(
            settings.b2_endpoint, settings.b2_bucket, settings.b2_key_id, settings.b2_application_key.get_secret_value()
        )
        self._snapshots = f"{repository_prefix(settings)}/snapshots/"
        self._clouds: Mapping[str, Cloud] = {MARKET: market, VOLUMES: Volumes(market), CPU_CLOUD: gcp}
        self._changed = threading.Condition()
        self.last: Sight | None = None
        self.last_present = 0.0  # when something was seen, whosever it was
        self.last_seen: dict[str, float] = {}
        self.most: dict[str, int] = {}
        self.failed_looks = 0
        # Whose machines a run has woken: they have the labels of other runs, and count as this one's.
        self._woken: tuple[str, frozenset[str]] | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="witness")
        self._thread.start()

    def after(self, moment: float, timeout: float) -> Sight | None:
        """The first whole look that began after a moment; None when there was none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self.last is not None and self.last.begun > moment, timeout)
            return self.last if self.last and self.last.begun > moment else None

    def stored(self) -> frozenset[str]:
        """Return the keys of all snapshots and kept manifests in the bucket."""
        return frozenset(one.key for folder in (self._snapshots, MANIFESTS) for one in self._store.list(folder))

    def wakes(self, name: str | None) -> None:
        """From now on, whatever has the label of a run that is known already counts for this name."""
        self._woken = (name, frozenset(self.runs())) if name else None

    def runs(self) -> set[str]:
        """The runs of which something was seen."""
        return set(self.last_seen)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _work(self) -> None:
        while not self._closed.wait(LOOK):
            begun = time.monotonic()
            try:
                rows = [
                    (where, row.id, row.label) for where, cloud in self._clouds.items() for row in cloud.instances()
                ]
            except RekindleError:
                self.failed_looks += 1
                continue
            ended = time.monotonic()
            seen = Counter(self._run_of(label) for _, _, label in rows)
            with self._changed:
                for run, count in seen.items():
                    self.last_seen[run] = ended
                    self.most[run] = max(self.most.get(run, 0), count)
                self.last_present = ended if rows else self.last_present
                self.last = Sight(begun, ended, tuple(f"{where} {id_} {label}" for where, id_, label in rows))
                self._changed.notify_all()

    def _run_of(self, label: str | None) -> str:
        ours = Label.read(label)
        run = ours.run_id if ours else NOT_OURS
        name, known = self._woken or ("", frozenset())
        return name if run in known else run
