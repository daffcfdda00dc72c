"""A cloud on a computer where machines cannot run: it does not start, and every command says why."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.isolation_under_test import NO_SPACE, UID_MAP, fake_bwrap, without_namespaces
from tests.suites_under_test import Run

FIRST = "The embedded cloud cannot run machines as "


@pytest.fixture
def search_path(tmp_path: Path) -> str:
    """A PATH on which bwrap fails."""
    folder = tmp_path / "bin"
    fake_bwrap(folder, UID_MAP)
    return f"{folder}:{os.environ['PATH']}"


def test_up_is_refused_before_anything_starts(
    tmp_path: Path, search_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", search_path)
    done = CloudUnderTest(tmp_path / "cloud").run("up", "--detach")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(FIRST)
    assert f"\nIts last words: {UID_MAP}\n" in done.stderr
    assert not (tmp_path / "cloud").exists()


def test_up_is_refused_where_the_kernel_forbids_namespaces(tmp_path: Path) -> None:
    command = without_namespaces(*CloudUnderTest(tmp_path / "cloud").command("up", "--detach"))
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{FIRST}user 65534: the kernel setting user.max_user_namespaces is 0.\n")
    assert f"\nIts last words: {NO_SPACE}\n" in done.stderr
    assert not (tmp_path / "cloud").exists()


def test_suites_fail_with_the_cause_and_not_with_weather(tmp_path: Path, search_path: str) -> None:
    options = ("--include", "phase3", "--variable", f"STATE_DIR:{tmp_path / 'cloud'}")
    ended = Run(tmp_path / "results", options, {"PATH": search_path}).to_its_end()
    assert ended.exit_code == len(ended.failures) > 0
    for message in ended.failures.values():
        assert f"`python -m sandbox up` was refused: {FIRST}" in message
        assert UID_MAP in message
    assert "WEATHER" not in ended.console
    assert "Traceback" not in ended.console
