"""No credential of a cloud is to be found in anything that its processes show and its runs leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.secrets.hunt import QUICK, hunt


@pytest.mark.nightly
def test_no_canary_is_heard(tmp_path: Path) -> None:
    told = hunt(tmp_path, QUICK)
    assert told.passed, str(told)
