"""Names of GPUs: tell a name that no market knows from a GPU that is merely not on offer now."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from rekindle.errors import Misconfigured
from rekindle.wording import in_words

SIMILAR = 3  # names that a message suggests
RESEMBLES = 0.5  # similarity from which a name is suggested

# Models that Vast.ai rents, in its own spelling: known even where the market is not a witness and has none now.
KNOWN = frozenset({
    "A10", "A40", "A100 PCIE", "A100 SXM4", "B200", "GTX 1070", "GTX 1080", "GTX 1080 Ti", "GTX 1660 S", "H100 NVL",
    "H100 PCIE", "H100 SXM", "H200", "L4", "L40", "L40S", "Q RTX 6000", "Q RTX 8000", "RTX 2060", "RTX 2070",
    "RTX 2080", "RTX 2080 Ti", "RTX 3060", "RTX 3060 Ti", "RTX 3070", "RTX 3070 Ti", "RTX 3080", "RTX 3080 Ti",
    "RTX 3090", "RTX 3090 Ti", "RTX 4000Ada", "RTX 4060", "RTX 4060 Ti", "RTX 4070", "RTX 4070 Ti", "RTX 4070S",
    "RTX 4070S Ti", "RTX 4080", "RTX 4080S", "RTX 4090", "RTX 4090D", "RTX 4500Ada", "RTX 5000Ada", "RTX 5060",
    "RTX 5060 Ti", "RTX 5070", "RTX 5070 Ti", "RTX 5080", "RTX 5090", "RTX 6000Ada", "RTX A2000", "RTX A4000",
    "RTX A4500", "RTX A5000", "RTX A6000", "Tesla P100", "Tesla T4", "Tesla V100",
})  # fmt: skip


def reject_unknown(name: str, listed: Iterable[str], *, called: str, example: str) -> None:
    """Reject a GPU name that is neither known nor listed by a market.

    Args:
        name: as the user gave it.
        listed: names that the market or the product lists.
        called: the variable or argument, for the message.
        example: a legal value of it, as it is typed.

    Raises:
        Misconfigured: no market knows the name; suggests similar ones.
    """
    names = KNOWN | set(listed)
    if name not in names:
        near = _similar(name, names)
        advice = f" Similar names: {in_words(near)}." if near else ""
        raise Misconfigured(
            f"{called} must be the name of a GPU as the market spells it, such as {example}; no market knows "
            f"{name!r}.{advice}"
        )


def _similar(name: str, names: Collection[str]) -> list[str]:
    by_bare_name = {_bare(known): known for known in sorted(names)}
    return [by_bare_name[bare] for bare in get_close_matches(_bare(name), by_bare_name, SIMILAR, RESEMBLES)]


def _bare(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
