"""The way to the embedded cloud: by its command line and its control API, and by nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rekindle import embedded
from rekindle.embedded import CloudDown, EmbeddedCloud
from rekindle.errors import Misconfigured, Unknown
from rekindle.waiting import wait_until

ADMIN = "the admin's"

# A command line that writes down how it was called, and does what the files beside it say.
COMMAND_LINE = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
answer = here / sys.argv[1]
if answer.exists():
    print(answer.read_text())
error = here / f"{sys.argv[1]}.error"
if error.exists():
    print(error.read_text(), file=sys.stderr)
    sys.exit(int((here / "exit_code").read_text()))
"""


class CommandLine:
    """`python -m sandbox`, played by a script."""

    def __init__(self, project: Path) -> None:
        self.folder = project / "sandbox"
        self.folder.mkdir()
        (self.folder / "__init__.py").touch()
        (self.folder / "__main__.py").write_text(COMMAND_LINE)
        key = project / "key"
        key.touch(mode=0o600)
        self.environment = {
            "DUMONT_API_URL": "http://127.0.0.1:9",
            "DUMONT_EMAIL": "test@test.com",
            "DUMONT_PASSWORD": "password",
            "VAST_URL": "http://127.0.0.1:9",
            "B2_KEY_ID": "id",
            "B2_APPLICATION_KEY": "key",
            "B2_BUCKET": "bucket",
            "B2_ENDPOINT": "http://127.0.0.1:9",
            "SSH_KEY_PATH": str(key),
            "SANDBOX_CONTROL_TOKEN": ADMIN,
        }
        self.stands_at()

    def stands_at(self, **changes: str) -> None:
        self.environment |= changes
        self.answers("env", json.dumps(self.environment))

    def answers(self, verb: str, text: str) -> None:
        (self.folder / verb).write_text(text)

    def refuses(self, verb: str, text: str, exit_code: int = 1) -> None:
        (self.folder / f"{verb}.error").write_text(text)
        (self.folder / "exit_code").write_text(str(exit_code))

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setattr(embedded, "PROJECT_DIR", tmp_path)
    return CommandLine(tmp_path)


