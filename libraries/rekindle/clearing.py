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

from rekindle.ledger import Ledger, Rent, is_alive
from rekindle.waiting import Clock

T = TypeVar("T")

PATIENCE = 60.0
# A create call that was under way when the run died may still be obeyed by a slow product: so long it is looked for.
CREATE_WINDOW = 30.0
PAUSE = 0.25
CALL_TIMEOUT = 4.0


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
        patience: float = PATIENCE,
        clock: Clock | None = None,
    ) -> None:
        """`market` is None when the user has no key for it; `say` writes a line of the log.

        The product is asked first, because it must know that its user wants the machine gone, or it might replace it.
        The market is asked to destroy what is still there at the next look. Its listing is the one that counts.
        """
        self._clouds: Mapping[str, Cloud] = {"Dumont Cloud": dumont} | ({"the marketplace": market} if market else {})
        self._witness = "the marketplace" if market else "Dumont Cloud"
        self._ledger = ledger
        self._say = say
        self._patience = patience
        self._clock = clock or Clock()

    def clear(self, rents: Sequence[Rent], prefix: str | None = None) -> Cleared:
        """Destroys the machines of the rents, and every one whose label begins with the prefix; closes the rents.

        It ends when two listings of the witness, one after the other, show none of them, or when the patience does.
        """
        begun = self._clock.now()
        quiet = max((_window(rent) for rent in rents), default=0.0)
        cleared = Cleared()
        looks_in_vain = 0
        while True:
            lists = self._lists(rents, prefix)
            left = lists.get(self._witness)
            present = {id_: label for ours in lists.values() for id_, label in ours.items()}
            looks_in_vain = looks_in_vain + 1 if left == {} else 0
            elapsed = self._clock.now() - begun
            if elapsed >= self._patience or (looks_in_vain >= 2 and elapsed >= quiet):
                break
            self._destroy(present, again=cleared.destroyed.keys() & present.keys())
            cleared.destroyed |= present
            # Quick while there is something to do, gentle while a lost create call is waited for.
            self._clock.pause(PAUSE if present or elapsed < 2 else 4 * PAUSE)
        self._close(rents, cleared, left)
        return cleared

    def _lists(self, rents: Sequence[Rent], prefix: str | None) -> dict[str, dict[int, str]]:
        """Our machines, label by id, in the listing of every cloud that answers."""

        def ours(cloud: Cloud) -> dict[int, str]:
            return {
                row.id: row.label or ""
                for row in cloud.instances()
                if (prefix and (row.label or "").startswith(prefix))
                or any(rent.is_of(row.label, row.id) for rent in rents)
            }

        return self._at_once("list its machines", {name: partial(ours, cloud) for name, cloud in self._clouds.items()})

    def _destroy(self, machines: Mapping[int, str], again: Collection[int]) -> None:
        """Asks the product; for machines that survived that, everybody."""
        product, *others = self._clouds.items()
        for name, cloud in (product, *others):
            ids = [id_ for id_ in machines if id_ in again or (name, cloud) == product]
            if ids:
                self._say(f"asking {name} to destroy {', '.join(map(str, ids))}")
                self._at_once(f"let {name} destroy", {str(id_): partial(cloud.destroy, id_) for id_ in ids})

    def _at_once(self, what: str, calls: Mapping[str, Callable[[], T]]) -> dict[str, T]:
        """The answers of the calls that were answered in time. The others are only logged: the next look decides."""
        answers: dict[str, T] = {}

        def call(name: str, function: Callable[[], T]) -> None:
            try:
                answers[name] = function()
            except Exception as error:  # noqa: BLE001 - whatever it is, the guard has to go on
                self._say(f"{name} did not {what}: {type(error).__name__}: {error}")

        # Threads that hang must not keep the process from ending, hence no executor.
        threads = [threading.Thread(target=call, args=item, daemon=True) for item in calls.items()]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + CALL_TIMEOUT
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return answers.copy()

    def _close(self, rents: Sequence[Rent], cleared: Cleared, left: Mapping[int, str] | None) -> None:
        """Writes into the ledger what is proven, and names the rest."""
        for id_, label in (left or {}).items():
            cleared.destroyed.pop(id_, None)
            cleared.unsettled.append(f"machine {id_} ({label or 'no label'}) is still listed by {self._witness}")
        for rent in rents:
            ids = [id_ for id_, label in cleared.destroyed.items() if rent.is_of(label, id_)]
            if left is None:
                cleared.unsettled.append(f"{rent.label} is unknown: {self._witness} did not list its machines")
            elif any(rent.is_of(label, id_) for id_, label in left.items()):
                continue
            elif not ids and rent.target != self._ledger.target:
                cleared.elsewhere.append(rent.label)
            elif ids or rent.instance_id is not None:
                self._ledger.destroyed(rent.intent, f"absent from two listings of {self._witness}, after the run's end")
            else:
                cleared.never_created.append(rent.label)
                self._ledger.never_created(rent.intent, f"not in two listings of {self._witness}, after the run's end")


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
