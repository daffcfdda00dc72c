"""The eye on the money, in a run of Robot: an alarm at half of the budget, no further test when it is overdrawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from robot import api

from library_parts import paying
from rekindle import target
from rekindle.budget import Budget
from rekindle.errors import Mismatch

SUITE = """
*** Settings ***
Library           ProvisioningLibrary
Suite Teardown    Log    cleaned up

*** Test Cases ***
First
    {first}
    Log    goes on
    [Teardown]    Log    torn down

Second
    [Setup]    Log    set up
    Log    begun
    [Teardown]    Log    torn down
"""
ALARM = "At least half of the budget is spent: $0.60 of $1.00."
OVERDRAWN = (
    "The budget of $1.00 is overdrawn: $1.10 is spent. Nothing more is rented, and no further test is begun; what is "
    "rented is destroyed. Raise BUDGET_USD, or choose fewer tests."
)

NO_SNAPSHOTS = SimpleNamespace(left=list, close=lambda: None)


Spend = Callable[[str], tuple[dict[str, str], list[tuple[str, str]]]]


@pytest.fixture
def spending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spend:
    """Runs two tests on a target with a budget of one dollar, of which the machines have cost 10 cents so far."""
    opened = SimpleNamespace(budget=Budget(1.0), growing_usd=lambda: 0.1, snapshots=NO_SNAPSHOTS)
    monkeypatch.setattr(target._Opened, "target", opened)
    monkeypatch.setattr(paying, "settle", lambda _: [])
    monkeypatch.setattr(target, "close", lambda: None)

    def spend(first: str) -> tuple[dict[str, str], list[tuple[str, str]]]:
        (tmp_path / "suite.robot").write_text(SUITE.format(first=first))
        output = tmp_path / "output.json"
        api.TestSuite.from_file_system(tmp_path / "suite.robot").run(output=output, console="none")
        told = list(messages(json.loads(output.read_text())["suite"]))
        assert ("INFO", "cleaned up") in told
        tests = api.ExecutionResult(output).suite.all_tests
        return {test.name: test.message for test in tests if not test.passed}, told

    return spend


def messages(item: Any) -> Iterator[tuple[str, str]]:
    """What every keyword in an item logged, in order."""
    if isinstance(item, list):
        for one in item:
            yield from messages(one)
    elif isinstance(item, dict):
        if item.get("type") == "MESSAGE":
            yield item["level"], item["message"]
        for key in ("setup", "tests", "body", "teardown"):
            yield from messages(item.get(key))


def book(usd: float) -> str:
    return f"Evaluate    rekindle.target.opened().budget.book({usd})    modules=rekindle.target"


def test_half_of_the_budget_is_told_once(spending: Spend) -> None:
    failed, told = spending(book(0.5))
    assert failed == {}
    assert told.count(("WARN", ALARM)) == 1
    assert ("INFO", "begun") in told


def test_before_that_nothing_is_told(spending: Spend) -> None:
    failed, told = spending(book(0.39))
    assert failed == {}
    assert [text for level, text in told if level == "WARN"] == []


def test_when_it_is_overdrawn_the_test_goes_on_and_no_other_begins(spending: Spend) -> None:
    failed, told = spending(book(1.0))
    assert failed == {"Second": OVERDRAWN}
    texts = [text for _, text in told]
    assert texts.count("goes on") == 1, "the test that runs is not cut off"
    assert texts.count("torn down") == 2
    assert "set up" not in texts
    assert "begun" not in texts


# The bill is settled whichever part of the suites is run.

INNER = """
*** Settings ***
Library           ProvisioningLibrary
{teardown}

*** Test Cases ***
It Passes
    Log    passed
"""
INIT = """
*** Settings ***
Library           ProvisioningLibrary
Suite Teardown    {teardown}
"""
DESTROY = "Suite Teardown    Log Many    cleaned    up"


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each time that the target is closed; the bill is off, and the guard has found something."""
    times: list[str] = []

    def close() -> None:
        times.append("closed")
        target._Opened.target = None
        raise Mismatch("The guard has found a machine.")

    monkeypatch.setattr(
        target._Opened, "target", SimpleNamespace(budget=Budget(1.0), growing_usd=lambda: 0.0, snapshots=NO_SNAPSHOTS)
    )
    monkeypatch.setattr(paying, "settle", lambda _: ["The bill is off."])
    monkeypatch.setattr(target, "close", close)
    return times


def in_file(folder: Path, teardown: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "file.robot"
    file.write_text(INNER.format(teardown=teardown))
    return file


def result_of(*sources: Path) -> tuple[int, list[str]]:
    """The exit code of a run, and the messages of its tests as its output tells them."""
    output = sources[0].parent / "output.xml"
    code = api.TestSuite.from_file_system(*sources).run(output=output, console="none").return_code
    return code, [test.message for test in api.ExecutionResult(output).suite.all_tests]


RED = "Parent suite teardown failed:\nThe guard has found a machine.\nThe bill is off."


@pytest.mark.parametrize("teardown", ["", DESTROY])
def test_a_single_file_settles_its_bill(closed: list[str], tmp_path: Path, teardown: str) -> None:
    assert result_of(in_file(tmp_path / "one", teardown)) == (1, [RED])
    assert closed == ["closed"]


@pytest.mark.parametrize("teardown", ["", DESTROY])
def test_a_folder_that_does_not_even_know_the_library_settles_its_bill_at_its_end(
    closed: list[str], tmp_path: Path, teardown: str
) -> None:
    for name in ("one", "two"):
        in_file(tmp_path / "suites" / name, teardown)
    assert result_of(tmp_path / "suites") == (2, [RED, RED])
    assert closed == ["closed"]


def test_files_that_are_named_together_settle_one_bill(closed: list[str], tmp_path: Path) -> None:
    assert result_of(in_file(tmp_path / "one"), in_file(tmp_path / "two")) == (2, [RED, RED])
    assert closed == ["closed"]


@pytest.mark.parametrize("own", ["Close Target", "ProvisioningLibrary.close_target"])
def test_a_suite_that_closes_the_target_is_left_as_it_is(closed: list[str], tmp_path: Path, own: str) -> None:
    in_file(tmp_path / "one")
    (tmp_path / "__init__.robot").write_text(INIT.format(teardown=own))
    suite = api.TestSuite.from_file_system(tmp_path)
    suite.run(output=None, console="none")
    assert (suite.teardown.name, suite.teardown.args) == (own, ())
    assert closed == ["closed"]


def test_what_a_teardown_does_besides_is_done_first(closed: list[str], tmp_path: Path) -> None:
    code, (message,) = result_of(in_file(tmp_path / "one", "Suite Teardown    Fail    not cleaned up"))
    assert code == 1
    assert message == (
        "Parent suite teardown failed:\nSeveral failures occurred:\n\n1) not cleaned up\n\n"
        "2) The guard has found a machine.\nThe bill is off."
    )
    assert closed == ["closed"]
