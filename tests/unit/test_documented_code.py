"""Code in the keyword documentation is complete: Robot Framework finds its keywords, and their arguments fit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from documented_attributes import LIBRARIES, PROJECT

IMPORTS = "*** Settings ***\n" + "".join(f"Library    {library.stem}\n" for library in LIBRARIES)


def blocks() -> Iterator[tuple[str, str]]:
    for page in [*LIBRARIES, PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]:
        for indent, code in re.findall(
            r"^( *)```robotframework\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            yield page.name, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)


def dry_run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "documented.robot").write_text(code if "*** Settings ***" in code else f"{IMPORTS}\n{code}")
    options = ["--dryrun", "--output", "NONE", "--log", "NONE", "--report", "NONE", "--outputdir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "robot", *options, str(folder / "documented.robot")],
        cwd=PROJECT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_there_is_documented_code() -> None:
    assert {"CostLibrary.py", "FailoverLibrary.py"} <= {place for place, _ in blocks()}


@pytest.mark.parametrize(("place", "code"), sorted(blocks()))
def test_documented_code_is_complete(tmp_path: Path, place: str, code: str) -> None:
    done = dry_run(tmp_path, code)
    assert done.returncode == 0, f"{place}: {done.stdout}{done.stderr}"


def test_a_keyword_that_does_not_exist_is_found(tmp_path: Path) -> None:
    done = dry_run(tmp_path, "*** Test Cases ***\nA\n    Rent Machines\n")
    assert "No keyword with name 'Rent Machines' found." in done.stdout
