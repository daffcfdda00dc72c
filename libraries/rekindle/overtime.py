"""Machines that live longer than the run has reserved money for: the guard destroys them while the run goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rekindle.clearing import Clearing, of
from rekindle.errors import RekindleError
from rekindle.ledger import Ledger, Rent

# Between two tries to destroy the same machines, seconds.
AGAIN_AFTER = 60.0
OUTLIVED = "when the minutes that were reserved for it were over"


class Overtime:
    """Looks at the ledger of a run again and again, and ends what is due.

    No clock that can be set is asked: the ledger counts the computer's uptime, and from the first look at a rent on
    time is monotonic.
    """

    def __init__(
        self,
        clearing: Clearing,
        ledger: Ledger,
        run_id: str,
        say: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clearing = clearing
        self._ledger = ledger
        self._run_id = run_id
        self._say = say
        self._now = now
        self._began: dict[int, float] = {}
        self._not_before: dict[int, float] = {}
        self._work: threading.Thread | None = None

    def look(self) -> None:
        """Begins to destroy what is due, unless that goes on already. Returns at once."""
        if self._work and self._work.is_alive():
            return
        try:
            rents = self._ledger.open_rents(self._run_id)
        except RekindleError as error:
            self._say(f"cannot look for machines that are due: {error}")
            return
        now = self._now()
        due = [rent for rent in rents if self._is_due(rent, now) and self._not_before.get(rent.intent, now) <= now]
        if due:
            self._not_before |= {rent.intent: now + AGAIN_AFTER for rent in due}
            self._work = threading.Thread(target=self._end, args=(due, rents), daemon=True)
            self._work.start()

    def _is_due(self, rent: Rent, now: float) -> bool:
        return now - self._began.setdefault(rent.intent, now - rent.seconds_since_intent()) > rent.minutes * 60

    def _end(self, due: Sequence[Rent], rents: Sequence[Rent]) -> None:
        """Where all rents of a label are due, everything that carries it; else only the very machines."""
        intents = {rent.intent for rent in due}
        labels = {rent.label for rent in rents if rent.intent not in intents}
        whole = of([rent for rent in due if rent.label not in labels])
        single = {(rent.label, rent.instance_id) for rent in due}
        self._say(f"due: {', '.join(sorted({rent.label or 'a machine without a label' for rent in due}))}")
        cleared = self._clearing.clear(
            # What has not come yet may come after all: its intent stays open.
            [rent for rent in due if rent.instance_id is not None],
            lambda label, id_: whole(label, id_) or (label or "", id_) in single,
            when=OUTLIVED,
        )
        self._say(str(cleared))


def outlived(ledger: Ledger, run_id: str) -> list[Rent]:
    """The rents of a run that were ended because they were due."""
    return [rent for rent in ledger.rents(run_id) if OUTLIVED in (rent.proof or "")]
