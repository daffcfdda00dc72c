"""Which cases of a test run every day, and which only by night."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import pytest

T = TypeVar("T")


def nightly_but(everyday: T, cases: Iterable[T]) -> list[Any]:
    """All cases for `parametrize`; but for the everyday one they are marked `nightly`."""
    return [case if case == everyday else pytest.param(case, marks=pytest.mark.nightly) for case in cases]
