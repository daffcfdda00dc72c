"""Names of GPUs: a misspelled name is the user's mistake; a GPU that is sold out is not."""

from __future__ import annotations

import pytest

from rekindle.errors import Misconfigured
from rekindle.gpu_catalogue import KNOWN, reject_unknown


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("RTX4090", "RTX 4090"),
        ("rtx 4090", "RTX 4090"),
        ("RTX_4090", "RTX 4090"),
        ("H100-SXM", "H100 SXM"),
        ("X900", "X9000"),
    ],
)
def test_a_misspelled_name_is_refused_with_similar_ones(name: str, similar: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        reject_unknown(name, ["X9000"], called="GPU", example="GPU:RTX 4090")
    message = str(refused.value)
    assert message.startswith(
        "GPU must be the name of a GPU as the market spells it, such as GPU:RTX 4090; no market knows "
        f"{name!r}. Similar names: "
    )
    assert similar in message.partition("Similar names: ")[2]


def test_a_name_that_resembles_none_is_refused() -> None:
    with pytest.raises(Misconfigured, match=r"no market knows 'toaster'\.$"):
        reject_unknown("toaster", [], called="GPU", example="GPU:RTX 4090")


@pytest.mark.parametrize("name", [*sorted(KNOWN), "X9000"])
def test_a_name_that_is_known_or_listed_passes(name: str) -> None:
    reject_unknown(name, ["X9000"], called="GPU", example="GPU:RTX 4090")
