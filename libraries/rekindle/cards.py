"""The cards of our machines on the product's page, compared with what its API lists. Those of others come and go."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from rekindle.dumont_views import InstanceView

# The page tells a price as the API does.
EXACT = 1e-6

# What a person reads of it, in Brazilian form: "US$ 1.234,56/h" and "12,3 s".
PRICE = re.compile(r"US\$\s?([\d.]+),(\d{2,})/h")
SECONDS = re.compile(r"([\d.]+)(?:,(\d+))?\s?s")

# What the page calls the states of the API. While the product works on a machine it names the work instead.
STATES = {
    "running": "Online",
    "loading": "Inicializando",
    "created": "Criando",
    "exited": "Parada",
    "stopped": "Parada",
    "offline": "Offline",
}

_NUMBER_OF_GPUS = re.compile(r"^\d+ \W ")


@dataclass(frozen=True)
class Card:
    """One card as it is on the page.

    `price` in USD an hour, None where it shows none, and `priced` what a person reads of that; `state` is in the page's
    own words.
    """

    id: int
    label: str
    gpu: str
    price: float | None
    state: str
    priced: str

    @classmethod
    def read(cls, seen: Mapping[str, Any]) -> Self:
        """What a browser has found. Where a machine has several GPUs, their number stands before the model."""
        model = _NUMBER_OF_GPUS.sub("", str(seen["gpu"]))
        price = float(seen["price"]) if seen["price"] else None
        return cls(int(seen["id"]), str(seen["label"]), model, price, str(seen["state"]), str(seen["priced"]))


@dataclass(frozen=True)
class Ours:
    """What makes a machine ours.

    Attributes:
        living: ids of machines that we have, and that must be listed.
        ended: ids of machines that we had.
        prefix: what every label of this run begins with.
    """

    living: frozenset[int]
    ended: frozenset[int]
    prefix: str

    def has(self, id_: int, label: str | None) -> bool:
        """Whether a machine or its card is one of them."""
        return id_ in self.living | self.ended or (label or "").startswith(self.prefix)


@dataclass(frozen=True)
class Compared:
    """How many machines of ours were compared, and what was found to be wrong, in words."""

    machines: int
    wrong: tuple[str, ...]


def reads(text: str, form: re.Pattern[str], value: float) -> bool:
    """Whether a person reads this number in the text, as exactly as its digits tell it.

    Args:
        text: on the page.
        form: `PRICE` or `SECONDS`.
        value: the number.
    """
    found = form.fullmatch(text.strip())
    if found is None:
        return False
    digits = found[2] or ""
    shown = float(f"{found[1].replace('.', '')}.{digits or 0}")
    return abs(shown - value) <= 0.5 * 10.0 ** -len(digits) + EXACT


def compare(ours: Ours, rows: Sequence[InstanceView], cards: Sequence[Card]) -> Compared:
    """Each machine of ours has one card, which says what the API says; and no card of ours is left over.

    Args:
        ours: which machines count.
        rows: what the API lists.
        cards: all that are on the page.
    """
    listed = {row.id: row for row in rows if ours.has(row.id, row.label)}
    shown = {card.id: card for card in cards if ours.has(card.id, card.label)}
    wrong = [f"the API does not list machine {id_}, which is ours" for id_ in sorted(ours.living - listed.keys())]
    wrong += [f"machine {id_} has no card" for id_ in listed if id_ not in shown]
    many = Counter(card.id for card in cards if card.id in shown)
    wrong += [f"machine {id_} has {times} cards" for id_, times in many.items() if times > 1]
    for id_, card in shown.items():
        if id_ in listed:
            wrong += _differences(listed[id_], card)
        # A machine that sleeps in a snapshot has a card without a price.
        elif card.price is not None:
            wrong.append(f"there is a card of machine {id_}, which the API does not list")
    return Compared(len(listed), tuple(wrong))


def _differences(row: InstanceView, card: Card) -> list[str]:
    told = {"label": (row.label or f"Máquina {row.id}", card.label), "GPU": (row.gpu_name, card.gpu)}
    wrong = [
        f"machine {row.id}: {what} {expected!r} is shown as {seen!r}"
        for what, (expected, seen) in told.items()
        if expected != seen
    ]
    if card.state in STATES.values() and card.state != STATES.get(row.actual_status or ""):
        wrong.append(f"machine {row.id}: it is {row.actual_status or 'in no known state'}, and shown as {card.state!r}")
    if card.price is None or abs(card.price - row.dph_total) > EXACT:
        wrong.append(f"machine {row.id}: ${row.dph_total}/h is shown as {card.price}")
    elif not reads(card.priced, PRICE, row.dph_total):
        wrong.append(f"machine {row.id}: ${row.dph_total}/h is shown to people as {card.priced!r}")
    return wrong
