"""The first screen of log.html names the cause of each failure, grouped by suite."""

from __future__ import annotations

import io

from robot import result, running

from library_parts.first_screen import FirstScreen

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


def entry(name: str) -> str:
    """Return the name of an entry, which log.html must not break into two lines."""
    return f"▸ {name}".replace(" ", "\N{NO-BREAK SPACE}")


FAILED = "✗ *Fails*: Snapshot 41ab cannot be restored: 3 of 9 files are affected."
PASSED = "✓ *Passes*: 7.6 s, checked 9 files"


def test_each_test_has_an_entry_under_the_name_of_its_suite_in_the_order_of_the_file() -> None:
    assert list(_run(_suite("Wake", SUITE), _suite("Auto", SUITE)).metadata.items()) == [
        (entry("Auto, line 003"), PASSED),
        (entry("Auto, line 006"), FAILED),
        (entry("Wake, line 003"), PASSED),
        (entry("Wake, line 006"), FAILED),
    ]


def test_tests_of_suites_with_the_same_name_do_not_replace_each_other() -> None:
    folder = running.TestSuite("Phase3")
    folder.suites = [_suite("Wake", SUITE)]
    assert dict(_run(folder, _suite("Wake", SUITE.replace("Passes", "Also Passes"))).metadata) == {
        entry("Wake, line 003"): PASSED,
        entry("Wake, line 006"): FAILED,
        "▸ Rekindle.Wake, line 003, Also Passes": PASSED.replace("Passes", "Also Passes"),
    }


def test_a_setup_of_the_outermost_suite_is_named_once() -> None:
    setup = "*** Settings ***\nSuite Setup    Fail    The disk is full: 0 bytes are free.\\nSecond line."
    assert dict(_run(_suite("Wake", SUITE), root=setup).metadata) == {
        entry("Rekindle"): "✗ *Suite setup failed*: The disk is full: 0 bytes are free."
    }


def test_a_teardown_of_a_suite_does_not_hide_what_its_tests_found() -> None:
    teardown = SUITE + "\n*** Settings ***\nSuite Teardown    Fail    Machine 7 was destroyed, but is still rented.\n"
    assert dict(_run(_suite("Wake", teardown)).metadata) == {
        entry("Wake"): "✗ *Suite teardown failed*: Machine 7 was destroyed, but is still rented.",
        entry("Wake, line 003"): PASSED,
        entry("Wake, line 006"): FAILED,
    }


def test_a_skipped_test_says_why() -> None:
    skipped = "*** Test Cases ***\nLeft Out\n    Skip    The target has no standbys."
    assert dict(_run(_suite("Journey", skipped)).metadata) == {
        entry("Journey, line 002"): "*Left Out* was skipped: The target has no standbys."
    }


def test_entries_of_tests_follow_those_of_the_run() -> None:
    run = "*** Settings ***\nMetadata    Target    sandbox\nMetadata    Bill    $0.01\nMetadata    Run    1"
    assert list(_run(_suite("Auto", SUITE), root=run).metadata) == [
        "Bill",
        "Run",
        "Target",
        entry("Auto, line 003"),
        entry("Auto, line 006"),
    ]
