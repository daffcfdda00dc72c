"""The suites as their users start them: on a live target that is the embedded cloud, with wrong input, interrupted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from robot.api import ExecutionResult

PROJECT = Path(__file__).resolve().parents[2]


def run_robot(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs `robot` on the suites, with an environment that holds no credential but the given ones."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "robot", "--outputdir", str(folder), *options, "suites"],
        cwd=PROJECT,
        env=plain | dict(environment or {}),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def messages(folder: Path) -> list[str]:
    """The message of every test of a run."""
    result = ExecutionResult(str(folder / "output.xml"))
    return [test.message for test in result.suite.all_tests]
