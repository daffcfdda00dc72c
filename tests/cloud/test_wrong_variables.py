"""Every variable that a user can set, with a wrong value: nothing is started, and each is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekindle.variables import VARIABLES
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
