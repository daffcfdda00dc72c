"""The smoke suite with one wrong value: it is red, and its message names the variable to correct."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.suites_under_test import Stage

MARKET, CPU_CLOUD = "Market Opens With Its Key", "CPU Cloud Opens With Its Token"
REPOSITORY, PAGE = "Repository Opens With Its Password", "Page Answers"
MACHINE = "Machine Opens By SSH With Its Own Host Key"


@pytest.fixture
def another_key(tmp_path: Path) -> Path:
    """A private key that the market has never seen."""
    path = tmp_path / "another key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def failure(stage: Stage, folder: Path, test: str, **changes: str) -> str:
    """Return the message of one test, run on a live target with changed variables."""
    ended = stage.live(folder, "--variable", "BUDGET_USD:1", "--test", test, **changes).to_its_end()
    assert "Traceback" not in ended.console
    assert stage.rented() == {}
    ((failed, message),) = ended.failures.items()
    assert failed == test
    return message


@pytest.mark.parametrize(
    ("test", "changes", "words"),
    [
        (MACHINE, {"RESTIC_PASSWORD": "wrong"}, r"The password opens no key of .*: check RESTIC_PASSWORD\."),
        (
            REPOSITORY,
            {"RESTIC_REPOSITORY": "s3:http://127.0.0.1:9/dumontcloud-snapshots/restic"},
            r"RESTIC_REPOSITORY \(s3:http://127\.0\.0\.1:9/\S+\) and B2_ENDPOINT \(\S+\) must name the same .*",
        ),
        (
            CPU_CLOUD,
            {"GCP_ACCESS_TOKEN": "wrong"},
            r"(?s).*refused the token: .*Check GCP_ACCESS_TOKEN and .*",
        ),
        (CPU_CLOUD, {"GCP_PROJECT": ""}, r"(?s)Missing in the environment and in \.env: GCP_PROJECT\.\n.*"),
        (
            PAGE,
            {"DUMONT_CONSOLE_URL": "http://127.0.0.1:9"},
            r"The web page at http://127\.0\.0\.1:9 cannot be reached .*Check DUMONT_CONSOLE_URL .*",
        ),
    ],
)
def test_a_wrong_value_is_named(stage: Stage, tmp_path: Path, test: str, changes: dict[str, str], words: str) -> None:
    message = failure(stage, tmp_path, test, **changes)
    assert re.fullmatch(words, message), message


def test_a_wrong_password_is_named_before_a_machine_is_rented_where_there_is_a_repository(
    stage: Stage, tmp_path: Path
) -> None:
    stage.live(tmp_path / "first", "--variable", "BUDGET_USD:1", "--test", MACHINE).to_its_end().passed()
    message = failure(stage, tmp_path / "second", REPOSITORY, RESTIC_PASSWORD="wrong")  # noqa: S106
    assert re.fullmatch(r"The password opens no key of .*: check RESTIC_PASSWORD\.", message), message


def test_a_page_that_is_something_else_is_named(stage: Stage, tmp_path: Path) -> None:
    market = stage.cloud.environment["VAST_URL"]
    message = failure(stage, tmp_path, PAGE, DUMONT_CONSOLE_URL=market)
    assert message.startswith(f"The web page at {market}/login is not there: expected HTML, got "), message
    assert "Check DUMONT_CONSOLE_URL" in message


def test_an_ssh_key_that_the_market_does_not_have_is_named(stage: Stage, tmp_path: Path, another_key: Path) -> None:
    message = failure(stage, tmp_path, MARKET, SSH_KEY_PATH=str(another_key))
    assert message.startswith(f"The market's account does not have the SSH key of SSH_KEY_PATH ({another_key}), "), (
        message
    )


def test_a_repository_that_the_product_does_not_use_is_named(stage: Stage, tmp_path: Path) -> None:
    elsewhere = stage.cloud.environment["RESTIC_REPOSITORY"] + "-of-another-product"
    message = failure(stage, tmp_path, MACHINE, RESTIC_REPOSITORY=elsewhere)
    assert "There is no restic repository " in message
    assert "check RESTIC_REPOSITORY" in message


def test_declined_witnesses_are_skipped(stage: Stage, tmp_path: Path) -> None:
    options = ("--variable", "BUDGET_USD:1", "--variable", "DECLINED_WITNESSES:market,restic,gcp")
    none = dict.fromkeys(("VAST_URL", "VAST_API_KEY", "GCP_URL", "GCP_PROJECT", "GCP_ACCESS_TOKEN"), "")
    stage.live(tmp_path, *options, "--include", "smoke", DUMONT_CONSOLE_URL="", **none).to_its_end().passed()
