"""Saboteurs as files, and how a run against one is judged."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sandbox.sabotage.saboteur import OWN, Saboteur, Unusable, load, saboteur, saboteurs
from sandbox.sabotage.scene import Scene
from tests.cloud_under_test import PROJECT_DIR
from tests.detection import table
from tests.detection.__main__ import EVERY_DAY
from tests.detection.trials import Outcome, Trial, Verdict, first_failure, judge

GOOD = '''"""Flattens modes."""
SEEN = "somewhere"
RULE = "modes are compared"
NOTICED = r"mode \\d+"
SUITES = ("wake_hibernation",)
def sabotage(scene): ...
'''
FLATTENED = "changed a (mode 0600 expected, 0644 seen)"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    file = tmp_path / "flat_modes.py"
    file.write_text(GOOD)
    return file


# What a file must say of itself


def test_a_saboteur_says_what_it_breaks(flat: Path) -> None:
    one = load(flat)
    assert (one.name, one.breaks, one.seen, one.rule) == ("flat_modes", "Flattens modes.", "somewhere", one.rule)
    assert one.noticed.search(FLATTENED)
    assert one.suites == ("wake_hibernation",)


@pytest.mark.parametrize(
    ("instead_of", "comes", "says"),
    [
        ('"""Flattens modes."""', "", "lacks: a docstring with one sentence on what it breaks"),
        ('RULE = "modes are compared"', "", "lacks: RULE"),
        ('"somewhere"', '" "', "empty or of a wrong kind: SEEN"),
        ('("wake_hibernation",)', '"wake_hibernation"', r"SUITES \(names of suites, in a tuple\)"),
        ("def sabotage(scene): ...", "sabotage = 1", r"sabotage \(a function that takes the scene\)"),
        (r'r"mode \d+"', 'r"mode ("', "NOTICED is not a regular expression: "),
        ("SEEN =", "SEEN", "cannot be loaded: SyntaxError: "),
        ('"""Flattens modes."""', "import nothing_of_that_name", "cannot be loaded: ModuleNotFoundError: "),
    ],
)
def test_a_file_that_is_no_saboteur_is_refused(flat: Path, instead_of: str, comes: str, says: str) -> None:
    flat.write_text(GOOD.replace(instead_of, comes))
    with pytest.raises(Unusable, match=says) as raised:
        load(flat)
    assert str(flat) in str(raised.value)


def test_saboteurs_are_found_by_name_in_every_folder_and_by_path(flat: Path) -> None:
    assert saboteur("flat_modes", [OWN, flat.parent]).name == "flat_modes"
    assert saboteur(str(flat)).name == "flat_modes"
    with pytest.raises(Unusable, match=r"There is no saboteur 'nobody'\. There are: .*restore_drops_a_file"):
        saboteur("nobody")
    with pytest.raises(Unusable, match=r"There is no file .*nobody\.py\."):
        saboteur(str(flat.parent / "nobody.py"))


def test_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="There is no saboteur in "):
        saboteurs(tmp_path)
    with pytest.raises(Unusable, match="There is no folder "):
        saboteurs(tmp_path / "nowhere")


def test_those_that_come_along_name_suites_that_there_are() -> None:
    suites = {file.stem for file in (PROJECT_DIR / "suites").rglob("*.robot")}
    ours = {one.name: one for one in saboteurs(OWN)}
    assert len(ours) >= 30
    for one in ours.values():
        assert set(one.suites) <= suites, one.name
    for name, suite in EVERY_DAY.items():
        assert suite in ours[name].suites


def test_the_one_in_the_documentation_is_one(tmp_path: Path) -> None:
    page = (PROJECT_DIR / "docs" / "sabotage.md").read_text()
    example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "flat_modes.py").write_text(example[0])
    assert load(tmp_path / "flat_modes.py").noticed.search(FLATTENED)


def test_the_documentation_names_what_a_scene_has() -> None:
    page = (PROJECT_DIR / "docs" / "sabotage.md").read_text()
    rows = re.findall(r"^\| (`.*`) \| ", page[page.index("| of the scene |") :], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)", row)]
    assert "machine_dir" in names
    assert [name for name in names if not hasattr(Scene, name)] == []


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["nobody"], 2, "There is no saboteur 'nobody'."),
        (["pack_rots", "--state-dir", "{}/none"], 1, "none is not up. Start it: "),
    ],
)
def test_the_command_line_says_what_is_amiss(tmp_path: Path, words: Sequence[str], code: int, says: str) -> None:
    command = [sys.executable, "-m", "sandbox.sabotage", *(word.format(tmp_path) for word in words)]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


# How a run is judged


@pytest.mark.parametrize(
    ("message", "acts", "verdict"),
    [
        (FLATTENED, ["did"], "detected"),
        ("UNKNOWN: nobody answers", ["did"], "wrong reason"),
        (None, ["did"], "missed"),
        (FLATTENED, [], "not touched"),
        (None, [], "not touched"),
    ],
)
def test_only_the_intended_check_counts(flat: Path, message: str | None, acts: list[str], verdict: Verdict) -> None:
    assert judge(load(flat), message, acts) == verdict


def test_a_saboteur_without_the_privileges_to_act_is_not_touched(flat: Path) -> None:
    one, obstacle = load(flat), "only root can create files of other users"
    assert judge(one, None, [], obstacle) == "not touched"
    assert judge(one, FLATTENED, [], obstacle) == "false alarm"  # the cloud was honest
    trial = Trial("wake_hibernation", one)
    assert Outcome(trial, "not touched", 1.0, obstacle=obstacle).as_wanted
    assert not Outcome(trial, "not touched", 1.0).as_wanted
    assert not Outcome(trial, "false alarm", 1.0, "differs", obstacle=obstacle).as_wanted


def test_an_honest_run_must_pass() -> None:
    assert judge(None, None, []) == "passed"
    assert judge(None, "differs", []) == "false alarm"


LATE = "*** Settings ***\nSuite Teardown    Fail    late\n*** Test Cases ***\nA\n    {}\n"


def robot(tmp_path: Path, suite: str) -> Path:
    (tmp_path / "a.robot").write_text(suite)
    command = [sys.executable, "-m", "robot", "--log", "NONE", "--report", "NONE", "--outputdir", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "a.robot")], capture_output=True, check=False)
    return tmp_path / "output.xml"


@pytest.mark.parametrize(
    ("suite", "first"),
    [
        ("*** Test Cases ***\nA\n    No Operation\n", None),
        ("*** Test Cases ***\nA\n    No Operation\nB\n    Fail    b\nC\n    Fail    c\n", "b"),
        ("*** Test Cases ***\nA\n    Fail    first\n    [Teardown]    Fail    second\n", "first"),
        ("*** Settings ***\nSuite Setup    Fail    setup\n*** Test Cases ***\nA\n    No Operation\n", "setup"),
        (LATE.format("No Operation"), "late"),
        (LATE.format("Set Test Message    all well"), "late"),
        (LATE.format("Fail    first"), "first"),
        (
            "*** Test Cases ***\nA\n    Run Keyword And Continue On Failure    Fail    one\n    Fail    two\n",
            "one",
        ),
    ],
)
def test_the_first_failing_check_is_found(tmp_path: Path, suite: str, first: str | None) -> None:
    assert first_failure(robot(tmp_path, suite)) == first


def test_a_run_without_tests_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "output.xml").write_text('<robot><suite name="a"></suite></robot>')
    with pytest.raises(ValueError, match="no test was run"):
        first_failure(tmp_path / "output.xml")


# The table


def outcomes(one: Saboteur, *verdicts: Verdict) -> list[Outcome]:
    return [Outcome(Trial("wake_hibernation", one), verdict, 1.0) for verdict in verdicts]


def test_three_of_three_or_it_was_not_detected(flat: Path, tmp_path: Path) -> None:
    sure = load(flat)
    unsure = dataclasses.replace(sure, name="unsure", breaks="<script>")
    honest = [Outcome(Trial("wake_hibernation"), "passed", 1.0), Outcome(Trial("many_files"), "false alarm", 1.0, "x")]
    all_runs = (
        outcomes(sure, "detected", "detected", "detected") + outcomes(unsure, "detected", "missed", "detected") + honest
    )
    finding = table.found([sure, unsure], all_runs, 9.0)
    assert (finding["saboteurs"], finding["detected"]) == (2, 1)
    assert (finding["honest_runs"], finding["false_alarms"]) == (2, 1)
    table.write(tmp_path, finding)
    page = (tmp_path / "detection.html").read_text()
    assert "1 of 2 saboteurs detected, 1 false alarms in 2 honest runs" in page
    assert 'wake_hibernation: <span class="good">detected 3 of 3</span> (1 to 1 s)' in page
    assert 'wake_hibernation: <span class="good">detected 2 of 3</span> (1 to 1 s)' in page
    assert 'wake_hibernation: <span class="bad">missed in run 1</span> (1 s)' in page
    assert 'many_files: <span class="bad">false alarm in run 1</span> (1 s)<small>x</small>' in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_the_table_keeps_what_could_not_act_apart(flat: Path) -> None:
    """Not detected, not missed: the account has no means to tell this lie."""
    flat_modes = load(flat)
    unable = dataclasses.replace(flat_modes, name="unable")
    idle = dataclasses.replace(flat_modes, name="idle")
    obstacle = "only root can create files of other users"
    runs = [
        *outcomes(flat_modes, "detected"),
        Outcome(Trial("wake_hibernation", unable), "not touched", 1.0, obstacle=obstacle),
        *outcomes(idle, "not touched"),
    ]
    finding = table.found([flat_modes, unable, idle], runs, 9.0)
    assert (finding["saboteurs"], finding["detected"], finding["not_touched"]) == (3, 1, 1)
    page = table.page(finding)
    assert "1 of 3 saboteurs detected, 1 not touched for lack of privileges, 0 false alarms" in page
    assert f'<span class="open">not touched in run 1</span> (1 s)<small>{obstacle}</small>' in page
    assert '<span class="bad">not touched in run 1</span> (1 s)</ul>' in page
