"""A cloud for the suites."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.suites_under_test import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    cloud = CloudUnderTest(tmp_path_factory.mktemp("suites") / "cloud")
    cloud.up()
    stage = Stage(cloud)
    yield stage
    stage.close()
    cloud.down()
