"""The first screen of log.html names the cause of each failure, grouped by suite."""

from __future__ import annotations

import io

from robot import result, running

from library_parts.first_screen import FirstScreen
from rekindle.screen_entries import entries, joined

SUITE = """
*** Test Cases ***
Passes
    Set Test Message    7.6 s, checked 9 files

Fails
    [Setup]    Fail    Snapshot 41ab cannot be restored: 3 of 9 files are affected.\\nDetails.
    No Operation
"""


def _run(*suites: running.TestSuite, root: str = "") -> result.TestSuite:
    top = running.TestSuite.from_string(root)
    top.name = "Rekindle"
    top.suites = suites
    quiet = io.StringIO()
    return top.run(output=None, listener=FirstScreen(), stdout=quiet, stderr=quiet).suite


def _suite(name: str, text: str) -> running.TestSuite:
    suite = running.TestSuite.from_string(text)
    suite.name = name
    return suite


FAILED = "✗ *Fails*: Snapshot 41ab cannot be restored: 3 of 9 files are affected."
PASSED = "✓ *Passes*: 7.6 s, checked 9 files"


def test_each_suite_has_an_entry_with_its_tests_in_the_order_of_the_file() -> None:
    assert list(_run(_suite("Wake", SUITE), _suite("Auto", SUITE)).metadata.items()) == [
        ("Auto", f"- {PASSED}\n- {FAILED}"),
        ("Wake", f"- {PASSED}\n- {FAILED}"),
    ]


def test_an_entry_of_one_line_is_no_list() -> None:
    skipped = "*** Test Cases ***\nLeft Out\n    Skip    The target has no standbys."
    assert dict(_run(_suite("Journey", skipped)).metadata) == {
        "Journey": "○ *Left Out* was skipped: The target has no standbys."
    }


def test_suites_with_the_same_name_have_entries_of_their_own() -> None:
    folder = running.TestSuite("Phase3")
    folder.suites = [_suite("Wake", SUITE)]
    assert dict(_run(folder, _suite("Wake", SUITE)).metadata) == {
        "Wake": f"- {PASSED}\n- {FAILED}",
        "Rekindle.Wake": f"- {PASSED}\n- {FAILED}",
    }


def test_a_setup_of_the_outermost_suite_is_named_once() -> None:
    setup = "*** Settings ***\nSuite Setup    Fail    The disk is full: 0 bytes are free.\\nSecond line."
    assert dict(_run(_suite("Wake", SUITE), root=setup).metadata) == {
        "Rekindle": "✗ *Suite setup failed*: The disk is full: 0 bytes are free."
    }


def test_a_teardown_of_a_suite_comes_first_and_hides_nothing_that_its_tests_found() -> None:
    teardown = SUITE + "\n*** Settings ***\nSuite Teardown    Fail    Machine 7 was destroyed, but is still rented.\n"
    assert _run(_suite("Wake", teardown)).metadata["Wake"].splitlines() == [
        "- ✗ *Suite teardown failed*: Machine 7 was destroyed, but is still rented.",
        f"- {PASSED}",
        f"- {FAILED}",
    ]


def test_lines_of_a_repeated_test_replace_those_of_its_first_run() -> None:
    before = f"- ✗ *Suite teardown failed*: It is full.\n- {PASSED}\n- {FAILED}"
    after = "- ✓ *Setup and teardown*\n- ✓ *Fails*: 2.0 s"
    assert joined(before, after) == f"- ✓ *Setup and teardown*\n- {PASSED}\n- ✓ *Fails*: 2.0 s"


def test_metadata_of_users_are_no_entries() -> None:
    shown = {"Target": "sandbox at http://127.0.0.1:8766", "Bill": "$0.01", "Note": "*Bold*", "Wake": PASSED}
    assert entries(shown) == {"Wake": PASSED}
