"""The disk fills up while a cloud is at work: messages say whose it is, and everything can be destroyed at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nightly import nightly_but
from tests.small_disk import MB, run_tests

SCENES = Path(__file__).with_name("full_disk_work_scenes.py")


@pytest.mark.parametrize(
    "scene",
    [
        "nothing_is_rented",
        "destroyed_on_a_disk_without_a_free_byte",
        "the_watchdog",
        *nightly_but(
            "a_snapshot_names",
            [
                "a_snapshot_names",
                "a_suite_that_finds_no_space",
                "stays_destroyed",
                "a_snapshot_that_fills",
                "a_restore_names",
                "the_bucket_names",
                "full_output_directory",
                "full_directory_of_temporary_files",
            ],
        ),
    ],
)
def test_a_disk_that_fills_up(tmp_path: Path, scene: str) -> None:
    run_tests(tmp_path / "disk", 320 * MB, SCENES, "-k", scene)
