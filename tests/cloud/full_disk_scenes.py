"""Tests that run on a small disk, where `test_full_disk` starts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud_under_test import CloudUnderTest
from tests.small_disk import FILLING, MB, fill, place
from tests.suites_under_test import Ended, Run, Stage, ended

FULL = "The disk of the computer that runs the embedded cloud is too full: the file system of "
STEPWISE = ("--test", "Machine Is Hibernated Step By Step")


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
    done = Run(results, ("--include", "smoke", "--variable", f"STATE_DIR:{cloud.state_dir}")).to_its_end()
    assert done.failures
    for message in done.failures.values():
        assert f"{FULL}{cloud.state_dir} has " in message
    assert "WEATHER" not in done.console


@pytest.fixture
def stage(cloud: CloudUnderTest) -> Iterator[Stage]:
    cloud.up()
    stage = Stage(cloud)
    yield stage
    stage.close()
    cloud.down()
    (place() / FILLING).unlink()


def fill_at(step: int, run: Run) -> Ended:
    """Run a suite, and fill the disk when a step begins."""
    console = ""
    with run.start() as process:
        assert process.stdout
        for line in process.stdout:
            console += line
            if f"[{step}/5]" in line:
                fill(place())
    return ended(run.folder, process.returncode, console)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
def test_a_run_whose_disk_fills_up_names_it_and_leaves_no_machine(stage: Stage, tmp_path: Path, step: int) -> None:
    done = fill_at(step, stage.sandbox(tmp_path / "results", *STEPWISE))
    if step < 5:  # destroying needs no space
        (message,) = done.failures.values()
        assert message.startswith("UNKNOWN: ")
        assert f"{FULL}{stage.cloud.state_dir} has " in message
    assert "WEATHER" not in done.console
    assert "Traceback" not in done.console
    assert stage.rented() == {}
