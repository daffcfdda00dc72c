"""The second line: no secret comes into what a run leaves, whatever a keyword lets slip; and each slip is told."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from rekindle.redaction import Redactor, looks_secret

SECRET = "o'Brien+\"1/ä<canary>"  # noqa: S105 - a canary
LONG = "0123456789abcdef" * 3
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0ZXN0QHRlc3QuY29tIn0.c2lnbmF0dXJl"  # noqa: S105 - a canary


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.learn("PASSWORD", SECRET)
    redactor.learn("KEY", LONG)
    return redactor


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        repr(SECRET),
        json.dumps(SECRET),
        f"https://me:{quote(SECRET, safe='')}@host",
        SECRET.encode().hex(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"a:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"ab:{SECRET}".encode()).decode(),
    ],
)
def test_a_secret_is_found_in_every_form(redactor: Redactor, form: str) -> None:
    redacted = redactor.redact(f"before {form} after {form}")
    assert redacted.names == {"PASSWORD"}
    assert redacted.text.startswith("before ")
    assert redacted.text.count("[redacted PASSWORD]") == 2
    assert "canary" not in redacted.text
    assert form[8:-4] not in redacted.text


def test_what_was_cut_is_found_as_far_as_it_goes(redactor: Redactor) -> None:
    assert redactor.redact(f"{LONG[:20]}…").text == "[redacted KEY]…"
    assert redactor.redact(f"{LONG[:8]}…").text == f"{LONG[:8]}…"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"Cookie: session={TOKEN}; path=/", "a token"),
        (f"Signature={'0a' * 32}", "a signature"),
        (f"?X-Amz-Signature={'0a' * 32}&x=1", "a signature"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n", "a private key"),
    ],
)
def test_some_are_known_by_their_form(text: str, name: str) -> None:
    redacted = Redactor().redact(text)
    assert redacted.names == {name}
    assert f"[redacted {name}]" in redacted.text


def test_ordinary_text_stays_as_it_is(redactor: Redactor) -> None:
    redactor.learn("SHORT", "test")
    redactor.learn("NONE", None)
    text = "a test, eyJ, Signature=, 0123456789ab"
    assert redactor.redact(text).text.startswith("a test, eyJ, Signature=, [redacted KEY]")
    assert redactor.redact("a test of 0123456789").names == frozenset()


def test_variables_are_secret_by_their_names() -> None:
    assert all(
        map(looks_secret, ["DUMONT_PASSWORD", "VAST_API_KEY", "B2_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN"])
    )
    assert not any(map(looks_secret, ["SSH_KEY_PATH", "PATH", "KEYBOARD", "TOKENIZERS", "B2_BUCKET", "SECRET_FILE"]))
    redactor = Redactor()
    redactor.learn_from({"API_KEY": LONG, "OTHER_KEY": "short", "NAME": "a longer name"})
    assert redactor.redact(f"{LONG} short a longer name").text == "[redacted API_KEY] short a longer name"


# ── In a run ────────────────────────────────────────────────────────────────────────────────────────────────────────

CANARY = "c4n4ry-0f-4-p4ssw0rd"

LEAKY_LIBRARY = f'''
import logging
from robot.api import logger
from library_parts.console import tell
from rekindle.redaction import KNOWN

CANARY = "{CANARY}"
TOKEN = "{TOKEN}"
KNOWN.learn("DUMONT_PASSWORD", CANARY)

def returning(): return CANARY
def within(): return {{"deep": ["er", CANARY]}}
def token(): return TOKEN
def taking(value): pass
def failing(): raise AssertionError(f"refused {{CANARY}}")
def logging_it():
    for level in ("TRACE", "DEBUG", "INFO", "WARN"):
        logger.write(f"here it is: {{CANARY}}", level)
    logger.info(f"<b>{{CANARY}}</b>", html=True)
    logging.getLogger("somebody").warning("it is %s", CANARY)
def printing(): print(CANARY)
def telling(): tell(f"it is {{CANARY}}")
'''

LEAKY_SUITE = f"""
*** Settings ***
Library    leaky.py
Library    ProvisioningLibrary
Library    Collections
Metadata    Leak    ${{{{ __import__('leaky').CANARY }}}}
Test Teardown    Log    ${{TEST MESSAGE}}

*** Test Cases ***
By Value
    ${{it}} =    Returning
    Taking    ${{it}}
    Taking    {CANARY}
    Within
    Token
    Logging It
    Printing
    Telling
    Set Test Variable    ${{again}}    ${{it}}
    VAR    ${{third}}    {CANARY}
    FOR    ${{one}}    IN    ${{it}}
        Log Many    ${{one}}    &{{{{ {{"a": $it}} }}}}
    END
    Set Test Documentation    about ${{it}}
    Set Tags    ${{it}}
    User Keyword    ${{it}}

By Failure
    Failing

By Deep Failure
    Run Keyword And Continue On Failure    Failing
    Run Keyword And Expect Error    nothing    Failing

*** Keywords ***
User Keyword
    [Arguments]    ${{value}}
    RETURN    ${{value}}
"""

NAMED_SUITE = """
*** Settings ***
Library    leaky.py
Library    ProvisioningLibrary

*** Test Cases ***
By Name
    ${it} =    Returning
    GROUP    ${it}
        No Operation
    END
"""


def run(folder: Path, suite: str) -> tuple[str, str]:
    """Runs it at level TRACE; returns its console, and all that it left (log.html keeps long texts compressed)."""
    (folder / "leaky.py").write_text(LEAKY_LIBRARY)
    (folder / "leaky.robot").write_text(suite)
    done = subprocess.run(
        [sys.executable, "-m", "robot", "--loglevel", "TRACE", "--xunit", "x.xml", "--outputdir", "out", "leaky.robot"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    left = "".join((folder / "out" / name).read_text() for name in ("output.xml", "log.html", "report.html", "x.xml"))
    return done.stdout + done.stderr, left


def test_no_secret_comes_out_of_a_run(tmp_path: Path) -> None:
    console, left = run(tmp_path, LEAKY_SUITE)
    for text in (console, left):
        assert CANARY not in text
        assert TOKEN not in text
        assert "redacted DUMONT_PASSWORD" in text
    assert left.count("redacted DUMONT_PASSWORD") > 20
    assert "Redacting" not in console  # no method of the listener has failed
    assert "deprecated" not in console
    warnings = re.findall(r"Redacted .*? It should not have come there\.", console.replace("\n", " "))
    for place in (
        "DUMONT_PASSWORD in a message of level TRACE of `Returning` (leaky.robot, line 11)",
        "a token in a message of level TRACE of `Token`",
        "DUMONT_PASSWORD in its args of `Taking` (leaky.robot, line 13)",
        "DUMONT_PASSWORD in its message of `Failing` (leaky.robot, line 29)",
        "DUMONT_PASSWORD in its assign of `ITERATION` (leaky.robot, line 21)",
        "DUMONT_PASSWORD in its metadata of `Leaky`",
    ):
        assert any(place in warning for warning in warnings), (place, warnings)


def test_a_name_that_cannot_be_taken_back_is_an_error(tmp_path: Path) -> None:
    console, _ = run(tmp_path, NAMED_SUITE)
    assert "[ ERROR ] DUMONT_PASSWORD stands in the name of `[redacted DUMONT_PASSWORD]`" in console
