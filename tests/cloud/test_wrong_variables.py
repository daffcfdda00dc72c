"""Every variable that a user can set, with a wrong value: nothing is started, and each is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.variables import VARIABLES
from tests.cloud_under_test import PROJECT_DIR
from tests.suites_under_test import SETUP_FAILED, Run

WRONG = {"a wrong type": "not,a;value", "zero": "0", "a negative number": "-1", "a huge number": "9" * 400}
# Zero is a legal amount, and Robot Framework's word for False. A word can be a name or a directory.
LEGAL = {
    "a wrong type": {"GPU", "OTHER_GPU", "MIGRATION_GPU", "REGION", "STRATEGY", "STATE_DIR"},
    "zero": {"BUDGET_USD", "SMALL_FILES", "LARGE_FILE_BYTES", "CROWD_FILES", "CROWD_FILE_BYTES", "REAL", "HEADLESS"},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_values_are_refused_before_anything_starts(tmp_path: Path, what: str) -> None:
    names = [variable.name for variable in VARIABLES if variable.name not in LEGAL.get(what, set())]
    options = [word for name in names for word in ("--variable", f"{name}:{WRONG[what]}")]
    ended = Run(tmp_path, ("--maxerrorlines", "NONE", *options)).to_its_end()
    (message,) = set(ended.failures.values())
    sentences = message.removeprefix(SETUP_FAILED).splitlines()
    assert [sentence.partition(" must be ")[0] for sentence in sorted(sentences)] == sorted(names)
    assert all(sentence.endswith(".") for sentence in sentences)
    assert "Traceback" not in ended.console


def test_a_misspelled_variable_is_warned_of(tmp_path: Path) -> None:
    options = ("--variable", "MAX_PRISE:0.3", "--variable", "TARGET:moon")
    ended = Run(tmp_path, (*options, "--include", "sweep")).to_its_end()
    warning = "[ WARN ] The suites have no variable MAX_PRISE, so it has no effect. Did you mean MAX_PRICE?"
    assert ended.console.count(warning) == 1


# Numbers that Robot Framework, Python or a type of an argument would choke on before the check of variables.
IN_EVERY_SUITE = {
    "LARGE_FILE_MB": "abc",
    "MACHINE_MINUTES": "1e400",
    "MAX_PRICE": "inf",
    "BUDGET_USD": "much",
    "CYCLES": "${None}",
    "DISK_GB": "5 GB",
    "GONE_TIMEOUT": "soon",
    "STATE_DIR": "temp",
}
FILES = sorted(str(path.relative_to(PROJECT_DIR)) for path in PROJECT_DIR.glob("suites/**/[!_]*.robot"))
FOLDERS = sorted({str(Path(file).parent) for file in FILES})


@pytest.mark.parametrize("started", [FILES, FOLDERS], ids=["each file alone", "each folder alone"])
def test_every_suite_refuses_wrong_values(tmp_path: Path, started: list[str]) -> None:
    options = [word for name, value in IN_EVERY_SUITE.items() for word in ("--variable", f"{name}:{value}")]
    ended = Run(tmp_path, tuple(options), paths=tuple(started)).to_its_end()
    assert len(ended.failures) == ended.exit_code > len(started)
    for test, message in ended.failures.items():
        assert message.startswith(SETUP_FAILED), (test, message)
        sentences = message.removeprefix(SETUP_FAILED).splitlines()
        assert sorted(sentence.partition(" must be ")[0] for sentence in sentences) == sorted(IN_EVERY_SUITE), test


def test_a_variable_file_is_checked_too(tmp_path: Path) -> None:
    values = tmp_path / "values.py"
    values.write_text(
        "SMALL_FILES = [3]\nDISK_GB = {'size': 20}\nMAX_PRICE = float('nan')\nCYCLES = None\nHEADLESS = ''\n"
    )
    ended = Run(tmp_path, ("--variablefile", str(values), "--include", "sweep")).to_its_end()
    (message,) = ended.failures.values()
    sentences = message.removeprefix(SETUP_FAILED).splitlines()
    assert sorted(sentence.rpartition("; it is ")[2] for sentence in sentences) == [
        "''.",
        "None.",
        "[3].",
        "nan.",
        "{'size': 20}.",
    ]
