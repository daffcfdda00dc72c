"""Destroying what a dead run has left: ours only, in parallel, until nobody lists it any more.

What is ours is decided by labels, which are unique; see `Rent.is_of`. Trouble on the way (429, 5xx, lost connections, a
part that is down) is never taken for "no machines": it is tried again until the patience ends.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

from rekindle.errors import RekindleError
from rekindle.labels import label_prefix
from rekindle.ledger import Ledger, Rent
from rekindle.waiting import Clock
from rekindle.wording import in_words

T = TypeVar("T")

PATIENCE = 60.0
# A create call that was under way when the run died may still be obeyed by a slow product: so long it is looked for.
CREATE_WINDOW = 30.0
PAUSE = 0.25
QUICK = 5.0
# A product that hangs is not waited for: a machine that it does not destroy in this time is destroyed at the market.
CALL_TIMEOUT = 2.0
ESSENTIAL_TIMEOUT = 20.0
PRODUCT, MARKET = "Dumont Cloud", "the marketplace"
VOLUMES, CPU_CLOUD = "the marketplace's volumes", "the CPU cloud"
AFTER_THE_RUN = "after the end of the run"

Ours = Callable[[str | None, int], bool]
"""Whether a machine of this label and id may be destroyed."""


class Row(Protocol):
    """A machine in a listing."""

    @property
    def id(self) -> int: ...
    @property
    def label(self) -> str | None: ...


class Cloud(Protocol):
    """Where machines are listed and destroyed."""

    def instances(self) -> Sequence[Row]: ...
    def destroy(self, instance_id: int, /) -> object: ...


class HasVolumes(Protocol):
    """A market that has volumes."""

    def volumes(self) -> Sequence[Row]: ...
    def delete_volume(self, volume_id: int, /) -> object: ...


@dataclass(frozen=True)
class Volumes:
    """The volumes of a market, listed and destroyed as machines are."""

    market: HasVolumes

    def instances(self) -> Sequence[Row]:
        """Every volume of the account."""
        return self.market.volumes()

    def destroy(self, volume_id: int, /) -> object:
        """Deletes it. One that a machine still uses is refused."""
        return self.market.delete_volume(volume_id)


@dataclass
class Cleared:
    """What became of the machines.

    Attributes:
        destroyed: ids with labels.
        never_created: labels of rents of which no machine ever came.
        elsewhere: labels of rents on other targets; a sweep there settles them.
        snapshots: ids of snapshots that were deleted.
        snapshots_left: sentences on snapshots that could not be deleted.
        unsettled: sentences on what could not be told or not be destroyed.
    """

    destroyed: dict[int, str] = field(default_factory=dict)
    never_created: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    snapshots_left: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"destroyed {id_} ({label or 'no label'})" for id_, label in sorted(self.destroyed.items())]
        parts += [f"no machine ever came of {label}" for label in self.never_created]
        parts += [f"{label} was rented on another target" for label in self.elsewhere]
        parts += [f"deleted snapshot {id_[:8]}" for id_ in self.snapshots]
        return "; ".join(parts + self.unsettled + self.snapshots_left) or "nothing was left"


class Clearing:
    """Clears one target of the machines of given rents."""

    def __init__(
        self,
        dumont: Cloud,
        market: Cloud | None,
        ledger: Ledger,
        say: Callable[[str], None],
        *,
        volumes: Cloud | None = None,
        cpu_cloud: Cloud | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`market`, its `volumes` and `cpu_cloud` are None when the user has no key for them; `say` writes a line of
        the log.

        The product is asked first, because it must know that its user wants the machine gone, or it might replace it.
        The market is asked to destroy what is still there at the next look. Its listing is the one that counts. So it
        is with volumes, and with the CPU cloud and its standbys, which carry the label of their GPU machine in their
        name.
        """
        optional = {MARKET: market, VOLUMES: volumes, CPU_CLOUD: cpu_cloud}
        known = {name: cloud for name, cloud in optional.items() if cloud}
        self._clouds: Mapping[str, Cloud] = {PRODUCT: dumont} | known
        self._witnesses = list(known) if market else [PRODUCT, *known]
        self._witness = in_words(self._witnesses)
        self._ledger = ledger
        self._say = say
        self._clock = clock or Clock()
        self._hanging: dict[tuple[str, str], threading.Thread] = {}

    def clear(
        self,
        rents: Sequence[Rent],
        ours: Ours | None = None,
        *,
        patience: float = PATIENCE,
        when: str = AFTER_THE_RUN,
    ) -> Cleared:
        """Destroys machines until two listings of the witnesses, one after the other, show none of them, or until the
        patience ends; closes the rents.

        Args:
            rents: what the ledger knows of them.
            ours: which machines; those of the rents when None.
            patience: seconds.
            when: it happens, for the ledger.
        """
        ours = ours or of(rents)
        begun = self._clock.now()
        # Where a machine was rented on another cloud, none will come here.
        quiet = max((_window(rent) for rent in rents if rent.target == self._ledger.target), default=0.0)
        cleared = Cleared()
        looks_in_vain = 0
        while True:
            lists = self._lists(ours)
            seen = self._seen(lists)
            looks_in_vain = looks_in_vain + 1 if seen == {} else 0
            elapsed = self._clock.now() - begun
            if looks_in_vain >= 2 and elapsed >= quiet:
                break
            if elapsed >= patience:
                self._give_up(cleared, lists, rents)
                break
            present = {id_: label for ours in lists.values() for id_, label in ours.items()}
            self._destroy(lists, again=cleared.destroyed)
            # What the product alone still shows is its own business; the witness decides what there was.
            cleared.destroyed |= present if seen is None else seen
            # Quick while there is something to do, gentle while a lost create call is waited for.
            self._clock.pause(PAUSE if present or elapsed < QUICK else 4 * PAUSE)
        self._close(rents, cleared, when)
        return cleared

    def _seen(self, lists: Mapping[str, dict[int, str]]) -> dict[int, str] | None:
        """What the witnesses list; None when one of them did not answer."""
        if any(witness not in lists for witness in self._witnesses):
            return None
        return {id_: label for witness in self._witnesses for id_, label in lists[witness].items()}

    def _lists(self, ours: Ours) -> dict[str, dict[int, str]]:
        """Our machines, label by id, in the listing of every cloud that answers."""

        def listed(cloud: Cloud) -> dict[int, str]:
            return {row.id: row.label or "" for row in cloud.instances() if ours(row.label, row.id)}

        calls = {(name, "list its machines"): partial(listed, cloud) for name, cloud in self._clouds.items()}
        essential = [(witness, "list its machines") for witness in self._witnesses]
        answers = self._at_once(calls, essential=essential)
        return {name: rows for (name, _), rows in answers.items()}

    def _destroy(self, lists: Mapping[str, Mapping[int, str]], again: Collection[int]) -> None:
        """Asks the product to destroy the GPU machines; for what survived that, everybody who can have it."""
        machines = {id_ for name in (PRODUCT, MARKET) for id_ in lists.get(name, ())}
        calls = {
            (name, f"destroy {id_}"): partial(cloud.destroy, id_)
            for name, cloud in self._clouds.items()
            for id_ in (machines if name in {PRODUCT, MARKET} else lists.get(name, ()))
            if name == PRODUCT or id_ in again
        }
        for name, what in calls:
            self._say(f"asking {name} to {what}")
        self._at_once(calls)

    def _at_once(
        self, calls: Mapping[tuple[str, str], Callable[[], T]], essential: Collection[tuple[str, str]] = ()
    ) -> dict[tuple[str, str], T]:
        """Makes all calls, each named by whom and what, at the same time.

        Returns the answers that came in time; only for the essential ones it waits longer. What does not answer or
        fails is logged, and not asked again while it hangs: the next look decides.
        """
        answers: dict[tuple[str, str], T] = {}

        def call(name: tuple[str, str], function: Callable[[], T]) -> None:
            try:
                answers[name] = function()
            except Exception as error:  # noqa: BLE001 - whatever it is, the guard has to go on
                self._say(f"{name[0]} did not {name[1]}: {type(error).__name__}: {error}")

        begun = time.monotonic()
        for name, function in calls.items():
            if name not in self._hanging:
                # Threads that hang must not keep the process from ending, hence daemons and no executor.
                self._hanging[name] = threading.Thread(target=call, args=(name, function), daemon=True)
                self._hanging[name].start()
        for name in calls:
            timeout = ESSENTIAL_TIMEOUT if name in essential else CALL_TIMEOUT
            self._hanging[name].join(max(0.0, begun + timeout - time.monotonic()))
        self._hanging = {name: thread for name, thread in self._hanging.items() if thread.is_alive()}
        return answers.copy()

    def _give_up(self, cleared: Cleared, lists: Mapping[str, Mapping[int, str]], rents: Sequence[Rent]) -> None:
        """Names what is not settled; it stays open in the ledger for the next sweep."""
        silent = [witness for witness in self._witnesses if witness not in lists]
        for witness in self._witnesses:
            for id_, label in lists.get(witness, {}).items():
                cleared.destroyed.pop(id_, None)
                what = "volume" if witness == VOLUMES else "machine"
                cleared.unsettled.append(
                    f"{MARKET if witness == VOLUMES else witness} still lists {what} {id_} ({label or 'no label'})"
                )
        if silent or not cleared.unsettled:
            who = in_words(silent or self._witnesses)
            cleared.unsettled.append(f"{who} did not say clearly which machines there are")
        cleared.unsettled += [f"{rent.label} stays open in the ledger" for rent in rents]

    def _close(self, rents: Sequence[Rent], cleared: Cleared, when: str) -> None:
        """Writes into the ledger what is proven."""
        if cleared.unsettled:
            return
        proof = f"absent from two listings of {self._witness} {when}"
        for rent in rents:
            found = any(rent.is_of(label, id_) for id_, label in cleared.destroyed.items())
            if not found and rent.target != self._ledger.target:
                cleared.elsewhere.append(rent.label)
                continue
            try:
                if found or rent.instance_id is not None:
                    self._ledger.destroyed(rent.intent, proof)
                else:
                    cleared.never_created.append(rent.label)
                    self._ledger.never_created(rent.intent, proof)
            except RekindleError as error:
                cleared.unsettled.append(str(error))
                return


def of(rents: Sequence[Rent]) -> Ours:
    """The machines of these rents, and no other."""
    return lambda label, id_: any(rent.is_of(label, id_) for rent in rents)


def of_run(run_id: str, rents: Sequence[Rent] = ()) -> Ours:
    """The machines of a run, whether its ledger names them or not."""
    prefix, known = label_prefix(run_id), of(rents)
    return lambda label, id_: (label or "").startswith(prefix) or known(label, id_)


def _window(rent: Rent) -> float:
    """How long, from now, a machine of this rent may still come into being, seconds."""
    if rent.instance_id is not None:
        return 0.0
    return min(max(CREATE_WINDOW - rent.seconds_since_intent(), 0.0), CREATE_WINDOW)
