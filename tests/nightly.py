"""Which cases of a test run every day, and which only by night."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def nightly_but(everyday: str, cases: Iterable[str]) -> list[Any]:
    """All cases for `parametrize`; but for the everyday one they are marked `nightly`."""
    return [case if case == everyday else pytest.param(case, marks=pytest.mark.nightly) for case in cases]
