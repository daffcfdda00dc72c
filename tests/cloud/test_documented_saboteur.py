"""The saboteur in docs/sabotage.md does what the page promises: copied as it stands, run as the page says, detected."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from pathlib import Path

import pytest

from tests.cloud_under_test import PROJECT_DIR
from tests.detection import __main__ as detection


def test_the_documented_saboteur_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only the folder of the results differs: those of a real experiment must not be overwritten."""
    page = (PROJECT_DIR / "docs" / "sabotage.md").read_text()
    section = page[page.index("## A saboteur of your own") :]
    [file] = re.findall(r"Save this as\s+`([^`]+)`", section)
    [code] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    [command] = re.findall(r"^\$ python -m tests\.detection (.*--suite.*)$", section, re.MULTILINE)
    [promised] = re.findall(r"The last line starts with\s+`([^`]+)`", section)
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(code)
    folder = str(Path(file).parent)
    arguments = [str(tmp_path / word) if word == folder else word for word in shlex.split(command)]
    monkeypatch.setattr(detection, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["python -m tests.detection", *arguments])

    before = signal.getsignal(signal.SIGTERM)
    try:
        exit_code = detection.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    out, err = capfd.readouterr()
    assert (exit_code, err) == (0, ""), out
    assert out.splitlines()[-1].startswith(promised), out
    assert (tmp_path / "results" / "detection.html").exists()
