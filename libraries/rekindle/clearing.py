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
from rekindle.ledger import Ledger, Rent, is_alive
from rekindle.waiting import Clock

T = TypeVar("T")

PATIENCE = 60.0
# A create call that was under way when the run died may still be obeyed by a slow product: so long it is looked for.
CREATE_WINDOW = 30.0
PAUSE = 0.25
QUICK = 5.0
# A product that hangs is not waited for: a machine that it does not destroy in this time is destroyed at the market.
CALL_TIMEOUT = 2.0
ESSENTIAL_TIMEOUT = 20.0
PRODUCT, CPU_CLOUD = "Dumont Cloud", "the CPU cloud"


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


@dataclass
class Cleared:
    """What became of the machines.

    Attributes:
        destroyed: ids with labels.
        never_created: labels of rents of which no machine ever came.
        elsewhere: labels of rents on other targets; a sweep there settles them.
        unsettled: sentences on what could not be told or not be destroyed.
    """

    destroyed: dict[int, str] = field(default_factory=dict)
    never_created: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"destroyed {id_} ({label or 'no label'})" for id_, label in sorted(self.destroyed.items())]
        parts += [f"no machine ever came of {label}" for label in self.never_created]
        parts += [f"{label} was rented on another target" for label in self.elsewhere]
        return "; ".join(parts + self.unsettled) or "nothing was left"


class Clearing:
    """Clears one target of the machines of given rents."""

    def __init__(
        self,
        dumont: Cloud,
        market: Cloud | None,
        ledger: Ledger,
        say: Callable[[str], None],
        *,
        cpu_cloud: Cloud | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`market` and `cpu_cloud` are None when the user has no key for them; `say` writes a line of the log.

        The product is asked first, because it must know that its user wants the machine gone, or it might replace it.
        The market is asked to destroy what is still there at the next look. Its listing is the one that counts. So it
        is with the CPU cloud and the standbys, which carry the label of their GPU machine in their name.
        """
        self._clouds: Mapping[str, Cloud] = (
            {PRODUCT: dumont}
            | ({"the marketplace": market} if market else {})
            | ({CPU_CLOUD: cpu_cloud} if cpu_cloud else {})
        )
        self._witnesses = ["the marketplace" if market else PRODUCT, *([CPU_CLOUD] if cpu_cloud else [])]
        self._witness = " and ".join(self._witnesses)
        self._ledger = ledger
        self._say = say
        self._clock = clock or Clock()
        self._hanging: dict[tuple[str, str], threading.Thread] = {}

    def clear(self, rents: Sequence[Rent], prefix: str | None = None, *, patience: float = PATIENCE) -> Cleared:
        """Destroys the machines of the rents, and every one whose label begins with the prefix; closes the rents.

        It ends when two listings of the witnesses, one after the other, show none of them, or when the patience does.
        """
        begun = self._clock.now()
        quiet = max((_window(rent) for rent in rents), default=0.0)
        cleared = Cleared()
        looks_in_vain = 0
        while True:
            lists = self._lists(rents, prefix)
            seen = self._seen(lists)
            looks_in_vain = looks_in_vain + 1 if seen == {} else 0
            elapsed = self._clock.now() - begun
            if looks_in_vain >= 2 and elapsed >= quiet:
                break
            if elapsed >= patience:
                self._give_up(cleared, seen, rents)
                break
            present = {id_: label for ours in lists.values() for id_, label in ours.items()}
            self._destroy(lists, again=cleared.destroyed)
            # What the product alone still shows is its own business; the witness decides what there was.
            cleared.destroyed |= present if seen is None else seen
            # Quick while there is something to do, gentle while a lost create call is waited for.
            self._clock.pause(PAUSE if present or elapsed < QUICK else 4 * PAUSE)
        self._close(rents, cleared)
        return cleared

    def _seen(self, lists: Mapping[str, dict[int, str]]) -> dict[int, str] | None:
        """What the witnesses list; None when one of them did not answer."""
        if any(witness not in lists for witness in self._witnesses):
            return None
        return {id_: label for witness in self._witnesses for id_, label in lists[witness].items()}

    def _lists(self, rents: Sequence[Rent], prefix: str | None) -> dict[str, dict[int, str]]:
        """Our machines, label by id, in the listing of every cloud that answers."""

        def ours(cloud: Cloud) -> dict[int, str]:
            return {
                row.id: row.label or ""
                for row in cloud.instances()
                if (prefix and (row.label or "").startswith(prefix))
                or any(rent.is_of(row.label, row.id) for rent in rents)
            }

        calls = {(name, "list its machines"): partial(ours, cloud) for name, cloud in self._clouds.items()}
        essential = [(witness, "list its machines") for witness in self._witnesses]
        answers = self._at_once(calls, essential=essential)
        return {name: rows for (name, _), rows in answers.items()}

    def _destroy(self, lists: Mapping[str, Mapping[int, str]], again: Collection[int]) -> None:
        """Asks the product to destroy the GPU machines; for what survived that, everybody who can have it."""
        standbys = lists.get(CPU_CLOUD, {})
        machines = {id_ for name, ours in lists.items() if name != CPU_CLOUD for id_ in ours}
        calls = {
            (name, f"destroy {id_}"): partial(cloud.destroy, id_)
            for name, cloud in self._clouds.items()
            for id_ in (standbys if name == CPU_CLOUD else machines)
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

    def _give_up(self, cleared: Cleared, seen: Mapping[int, str] | None, rents: Sequence[Rent]) -> None:
        """Names what is not settled; it stays open in the ledger for the next sweep."""
        for id_, label in (seen or {}).items():
            cleared.destroyed.pop(id_, None)
            cleared.unsettled.append(f"{self._witness} still lists machine {id_} ({label or 'no label'})")
        if not seen:
            cleared.unsettled.append(f"{self._witness} did not say clearly which machines there are")
        cleared.unsettled += [f"{rent.label} stays open in the ledger" for rent in rents]

    def _close(self, rents: Sequence[Rent], cleared: Cleared) -> None:
        """Writes into the ledger what is proven."""
        if cleared.unsettled:
            return
        proof = f"absent from two listings of {self._witness} after the end of the run"
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


def sweep(clearing: Clearing, ledger: Ledger) -> Cleared:
    """Destroys what earlier runs have left: the open rents of processes that have ended, by their exact labels.

    Asks nobody when the ledger holds none.
    """
    dead = [rent for rent in ledger.open_rents() if not is_alive(rent.owner)]
    return clearing.clear(dead) if dead else Cleared()


def _window(rent: Rent) -> float:
    """How long, from now, a machine of this rent may still come into being, seconds."""
    if rent.instance_id is not None:
        return 0.0
    # The computer's clock may have been set back since: then it is looked for once more as long as at first.
    return min(max(CREATE_WINDOW - (time.time() - rent.intended_at), 0.0), CREATE_WINDOW)
