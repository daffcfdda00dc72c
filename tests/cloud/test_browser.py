"""A browser that dies, a proxy of the user, a long TMPDIR: all in one run, as starting browsers takes long."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.nightly import nightly_but
from tests.recording_proxy import RecordingProxy
from tests.suites_under_test import Run, Stage

# Keywords wait for an hour: a browser that is not noticed lets the run exceed its time.
PATIENT = ("--variable", "PAGE_TIMEOUT:1h")
WHAT = r"(The browser \(process \d+\)|The program that drives the browser \(node\))"
DIED = rf"UNKNOWN: {WHAT} ended during the test, so the page cannot be checked any more: run it again\."


@pytest.mark.parametrize(
    "case", nightly_but(("--exclude", "long", 2), [("--exclude", "long", 2), ("--include", "long", 3)])
)
def test_a_browser_that_dies_is_noticed_at_once(stage: Stage, tmp_path: Path, case: tuple[str, str, int]) -> None:
    *chosen, dying = case
    long = tmp_path / ("x" * 150)
    long.mkdir()
    with RecordingProxy() as proxy:
        run = stage.sandbox(tmp_path / "results", *PATIENT, *map(str, chosen))
        ended = Run(run.folder, run.options, proxy.environment | {"TMPDIR": str(long)}, (
            "tests/cloud/browser_suites/dying.robot",
        )).to_its_end()  # fmt: skip
    assert proxy.requests == []
    assert len(ended.failures) == dying, ended.console
    for message in ended.failures.values():
        assert re.fullmatch(DIED, message), message
    assert ended.console.count("TORN DOWN") >= dying
    assert stage.rented() == {}
    assert list(long.iterdir()) == []
