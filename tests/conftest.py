"""What several tests need: one cloud for all tests that only use it, or one for each that breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud_under_test import CloudUnderTest

# What none of the cloud's parts may inherit from the person who starts it.
CANARIES = {"AWS_SECRET_ACCESS_KEY": "canary", "VAST_API_KEY": "canary", "PYTHONPATH": "/canary"}


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudUnderTest]:
    """A cloud that is up, for tests that leave nothing rented in it."""
    shared = CloudUnderTest(tmp_path_factory.mktemp("cloud"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CANARIES.items():
            patch.setenv(name, value)
        shared.up()
    yield shared
    shared.down()


@pytest.fixture
def own_cloud(tmp_path: Path) -> Iterator[CloudUnderTest]:
    """A cloud for one test, which may start, break and stop it. It is not up yet."""
    own = CloudUnderTest(tmp_path / "cloud")
    yield own
    own.run("down")
