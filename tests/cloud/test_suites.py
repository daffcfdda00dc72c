"""The suites as their users start them: with wrong input, on a live target that is the embedded cloud, on a cloud that
loses things, and cut off in every step. Each run is a `robot` of its own.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rekindle.waiting import hold_for, wait_until
from sandbox.environment import quoted
from tests.suites_under_test import WITHIN, Run, Stage

LEFT_AFTER = 10.0  # seconds after which nothing of a run that was cut off may be rented

STEPWISE_HIBERNATION = ("--test", "Machine Is Hibernated Step By Step")
STEPWISE_WAKE = ("--test", "Hibernated Machine Wakes Step By Step")
WAKE_BY_PRODUCT = ("--test", "Hibernated Machine Is Woken By The Product")


# ── What a user gives who is mistaken ───────────────────────────────────────────────────────────────────────────────


def test_live_without_credentials_names_every_variable(tmp_path: Path) -> None:
    ended = Run(
        tmp_path, ("--variable", "TARGET:live", "--variable", "BUDGET_USD:1", "--include", "smoke")
    ).to_its_end()
    ended.stopped_with(
        "Missing in the environment and in .env: DUMONT_API_URL, DUMONT_EMAIL, DUMONT_PASSWORD, VAST_URL, "
        "VAST_API_KEY, B2_KEY_ID, B2_APPLICATION_KEY, B2_BUCKET, B2_ENDPOINT, RESTIC_REPOSITORY, "
        "RESTIC_PASSWORD, SSH_KEY_PATH.\n"
        "  DUMONT_API_URL      the address of the Dumont API, such as http://localhost:8766\n"
        "  DUMONT_EMAIL        the e-mail of the Dumont account\n"
        "  DUMONT_PASSWORD     the password of the Dumont account\n"
        "  VAST_URL            the address of the market, such as https://console.vast.ai\n"
        "  VAST_API_KEY        the API key of the market's account\n"
        "  B2_KEY_ID           the id of the bucket's application key\n"
        "  B2_APPLICATION_KEY  the bucket's application key\n"
        "  B2_BUCKET           the bucket that holds the snapshots\n"
        "  B2_ENDPOINT         the bucket's S3 endpoint, such as s3.us-west-000.backblazeb2.com\n"
        "  RESTIC_REPOSITORY   the restic repository, such as s3:https://…/bucket/restic\n"
        "  RESTIC_PASSWORD     the password of the restic repository\n"
        "  SSH_KEY_PATH        the private SSH key that the market's account knows\n"
        'For the embedded cloud, `eval "$(python -m sandbox env)"` sets them all.\n'
        "Without the market as a witness: --variable DECLINED_WITNESSES:market"
    )


def test_live_without_a_budget_starts_nothing(stage: Stage, tmp_path: Path) -> None:
    stage.live(tmp_path, "--include", "phase3").to_its_end().stopped_with(
        "BUDGET_USD is not set, so nothing that costs money is started. Say how much this run may spend at most: "
        "--variable BUDGET_USD:3"
    )
    assert stage.rented() == {}


def test_an_env_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    options = ("--variable", "TARGET:live", "--variable", "BUDGET_USD:1", "--variable", f"ENV_FILE:{tmp_path}/my.env")
    Run(tmp_path, (*options, "--include", "smoke")).to_its_end().stopped_with(
        "ENV_FILE must be the path of a file that exists, such as ENV_FILE:staging.env; it is "
        f"{str(tmp_path / 'my.env')!r} (which does not exist)."
    )


def test_an_env_file_that_others_can_read_is_warned_of(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "my.env"
    file.write_text("".join(f"{name}={quoted(value)}\n" for name, value in stage.cloud.environment.items()))
    file.chmod(0o644)
    options = ("--variable", "TARGET:live", "--variable", "BUDGET_USD:1", "--variable", f"ENV_FILE:{file}")
    ended = Run(tmp_path / "run", (*options, "--test", "Dumont API Is Healthy")).to_its_end()
    ended.passed()
    warning = f"{file} holds credentials and can be read by others (mode 644): chmod 600 {shlex.quote(str(file))}"
    assert f"[ WARN ] {warning}" in ended.console


def test_a_wrong_password_is_told(stage: Stage, tmp_path: Path) -> None:
    run = stage.live(tmp_path, "--variable", "BUDGET_USD:1", "--include", "phase3", DUMONT_PASSWORD="wrong")  # noqa: S106
    run.to_its_end().stopped_with(
        f"Dumont API at {stage.cloud.environment['DUMONT_API_URL']} refused the login of "
        f"{stage.cloud.environment['DUMONT_EMAIL']}: Invalid email or password. Check DUMONT_EMAIL and DUMONT_PASSWORD."
    )
    assert stage.rented() == {}


def test_an_api_that_cannot_be_reached_is_told(stage: Stage, tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    run = stage.live(tmp_path, "--variable", "BUDGET_USD:1", "--include", "phase3", DUMONT_API_URL=nowhere)
    run.to_its_end().stopped_with(
        f"Dumont API at {nowhere} is not reachable: connection refused. Is it running? Is DUMONT_API_URL its address?"
    )


def test_an_unknown_target_is_told(tmp_path: Path) -> None:
    ended = Run(tmp_path, ("--variable", "TARGET:moon", "--include", "smoke")).to_its_end()
    ended.stopped_with("TARGET must be sandbox or live, such as TARGET:live; it is 'moon'.")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"B2_APPLICATION_KEY": "wrong"},
            r"refused our keys for bucket \S+ \(SignatureDoesNotMatch\): check B2_KEY_ID",
        ),
        ({"B2_BUCKET": "none"}, r"refused our keys for bucket none \(AccessDenied\): check B2_BUCKET, B2_KEY_ID"),
    ],
)
def test_the_smoke_suite_tells_what_is_wrong_with_the_bucket(
    stage: Stage, tmp_path: Path, wrong: dict[str, str], words: str
) -> None:
    test = "Bucket Opens With The Right Keys Only"
    ended = stage.live(tmp_path, "--variable", "BUDGET_USD:1", "--test", test, **wrong).to_its_end()
    assert ended.exit_code == 1
    assert re.match(rf"UNKNOWN: The object store at \S+ {words} and B2_APPLICATION_KEY, ", ended.failures[test])


# ── Witnesses ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_declined_market_is_reported_as_not_witnessed(stage: Stage, tmp_path: Path) -> None:
    options = ("--variable", "BUDGET_USD:1", "--variable", "DECLINED_WITNESSES:market", *STEPWISE_HIBERNATION)
    ended = stage.live(tmp_path, *options, VAST_URL="", VAST_API_KEY="").to_its_end()
    ended.passed()
    (report,) = ended.reports()
    without_owners = [words for words in report["not_witnessed"] if not words.startswith("owners: ")]
    assert without_owners == ["market: VAST_API_KEY is not given"]
    assert report["cost"]["market_bill_usd"] is None
    assert "bill not witnessed" in ended.console


# ── A cloud that loses things ───────────────────────────────────────────────────────────────────────────────────────


def flip_a_byte(workspace: Path) -> None:
    """The size and the time of change stay as they were."""
    file = workspace / "auto-hibernation-test-2.txt"
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def remove_a_file(workspace: Path) -> None:
    (workspace / "auto-hibernation-test-more" / "small" / "000007.txt").unlink()


def add_a_file(workspace: Path) -> None:
    """Where the time of change of no directory tells of it."""
    (workspace / "left by somebody else").touch()


@pytest.mark.parametrize(
    ("wake", "damage", "words"),
    [
        (
            STEPWISE_WAKE,
            flip_a_byte,
            r"1 changed of .* auto-hibernation-test-2\.txt \(sha256 \w+… expected, \w+… seen\)\.",
        ),
        pytest.param(
            STEPWISE_WAKE,
            remove_a_file,
            r"1 changed, 1 missing of .*, missing auto-hibernation-test-more/small/000007\.txt\.",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            WAKE_BY_PRODUCT,
            add_a_file,
            r"1 extra of .*: extra left by somebody else\.",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_damage_after_the_restore_is_found(
    stage: Stage, tmp_path: Path, wake: tuple[str, ...], damage: Callable[[Path], None], words: str
) -> None:
    with stage.at("restore.finished", lambda data: damage(stage.workspace(data["instance_id"]))):
        ended = stage.sandbox(tmp_path, *wake).to_its_end()
    (message,) = ended.failures.values()
    assert re.fullmatch(f"Restored workspace differs from the manifest: {words}", message), message
    (report,) = ended.reports()
    assert (report["validation"]["success"], report["validation"]["error"]) == (False, message)
    assert stage.rented() == {}


@pytest.mark.nightly
def test_an_object_that_is_deleted_before_the_wake_is_found(stage: Stage, tmp_path: Path) -> None:
    before = {one.key for one in stage.store.list("restic/data/")}
    stage.sandbox(tmp_path / "asleep", *STEPWISE_HIBERNATION).to_its_end().passed()
    pack = next(one.key for one in stage.store.list("restic/data/") if one.key not in before)
    content = stage.store.read(pack)
    stage.store.delete(pack)
    try:
        ended = stage.sandbox(tmp_path / "awake", *STEPWISE_WAKE).to_its_end()
    finally:
        stage.store.put(pack, content)
    (message,) = ended.failures.values()
    assert re.fullmatch(rf"Object {pack} in bucket \S+ is missing(, and snapshot \w+ needs it)?\.", message), message
    assert "[2/5]" not in ended.console
    assert stage.rented() == {}


def test_a_machine_that_is_kept_alive_at_destroy_is_found(stage: Stage, tmp_path: Path) -> None:
    with stage.answering(match=r"^DELETE .*/instances/\d+$", status=200, body={"success": True}):
        ended = stage.sandbox(tmp_path, *STEPWISE_HIBERNATION).to_its_end()
    (message,) = ended.failures.values()
    assert re.fullmatch(
        r"Dumont Cloud answered that machine \d+ \(.*\) was destroyed, but Dumont Cloud still lists it as running, the "
        r"marketplace still lists it as running, SSH on \S+ still answers, and it still bills \$\S+/h\. Rekindle has "
        r"destroyed it at the market itself; it was gone after \S+ s\.",
        message,
    ), message
    assert stage.rented() == {}


# ── Runs that are cut off ───────────────────────────────────────────────────────────────────────────────────────────


def cut_off(stage: Stage, folder: Path, step: int, endings: Sequence[signal.Signals]) -> int:
    """Ends a run as soon as it says that it begins a step, and sees its machine go. Returns its exit code."""
    machine = None
    with stage.sandbox(folder, *STEPWISE_HIBERNATION).start() as process:
        assert process.stdout
        for line in process.stdout:
            if found := re.search(r"Instance ID: (\d+)", line):
                machine = int(found[1])
            if f"[{step}/5]" in line:
                break
        for ending in endings:
            if ending == signal.SIGINT:  # as Ctrl-C in a terminal: everybody in the foreground gets it
                os.killpg(process.pid, ending)
                next((line for line in process.stdout if "force" in line), None)  # Robot has noticed
            else:
                process.send_signal(ending)
        wait_until(
            f"the machine of step {step} to be gone",
            stage.rented, lambda there: machine not in there, timeout=LEFT_AFTER,
        )  # fmt: skip
        process.stdout.read()
        assert (machine is None) == (step == 1)
        return process.wait(WITHIN)


CTRL_C, KILL = (signal.SIGINT,), (signal.SIGKILL,)


@pytest.mark.parametrize(
    ("cuts", "exit_codes"),
    [
        # After the first Ctrl-C Robot tidies up, after the second it does not. One that comes while it writes is lost.
        pytest.param([(3, CTRL_C), (4, CTRL_C * 2)], {1, 253}, id="Ctrl-C"),
        pytest.param(
            [(step, CTRL_C) for step in range(1, 6)] + [(2, CTRL_C * 2)],
            {1, 253},
            id="Ctrl-C in each step",
            marks=pytest.mark.nightly,
        ),
        pytest.param([(2, KILL)], {-signal.SIGKILL}, id="kill -9"),
        pytest.param(
            [(step, KILL) for step in range(1, 6)],
            {-signal.SIGKILL},
            id="kill -9 in each step",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_a_run_that_is_cut_off_leaves_no_machine(
    stage: Stage, tmp_path: Path, cuts: Sequence[tuple[int, Sequence[signal.Signals]]], exit_codes: set[int]
) -> None:
    with ThreadPoolExecutor(len(cuts)) as pool:
        codes = list(pool.map(lambda cut: cut_off(stage, tmp_path / f"{cut[0]}{len(cut[1])}", *cut), cuts))
    assert set(codes) <= exit_codes
    # The machine of step 1 may have been on its way when its run ended: it must not come to stay.
    hold_for("nothing to be rented", stage.rented, lambda there: not there, seconds=3)