class ControlApi(ThreadingHTTPServer):
    """A part of the cloud that takes faults, and writes down what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str, Any]] = []
        self.status = 201
        self.body = b'{"name": "storm"}'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: ControlApi

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        assert self.headers["authorization"] == f"Bearer {ADMIN}"
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def control_api() -> Iterator[ControlApi]:
    with ControlApi() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def part() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process
        process.kill()


def test_up_takes_a_lease_and_returns_how_the_cloud_is_entered(command_line: CommandLine) -> None:
    settings = EmbeddedCloud().up()
    assert settings.dumont_api_url == "http://127.0.0.1:9"
    assert settings.dumont_password.get_secret_value() == "password"
    assert command_line.calls() == [["up", "--detach", "--lease", str(os.getpid())], ["env", "--json"]]


def test_a_cloud_of_its_own_is_named_in_every_call(command_line: CommandLine, tmp_path: Path) -> None:
    cloud = EmbeddedCloud(tmp_path / "own")
    cloud.up(profile="realistic", lease=1)
    cloud.status()
    cloud.down()
    own = ["--state-dir", str(tmp_path / "own")]
    assert command_line.calls() == [
        ["up", "--detach", *own, "--lease", "1", "--profile", "realistic"],
        ["env", "--json", *own],
        ["status", *own],
        ["down", *own],
    ]


def test_a_directory_is_where_the_user_means_it(command_line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    EmbeddedCloud(Path("own")).status()
    EmbeddedCloud(Path("~/own")).status()
    assert [call[-1] for call in command_line.calls()] == [str(Path.cwd() / "own"), "/home/somebody/own"]


def test_a_cloud_that_does_not_start_is_told_in_its_own_words(command_line: CommandLine) -> None:
    command_line.refuses("up", "store: no port\nThe store has died.")
    with pytest.raises(CloudDown) as raised:
        EmbeddedCloud().up()
    command = f"python -m sandbox up --detach --lease {os.getpid()}"
    assert str(raised.value) == f"store: no port\nThe store has died.\nThis command failed: `{command}`"


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (
            "Traceback (most recent call last):\n  File\nModuleNotFoundError: No module",
            "ModuleNotFoundError: No module",
        ),
        ("", "It ended without a message (exit status 1)."),
    ],
)
def test_a_command_line_that_fails_by_itself_is_told_with_the_cause_first(
    command_line: CommandLine, words: str, first: str
) -> None:
    command_line.refuses("up", words)
    with pytest.raises(CloudDown) as raised:
        EmbeddedCloud().up()
    assert str(raised.value).splitlines()[0] == first


def test_what_the_user_gave_wrong_is_told_in_its_own_words(command_line: CommandLine, tmp_path: Path) -> None:
    command_line.refuses("up", f"{tmp_path} has mode 555.", exit_code=2)
    with pytest.raises(Misconfigured) as raised:
        EmbeddedCloud(tmp_path).up()
    assert str(raised.value) == f"`python -m sandbox up` was refused: {tmp_path} has mode 555."


def test_a_cloud_that_comes_up_again_has_not_moved(command_line: CommandLine) -> None:
    cloud = EmbeddedCloud()
    cloud.up()
    cloud.up_again()
    command_line.stands_at(VAST_URL="http://127.0.0.1:10", DUMONT_API_URL="http://127.0.0.1:11")
    with pytest.raises(CloudDown) as raised:
        cloud.up_again()
    assert str(raised.value) == (
        "The embedded cloud came up with another DUMONT_API_URL, VAST_URL than before, because its ports were taken "
        "meanwhile: close the target and open it again."
    )


def test_a_cloud_is_removed_with_its_own_directory(command_line: CommandLine, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    EmbeddedCloud(own).remove()
    assert [call[0] for call in command_line.calls()] == ["down", "reset"]
    assert not own.exists()


def test_faults_need_a_cloud_that_was_started(command_line: CommandLine) -> None:
    with pytest.raises(CloudDown) as raised:
        EmbeddedCloud().add_fault("control", {})
    assert str(raised.value) == "The embedded cloud has not been started by this run: call `Open Target` first."


def test_faults_go_to_a_part_and_leave_all_of_them(command_line: CommandLine, control_api: ControlApi) -> None:
    command_line.stands_at(DUMONT_API_URL=control_api.url, VAST_URL=control_api.url)
    cloud = EmbeddedCloud()
    cloud.up()
    cloud.add_fault("market", {"name": "storm"})
    cloud.mend()
    assert control_api.asked == [
        ("POST", "/_sandbox/faults", {"name": "storm"}),
        ("DELETE", "/_sandbox/faults", None),
        ("DELETE", "/_sandbox/faults", None),
    ]


def test_a_fault_that_is_refused_is_told(command_line: CommandLine, control_api: ControlApi) -> None:
    command_line.stands_at(DUMONT_API_URL=control_api.url)
    cloud = EmbeddedCloud()
    cloud.up()
    control_api.status, control_api.body = 422, b"no such kind"
    with pytest.raises(CloudDown) as raised:
        cloud.add_fault("control", {"kind": "odd"})
    assert str(raised.value) == "The embedded cloud's control refused POST /_sandbox/faults: 422 no such kind"


def test_a_part_that_takes_no_faults_is_told(command_line: CommandLine) -> None:
    cloud = EmbeddedCloud()
    cloud.up()
    with pytest.raises(Misconfigured) as raised:
        cloud.add_fault("store", {})
    assert str(raised.value) == "The embedded cloud has no part 'store' that takes faults. Parts: control, market."


def test_a_part_that_does_not_answer_is_told(command_line: CommandLine) -> None:
    cloud = EmbeddedCloud()
    cloud.up()
    with pytest.raises(
        CloudDown, match=r"^The embedded cloud's control does not answer at http://127\.0\.0\.1:9/_sand"
    ):
        cloud.add_fault("control", {})


def status_with(process: subprocess.Popen[bytes]) -> str:
    return (
        f"The cloud in /somewhere is up.\n"
        f"  control      http://127.0.0.1:1  process {process.pid + 1}  answers\n"
        f"  store        http://127.0.0.1:2  process {process.pid}  answers\n"
        f"  marketplace  http://127.0.0.1:3  no process  is dead\n"
    )


def test_the_part_that_status_names_is_killed(command_line: CommandLine, part: subprocess.Popen[bytes]) -> None:
    command_line.answers("status", status_with(part))
    EmbeddedCloud().kill("store")
    assert part.wait() == -signal.SIGKILL


def test_a_part_without_a_process_cannot_be_killed(command_line: CommandLine, part: subprocess.Popen[bytes]) -> None:
    command_line.answers("status", status_with(part))
    with pytest.raises(CloudDown) as raised:
        EmbeddedCloud().kill("marketplace")
    assert str(raised.value).startswith(
        "The embedded cloud has no running part 'marketplace':\nThe cloud in /somewhere"
    )


def test_a_part_is_killed_when_it_is_due(command_line: CommandLine, part: subprocess.Popen[bytes]) -> None:
    command_line.answers("status", status_with(part))
    looks = iter([False, False, True])
    EmbeddedCloud().kill_when("store", lambda: next(looks))
    assert part.wait() == -signal.SIGKILL
    assert next(looks, None) is None


def test_an_error_ends_the_watch(command_line: CommandLine, part: subprocess.Popen[bytes]) -> None:
    command_line.answers("status", status_with(part))
    before = set(threading.enumerate())

    def look() -> bool:
        raise Unknown("nobody answers")

    EmbeddedCloud().kill_when("store", look)
    wait_until("the watch to end", lambda: set(threading.enumerate()) - before, lambda left: not left, timeout=10)
    assert part.poll() is None


def test_mending_calls_off_what_was_to_be_killed(
    command_line: CommandLine, control_api: ControlApi, part: subprocess.Popen[bytes]
) -> None:
    command_line.stands_at(DUMONT_API_URL=control_api.url, VAST_URL=control_api.url)
    command_line.answers("status", status_with(part))
    cloud = EmbeddedCloud()
    cloud.up()
    before = set(threading.enumerate())
    due = threading.Event()
    cloud.kill_when("store", due.is_set)
    cloud.mend()
    due.set()
    wait_until("the watch to end", lambda: set(threading.enumerate()) - before, lambda left: not left, timeout=10)
    assert part.poll() is None


def test_mending_starts_what_was_stopped_and_makes_the_bucket_usable(
    command_line: CommandLine, control_api: ControlApi
) -> None:
    command_line.stands_at(DUMONT_API_URL=control_api.url, VAST_URL=control_api.url)
    cloud = EmbeddedCloud()
    cloud.up()
    before = len(command_line.calls())
    cloud.stop_part("store")
    cloud.stop_part("control")
    cloud.start_part("control")
    cloud.break_bucket("full")
    for _ in range(2):  # the second finds nothing to mend
        cloud.mend()
    assert command_line.calls()[before:] == [
        ["stop", "store"],
        ["stop", "control"],
        ["start", "control"],
        ["bucket", "full"],
        ["start", "store"],
        ["bucket", "usable"],
    ]


@pytest.mark.parametrize(("back_after", "expected"), [(0.01, ["stop", "start"]), (None, ["stop"])])
def test_a_part_is_stopped_when_it_is_due(
    command_line: CommandLine, back_after: float | None, expected: list[str]
) -> None:
    looks = iter([False, True])
    before = set(threading.enumerate())
    EmbeddedCloud().stop_part_when("store", lambda: next(looks), back_after)
    wait_until("the watch to end", lambda: set(threading.enumerate()) - before, lambda left: not left, timeout=10)
    assert command_line.calls() == [[verb, "store"] for verb in expected]


def test_mending_ends_an_outage_that_is_under_way(command_line: CommandLine, control_api: ControlApi) -> None:
    command_line.stands_at(DUMONT_API_URL=control_api.url, VAST_URL=control_api.url)
    cloud = EmbeddedCloud()
    cloud.up()
    before = len(command_line.calls())
    cloud.stop_part_when("store", lambda: True, back_after=3600)
    wait_until("the outage", lambda: len(command_line.calls()), lambda count: count > before, timeout=10)
    cloud.mend()
    assert command_line.calls()[before:] == [["stop", "store"], ["start", "store"]]


def test_a_machine_is_taken_away(command_line: CommandLine, control_api: ControlApi) -> None:
    command_line.stands_at(VAST_URL=control_api.url)
    cloud = EmbeddedCloud()
    cloud.up()
    cloud.preempt(7)
    before = set(threading.enumerate())
    looks = iter([False, True])
    cloud.preempt_when(8, lambda: next(looks))
    wait_until("the watch to end", lambda: set(threading.enumerate()) - before, lambda left: not left, timeout=10)
    assert control_api.asked == [
        ("POST", "/_sandbox/instances/7/preempt", None),
        ("POST", "/_sandbox/instances/8/preempt", None),
    ]
