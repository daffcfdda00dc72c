"""Variables that users set: each is declared once, and a wrong value is refused in one sentence.

The tests are generated from the declaration: a new variable is tested without another line here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from robot.api.parsing import get_model, get_resource_model

from library_parts.given import seconds_of
from rekindle.errors import Misconfigured
from rekindle.value_kinds import Choice, Duration, File, Number, Switch
from rekindle.variable import Variable
from rekindle.variable_checks import check, check_argument, warnings
from rekindle.variable_reference import reference
from rekindle.variables import BY_NAME, VARIABLES, defaults

PROJECT = Path(__file__).resolve().parents[2]

WRONG: dict[str, object] = {
    "a wrong type": ["abc"],
    "an empty text": "",
    "blanks": "  ",
    "zero": "0",
    "the number zero": 0,
    "a negative number": "-1",
    "a huge number": "1" + "0" * 400,
    "a number with an exponent": "1e400",
    "no number": "nan",
    "infinity": "inf",
    "two lines": "1\n2",
}
NUMBERS: dict[str, object] = {
    "a word": "abc",
    "a decimal comma": "0,5",
    "a thousands separator": "1_000",
    "digits of another script": "٣",
    "a boolean": True,
    "a unit": "5 GB",
    "nothing": None,
}
# What is legal although it is in the lists above, and why.
LEGAL = {
    ("BUDGET_USD", "zero"): "nothing can be rented, as for a sweep",
    ("BUDGET_USD", "nothing"): "not set: a live target then refuses to start",
    ("SMALL_FILES", "zero"): "text files, hidden files and odd names are created anyway",
    ("CROWD_FILES", "zero"): "the same",
    ("LARGE_FILE_BYTES", "zero"): "an empty file",
    ("CROWD_FILE_BYTES", "zero"): "the same",
    ("DECLINED_WITNESSES", "an empty text"): "none is declined",
    ("DECLINED_WITNESSES", "blanks"): "none is declined",
    ("HEADLESS", "zero"): "Robot Framework's word for False",
    ("REAL", "zero"): "the same",
}
# Names of hardware, regions and files may be any word.
WORDS = {"no number", "infinity", "a number with an exponent"}
NAMES = {"GPU", "OTHER_GPU", "MIGRATION_GPU", "REGION", "STRATEGY", "STATE_DIR"}


def wrong_values() -> list[tuple[Variable, str, object]]:
    """Every variable with every value that must be refused."""
    cases = []
    for variable in VARIABLES:
        values = WRONG | (NUMBERS if isinstance(variable.kind, Number) else {})
        if isinstance(variable.kind, Switch | Choice | Duration):
            values = values | {"a word": "perhaps"}
        for what, value in values.items():
            same = "zero" if what == "the number zero" and isinstance(variable.kind, Number) else what
            if (variable.name, same) in LEGAL or (variable.name in NAMES and what in WORDS):
                continue
            cases.append((variable, what, value))
    return cases


@pytest.mark.parametrize(
    ("variable", "value"), [pytest.param(v, value, id=f"{v.name} is {what}") for v, what, value in wrong_values()]
)
def test_a_wrong_value_is_refused_in_one_sentence(variable: Variable, value: object) -> None:
    with pytest.raises(Misconfigured) as refused:
        check({variable.name: value}, seconds_of)
    message = str(refused.value)
    assert message.startswith(f"{variable.name} must be {variable.wanted()}, such as {variable.name}:"), message
    assert f"; it is {value!r}"[:30] in message
    assert "\n" not in message
    assert len(message) < 500
    assert message.endswith(".")


@pytest.mark.parametrize(("name", "what"), LEGAL)
def test_some_values_are_legal_although_they_look_wrong(name: str, what: str) -> None:
    check({name: (WRONG | NUMBERS)[what]}, seconds_of)


@pytest.mark.parametrize("variable", VARIABLES, ids=[variable.name for variable in VARIABLES])
def test_defaults_and_examples_are_legal(variable: Variable, tmp_path: Path) -> None:
    for value in (variable.default, variable.live, *variable.elsewhere.values()):
        if value is not None:
            variable.read(value, seconds_of)
    if not isinstance(variable.kind, File):
        assert variable.read(variable.example, seconds_of) is not None
    assert variable.meaning.endswith(".")


@pytest.mark.parametrize("variable", [v for v in VARIABLES if isinstance(v.kind, Number)], ids=lambda v: v.name)
def test_bounds_are_legal_and_what_is_beyond_them_is_not(variable: Variable) -> None:
    assert isinstance(variable.kind, Number)
    low, high = variable.kind.low, variable.kind.high
    assert (variable.read(low), variable.read(str(high))) == (low, high)
    for beyond in (low - 1e-6, high * 1.001 + 1):
        with pytest.raises(Misconfigured, match=f"^{variable.name} must be"):
            variable.read(beyond)


def test_the_sentence_names_variable_bounds_unit_example_and_value() -> None:
    with pytest.raises(Misconfigured) as refused:
        check({"LARGE_FILE_BYTES": "-5"}, seconds_of)
    assert str(refused.value) == (
        "LARGE_FILE_BYTES must be a whole number of bytes from 0 to 1000000000000, such as LARGE_FILE_BYTES:64000000; "
        "it is '-5'."
    )


def test_a_decimal_comma_is_explained() -> None:
    with pytest.raises(Misconfigured, match=r"it is '0,5' \(with a decimal comma: write 0\.5\)\.$"):
        check({"MAX_PRICE": "0,5"}, seconds_of)


def test_all_wrong_variables_are_named_at_once() -> None:
    with pytest.raises(Misconfigured) as refused:
        check({"CYCLES": "many", "HEADLESS": "perhaps", "MAX_PRICE": "0.5"}, seconds_of)
    assert [line.split()[0] for line in str(refused.value).splitlines()] == ["CYCLES", "HEADLESS"]


@pytest.mark.parametrize("text", ["1e3", "100.0", "1_000", "0x10", "1 000"])
def test_whole_numbers_are_written_in_digits(text: str) -> None:
    with pytest.raises(Misconfigured, match=r"^SMALL_FILES must be a whole number"):
        BY_NAME["SMALL_FILES"].read(text)


@pytest.mark.parametrize("name", ["max_price", "Max Price", "MAXPRICE"])
def test_names_are_compared_as_robot_framework_does(name: str) -> None:
    with pytest.raises(Misconfigured, match=r"^MAX_PRICE must be"):
        check({name: "much"}, seconds_of)


@pytest.mark.parametrize("value", ["90", "90s", "1 min 30 s", "00:01:30", 90, 90.0])
def test_times_are_written_as_robot_framework_does(value: object) -> None:
    assert BY_NAME["GONE_TIMEOUT"].read(value, seconds_of) == 90


@pytest.mark.parametrize("value", ["-00:01", "-5s", "2 days", "soon", "0s"])
def test_times_have_bounds(value: str) -> None:
    with pytest.raises(Misconfigured, match=r"^GONE_TIMEOUT must be a time from 0\.1 s to 24 h, such as GONE_TIMEOUT"):
        BY_NAME["GONE_TIMEOUT"].read(value, seconds_of)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"DISK_GB": "20", "MANY_FILES": "10000000"},
            (
                "MANY_FILES:10000000 need 40960000000 bytes, which do not fit the disk of DISK_GB:20: use smaller "
                "values, or DISK_GB:42 or more."
            ),
        ),
        (
            {"DISK_GB": 20, "SMALL_FILES": "1000", "LARGE_FILE_BYTES": "20000000000"},
            (
                "SMALL_FILES:1000 and LARGE_FILE_BYTES:20000000000 need 20004096000 bytes, which do not fit the disk "
                "of DISK_GB:20: use smaller values, or DISK_GB:21 or more."
            ),
        ),
    ],
)
def test_test_data_must_fit_the_disk(values: dict[str, object], message: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        check(values, seconds_of)
    assert str(refused.value) == message


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAX_PRISE", "MAX_PRICE"),
        ("LARGE_FILES_MB", "LARGE_FILE_MB"),
        ("budget", "BUDGET_USD"),
        ("SNAPSHOTS_TIMEOUT", "SNAPSHOT_TIMEOUT"),
        ("HEADLES", "HEADLESS"),
        ("STATEDIRS", "STATE_DIR"),
    ],
)
def test_a_near_miss_is_found(name: str, meant: str) -> None:
    assert warnings([name, meant]) == {
        name: f"The suites have no variable {name}, so it has no effect. Did you mean {meant}?"
    }


def test_an_address_given_as_a_variable_is_warned_of() -> None:
    assert warnings(["DUMONT_API_URL"]) == {
        "DUMONT_API_URL": (
            "The variable DUMONT_API_URL has no effect: DUMONT_API_URL is read from the environment or from ENV_FILE."
        )
    }


# Every variable that Robot Framework defines, and words of other projects.
OTHERS = (
    "CURDIR TEMPDIR EXECDIR / : \\n SPACE EMPTY True False None null OUTPUT_DIR OUTPUT_FILE REPORT_FILE LOG_FILE "
    "DEBUG_FILE LOG_LEVEL PREV_TEST_NAME PREV_TEST_STATUS PREV_TEST_MESSAGE TEST_NAME TEST_DOCUMENTATION TEST_TAGS "
    "TEST_STATUS TEST_MESSAGE SUITE_NAME SUITE_SOURCE SUITE_DOCUMENTATION SUITE_METADATA SUITE_STATUS SUITE_MESSAGE "
    "KEYWORD_STATUS KEYWORD_MESSAGE OPTIONS PABOTQUEUEINDEX PABOTLIBURI PABOTEXECUTIONPOOLID "
    "PABOTISLASTEXECUTIONINPOOL PABOTNUMBEROFPROCESSES CALLER_ID ENVIRONMENT BROWSER USERNAME PASSWORD URL MACHINE "
    "SNAPSHOT PAGE LOSS FILE"
)


def test_other_names_are_no_near_misses() -> None:
    assert warnings(OTHERS.split()) == {}


# ── Declaration ─────────────────────────────────────────────────────────────────────────────────────────────────────

OURS = {"PAGE"}  # variables that a resource sets for itself
GROUPS = {
    "phase 4": ("resources/stress.resource",),
    "faults": ("resources/faults.resource",),
}


def in_suites() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the variables of each suite and resource file, as they are written there."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in [*sorted(PROJECT.glob("resources/**/*.resource")), *sorted(PROJECT.glob("suites/**/*.robot"))]:
        model = (get_resource_model if path.suffix == ".resource" else get_model)(path)
        found[str(path.relative_to(PROJECT))] = {
            statement.name.strip("$@&{} ="): statement.value
            for section in model.sections
            for statement in section.body
            if getattr(statement, "type", None) == "VARIABLE"
        }
    return found


def test_every_variable_of_the_suites_is_declared() -> None:
    written = {name for variables in in_suites().values() for name in variables} | set(defaults("sandbox"))
    assert written - OURS == set(BY_NAME)


def test_defaults_of_the_suites_are_the_declared_ones() -> None:
    for file, variables in in_suites().items():
        for name in set(variables) - OURS:
            declared = BY_NAME[name]
            expected = declared.default
            for group, files in GROUPS.items():
                if file in files:
                    expected = declared.elsewhere.get(group, expected)
            (text,) = variables[name] if len(variables[name]) == 1 else (",".join(variables[name]),)
            value = {"${None}": None, "${EMPTY}": "", "${False}": False}.get(text, text)
            read = None if value is None else declared.read(value, seconds_of)
            assert read == (None if expected is None else declared.read(expected, seconds_of)), (file, name)


def test_every_default_elsewhere_is_written_there() -> None:
    files = in_suites()
    for variable in VARIABLES:
        for group in variable.elsewhere:
            assert any(variable.name in files[file] for file in GROUPS[group]), (variable.name, group)


def test_targets_have_defaults_of_their_own() -> None:
    assert defaults("live") == {"BUDGET_USD": None, "MAX_PRICE": 0.5, "IDLE_SECONDS": 60}
    assert defaults("sandbox") == {"BUDGET_USD": 30.0, "MAX_PRICE": 1.0, "IDLE_SECONDS": 3}


def test_the_reference_is_current() -> None:
    assert (PROJECT / "docs" / "variables.md").read_text() == reference(), "run: tox -e docs"


def test_the_reference_names_every_variable_with_its_defaults() -> None:
    for variable in VARIABLES:
        assert f"| `{variable.name}` | " in reference()
    assert "| sandbox: `1.0`; live: `0.5` |" in reference()
    assert "| `100`; phase 4: `20`; faults: `20` |" in reference()
    assert "| `30.0`; must be set on live |" in reference()


# ── Arguments of keywords and functions ─────────────────────────────────────────────────────────────────────────────


def test_arguments_have_the_same_bounds() -> None:
    assert check_argument("disk_gb", "DISK_GB", 20) == 20
    with pytest.raises(Misconfigured) as refused:
        check_argument("disk_gb", "DISK_GB", 0)
    assert str(refused.value) == (
        "disk_gb must be a whole number of GB from 10 to 10000, such as disk_gb=100; it is 0."
    )


# ── Paths ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("temp", "temporary"),
        ("tmp", "temporary"),
        ("temporay", "temporary"),
        ("breakabel", "breakable"),
        ("break", "breakable"),
    ],
)
def test_a_misspelled_special_name_is_no_state_directory(
    word: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Misconfigured, match=rf"it is '{word}' \(did you mean {meant}\? .* is written \./{word}\)\.$"):
        check({"STATE_DIR": word}, seconds_of)
    assert not list(tmp_path.iterdir())
    check({"STATE_DIR": f"./{word}"}, seconds_of)
    (tmp_path / word).mkdir()
    check({"STATE_DIR": word}, seconds_of)


def test_a_new_state_directory_needs_its_parent(tmp_path: Path) -> None:
    check({"STATE_DIR": str(tmp_path / "new")}, seconds_of)
    with pytest.raises(Misconfigured, match=rf"\(but {tmp_path}/missing does not exist: create it first\)\.$"):
        check({"STATE_DIR": str(tmp_path / "missing" / "new")}, seconds_of)


def test_a_state_directory_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"\(which is not a directory\)\.$"):
        check({"STATE_DIR": str(tmp_path / "file")}, seconds_of)


@pytest.mark.parametrize("word", ["temporary", "Breakable", "cloud", "my-cloud"])
def test_other_state_directories_are_legal(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check({"STATE_DIR": word}, seconds_of)


def test_a_browser_must_be_executable(tmp_path: Path) -> None:
    (tmp_path / "chrome").touch(0o644)
    with pytest.raises(Misconfigured, match=r"\(which is not executable\)\.$"):
        check({"BROWSER_PATH": str(tmp_path / "chrome")}, seconds_of)
    with pytest.raises(Misconfigured, match=r"\(which is a directory\)\.$"):
        check({"BROWSER_PATH": str(tmp_path)}, seconds_of)
