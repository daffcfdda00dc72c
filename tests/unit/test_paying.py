"""The eye on the money, in a run of Robot: an alarm at half of the budget, no further test when it is overdrawn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from robot import api

from rekindle import target
from rekindle.budget import Budget

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


Spend = Callable[[str], tuple[dict[str, str], list[tuple[str, str]]]]


@pytest.fixture
def spending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spend:
    """Runs two tests on a target with a budget of one dollar, of which the machines have cost 10 cents so far."""
    opened = SimpleNamespace(budget=Budget(1.0), growing_usd=lambda: 0.1)
    monkeypatch.setattr(target._Opened, "target", opened)

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
