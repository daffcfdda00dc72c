"""A full disk under the state directory: messages name it, nothing new is rented, and everything can be destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_disk import MB, run_tests

SCENES = Path(__file__).with_name("full_disk_scenes.py")


@pytest.mark.parametrize("scene", ["up_is_refused", "a_suite_names"])
def test_no_cloud_starts_on_a_full_disk(tmp_path: Path, scene: str) -> None:
    run_tests(tmp_path / "disk", 300 * MB, SCENES, "-k", scene)


@pytest.mark.nightly
def test_a_disk_fills_up_during_a_run(tmp_path: Path) -> None:
    run_tests(tmp_path / "disk", 320 * MB, SCENES, "-k", "a_run_whose")
