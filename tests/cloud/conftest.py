"""A cloud for the suites, and the market alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.market_under_test import MarketUnderTest, wait_until_none_is_about
from tests.suites_under_test import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    cloud = CloudUnderTest(tmp_path_factory.mktemp("suites") / "cloud")
    cloud.up()
    stage = Stage(cloud)
    yield stage
    stage.close()
    cloud.down()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarketUnderTest]:
    market = MarketUnderTest(tmp_path_factory.mktemp("market"))
    market.start()
    yield market
    market.close()
    wait_until_none_is_about(market.state.machines)
    wait_until_none_is_about(market.state.cpu_machines)
