"""Tests that run on a small disk, where `test_full_disk` starts them."""

from __future__ import annotations

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.small_disk import MB, fill, place
from tests.suites_under_test import Run

FULL = "The disk of the computer that runs the embedded cloud is too full: the file system of "


@pytest.fixture
def cloud() -> CloudUnderTest:
    return CloudUnderTest(place() / "cloud")


def test_up_is_refused_before_anything_is_written(cloud: CloudUnderTest) -> None:
    fill(place(), leave=100 * MB)
    done = cloud.run("up", "--detach")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"{FULL}{cloud.state_dir} has ")
    assert "256.0 MB needed to start a cloud. Free space there, or give another directory (--state-dir" in done.stderr
    assert not cloud.state_dir.exists()


def test_a_suite_names_the_disk_on_which_its_cloud_does_not_start(cloud: CloudUnderTest) -> None:
    fill(place(), leave=100 * MB)
    results = place() / "results"
    ended = Run(results, ("--include", "smoke", "--variable", f"STATE_DIR:{cloud.state_dir}")).to_its_end()
    assert ended.failures
    for message in ended.failures.values():
        assert f"{FULL}{cloud.state_dir} has " in message
    assert "WEATHER" not in ended.console
