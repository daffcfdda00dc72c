"""An older Robot Framework is refused in one sentence, by every keyword library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from library_parts.robot_version import NEEDED, RobotTooOld, require
from tests.cloud_under_test import PROJECT_DIR

LIBRARIES = sorted(path.stem for path in (PROJECT_DIR / "libraries").glob("*Library.py"))
IMPORT_EVERY = """
import importlib.metadata, sys
importlib.metadata.version = lambda name: {"robotframework": "7.4.2"}[name]
for library in sys.argv[1:]:
    try:
        importlib.import_module(library)
    except ImportError as error:
        print(error)
"""
REFUSED = "Rekindle needs Robot Framework 7.5 or newer, and this environment has {}: pip install 'robotframework>=7.5'"


@pytest.mark.parametrize("installed", ["7.4.2", "7.4", "6.1.1", "3.2.2", "7.0"])
def test_an_older_version_is_refused(installed: str) -> None:
    with pytest.raises(RobotTooOld) as raised:
        require(installed)
    assert str(raised.value) == REFUSED.format(installed)


@pytest.mark.parametrize("installed", ["7.5", "7.5.1", "7.5rc1", "7.10", "8.0", "10.0.dev1"])
def test_this_version_and_newer_ones_pass(installed: str) -> None:
    require(installed)


def test_it_is_the_version_of_the_requirements() -> None:
    (needed,) = re.findall(
        r"^robotframework ~= ([\d.]+)$", (PROJECT_DIR / "requirements.txt").read_text(), re.MULTILINE
    )
    assert needed == ".".join(map(str, NEEDED))


def test_every_library_refuses_an_older_version(tmp_path: Path) -> None:
    """In place of an AttributeError from somewhere inside."""
    (tmp_path / "every.py").write_text(IMPORT_EVERY)
    path = os.pathsep.join(str(folder) for folder in (PROJECT_DIR / "libraries", PROJECT_DIR))
    done = subprocess.run(
        [sys.executable, tmp_path / "every.py", *LIBRARIES], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [REFUSED.format("7.4.2")] * len(LIBRARIES), done.stderr
