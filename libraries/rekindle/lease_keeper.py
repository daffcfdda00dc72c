"""Holds the leases of one run and renews them in the background, until they are given back or the process ends."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress

from rekindle.bucket_lease import Holder, Lease, LeaseLost, LeaseStore, acquire, holder, release, renew, since_boot
from rekindle.errors import RekindleError

SECONDS = 120.0  # a run that is killed keeps others away from what it used for this long
CLOSED_WITHIN = 5.0  # seconds to wait at the end for a renewal that hangs
RENEWALS = 4  # in the life of a lease, so that some of them may fail


class LeaseKeeper:
    """The leases of one process. Thread-safe.

    Args:
        store: the bucket.
        run_id: the run, for those who read who holds a lease.
        seconds: how long a lease outlives a process that is killed.
        now: seconds since boot.
    """

    def __init__(
        self, store: LeaseStore, run_id: str, seconds: float = SECONDS, now: Callable[[], float] = since_boot
    ) -> None:
        # The processes of one run under pabot hold leases of their own.
        self.owner = f"{run_id}.{secrets.token_hex(4)}"
        self._store = store
        self._seconds = seconds
        self._now = now
        self._held: dict[str, Lease] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> bool:
        """Acquire a lease and keep it. True as well when this process holds it already.

        Raises:
            Unknown, KeysRefused: the store cannot be reached or refuses.
        """
        with self._lock:
            if name in self._held and not self._expired(self._held[name]):
                return True
            self._held.pop(name, None)
            lease = acquire(self._store, name, self.owner, self._seconds, now=self._now)
            if lease is None:
                return False
            self._held[name] = lease
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lease keeper", daemon=True)
                self._thread.start()
            return True

    def holder(self, name: str) -> Holder | None:
        """Return the owner that holds a lease now, of whichever run."""
        return holder(self._store, name)

    def require(self, name: str) -> None:
        """Make sure that a lease is held now, before something is done that cannot be undone.

        Raises:
            LeaseLost: it was lost, or another run holds it.
        """
        if not self.take(name):
            other = self.holder(name)
            raise LeaseLost(
                f"Another run ({other.owner if other else 'unknown'}) holds the lease of {name}, so it is left alone. "
                "Was this run suspended for longer than its leases last?"
            )

    def give_back(self, name: str) -> None:
        """Release a lease; does nothing when it is not held.

        Raises:
            Unknown, KeysRefused: the store cannot be reached or refuses; the lease expires by itself.
        """
        with self._lock:
            if lease := self._held.pop(name, None):
                release(lease)

    def close(self) -> None:
        """Release everything. What the store does not take back expires by itself."""
        self._closed.set()
        if self._thread:
            self._thread.join(CLOSED_WITHIN)
            if self._thread.is_alive():  # the store hangs, and would keep a release waiting as well
                return
        for name in list(self._held):
            with suppress(RekindleError):
                self.give_back(name)

    def _work(self) -> None:
        while not self._closed.wait(self._seconds / RENEWALS):
            for name in list(self._held):
                with self._lock:
                    if lease := self._held.get(name):
                        self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            self._held[lease.name] = renew(lease, now=self._now)
        except LeaseLost:
            del self._held[lease.name]
        except RekindleError:
            pass  # tried again before it expires; `require` notices when it has

    def _expired(self, lease: Lease) -> bool:
        return self._now() - lease.since >= lease.seconds
