"""The search for canaries can fail: one is put into every kind of place, and it is heard there."""

from __future__ import annotations

import base64
import gzip
import io
import json
import os
import secrets
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from robot import result
from robot.api import ResultWriter

from rekindle.waiting import wait_until
from sandbox.parts import parts_of
from sandbox.state import CloudConfig, Ports, StateDir
from tests.accounts import IS_ROOT
from tests.secrets import canaries
from tests.secrets.hunt import Told, not_read
from tests.secrets.search import Search, Searched, files_below
from tests.secrets.watch import Fleeting, Processes, kind_of

CANARY = "c4n4ry \"of'\\/+%&<é>0123456789abcdef"
TOKEN = b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0ZXN0QHRlc3QuY29tIn0.c2lnbmF0dXJl"


def chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


def as_it_is(path: Path) -> None:
    path.write_text(f"a line\nbefore {CANARY} after\n")


def in_json(path: Path) -> None:
    path.write_text(json.dumps({"password": CANARY}))


def in_python(path: Path) -> None:
    path.write_text(repr({"password": CANARY}))


def in_an_address(path: Path) -> None:
    path.write_text(f"https://me:{quote(CANARY, safe='')}@host/")


def in_basic_authorization(path: Path) -> None:
    path.write_bytes(b"header: " + base64.b64encode(b"test@test.com:" + CANARY.encode()))


def in_hexadecimal(path: Path) -> None:
    path.write_text(CANARY.encode().hex())


def in_utf_16(path: Path) -> None:
    path.write_bytes(b"\0\xff" + CANARY.encode("utf-16-le"))


def cut(path: Path) -> None:
    path.write_text(f"{CANARY[:17]}…")


def in_a_log_of_robot(path: Path) -> None:
    """Which keeps long texts compressed."""
    suite = result.TestSuite("Suite")
    keyword = suite.tests.create("Test", status="PASS").body.create_keyword("Keyword", status="PASS")
    keyword.body.create_message("long " * 1000 + CANARY)
    ResultWriter(result.Result(suite=suite)).write_results(log=path, report=None, output=None, stdout=io.StringIO())
    assert CANARY not in path.read_text()


def in_an_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trace/network", f"cookie: {CANARY}" * 10)


def compressed(path: Path) -> None:
    path.write_bytes(gzip.compress(f"password {CANARY}".encode() * 10))


def in_a_picture(path: Path) -> None:
    packed = b"Comment\0\0" + zlib.compress(f"typed {CANARY}".encode() * 10)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"zTXt", packed) + chunk(b"IEND", b""))


PLANTED = {
    "plain.log": as_it_is, "report.json": in_json, "console.txt": in_python, "address.txt": in_an_address,
    "headers.txt": in_basic_authorization, "dump.bin": in_hexadecimal, "profile.db": in_utf_16, "cut.txt": cut,
    "log.html": in_a_log_of_robot, "trace.zip": in_an_archive, "old.log.gz": compressed, "page.png": in_a_picture,
}  # fmt: skip


@pytest.mark.parametrize(("name", "plant"), PLANTED.items(), ids=[plant.__name__ for plant in PLANTED.values()])
def test_a_canary_is_found_in_every_kind_of_file(tmp_path: Path, name: str, plant: Callable[[Path], None]) -> None:
    plant(tmp_path / name)
    (tmp_path / "innocent").write_text("nothing at all")
    search = Search({"the password": CANARY.encode()})
    search.files("files", [tmp_path / "innocent", tmp_path / name], tmp_path)
    assert search.searched["files"].things == 2
    assert search.findings, name
    assert all(finding.secret.startswith("the password") for finding in search.findings)
    assert all(finding.where.startswith(name) for finding in search.findings)
    assert "c4n4ry" not in str(search.findings)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (b"Cookie: dumont_session=" + TOKEN, "a token (JWT)"),
        (b"&X-Amz-Signature=" + b"0a" * 32, "a signed request"),
        (b"Authorization: Bearer abcdefghij0123456789", "an Authorization header"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----", "a private key"),
        (b"the login of [redacted DUMONT_PASSWORD]", "a secret that had to be redacted"),
    ],
)
def test_what_is_derived_is_found(text: bytes, name: str) -> None:
    search = Search({"the password": CANARY.encode()})
    search.texts("texts", {"innocent": b"nothing", "guilty": b"line\n" + text, "innocent too": b"nothing"})
    (finding,) = search.findings
    assert (finding.secret, finding.where) == (name, "guilty")


def test_every_credential_of_a_cloud_is_a_canary(tmp_path: Path) -> None:
    state = StateDir(tmp_path / "cloud")
    canaries.plant(state.root)
    state.create()
    found = canaries.of_cloud(state.root)
    assert "\"'" in found["dumont_password"].decode()
    assert set(found) == set(type(state.secrets()).model_fields) - canaries.PUBLIC | {"SSH key user", "SSH key control"}
    search = Search(found)
    search.files("home", [state.root / "secrets.json", state.user_key, state.control_key], tmp_path)
    heard = {finding.secret.partition(" (")[0] for finding in search.findings} - {"a private key"}
    assert heard == set(found)
    other = StateDir(tmp_path / "other cloud")
    other.create()
    outside = Search(found)
    outside.files("other keys", [*(tmp_path / "other cloud").rglob("*"), *state.keys.glob("*.pub")], tmp_path)
    assert {finding.secret for finding in outside.findings} == {"a private key"}


# ── Processes ───────────────────────────────────────────────────────────────────────────────────────────────────────

WAITING = "print(flush=True); input()"


@pytest.mark.parametrize("grown_up", [False, True], ids=["child", "detached"])
@pytest.mark.parametrize("place", ["command lines", "environments"])
def test_a_canary_is_seen_at_a_process(place: str, *, grown_up: bool) -> None:
    canary = secrets.token_hex(16)
    at_command_line = [canary] if place == "command lines" else []
    environment = {"PATH": os.defpath} | ({"TOKEN": canary} if place == "environments" else {})
    command = [sys.executable, "-c", WAITING, *at_command_line]
    if grown_up:  # its parent has ended
        command = ["sh", "-c", 'exec 3<&0; "$@" <&3 & exit', "sh", *command]
    processes = Processes()
    with (
        processes.watched(),
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        seen = {"command lines": processes.command_lines, "environments": processes.environments}[place]
        wait_until("the process to be seen", seen, lambda texts: canary in str(texts), timeout=10)
        process.stdin.write(b"\n")
        process.stdin.close()
    search = Search({"the token": canary.encode()})
    search.texts("command lines", processes.command_lines())
    search.texts("environments", processes.environments())
    assert {(finding.secret, finding.kind) for finding in search.findings} == {("the token", place)}


def test_an_environment_that_the_kernel_hides_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user may not read that of sshd; its command line is searched all the same."""
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "environ":
            raise PermissionError(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    processes = Processes()

    def seen() -> int:
        processes.look()
        return processes.kinds()["sshd"]

    with subprocess.Popen([sys.executable, "-c", WAITING, "sshd"], stdin=subprocess.PIPE) as process:
        wait_until("the process to be seen", seen, bool, timeout=10)
        process.communicate(b"\n")
    assert processes.hidden()["sshd"] == 1
    assert any(b"sshd" in text for text in processes.command_lines().values())
    assert not processes.environments()
    hidden = told(not_witnessed=["environments of 1 processes of kind sshd"])
    assert hidden.passed
    assert "Not witnessed: environments of 1 processes of kind sshd" in str(hidden)


def test_only_the_program_that_was_given_credentials_may_have_them() -> None:
    canary = secrets.token_hex(16)
    inner = [sys.executable, "-c", WAITING]
    program = [sys.executable, "-c", f"import subprocess; subprocess.run({inner!r})"]
    processes = Processes()
    processes.may_know("\0".join([*program, ""]).encode())
    with (
        processes.watched(),
        subprocess.Popen(program, env={"TOKEN": canary}, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        assert process.stdout
        assert process.stdin
        process.stdout.readline()
        wait_until("its child to be seen", processes.environments, lambda texts: canary in str(texts), timeout=10)
        process.stdin.write(b"\n")
        process.stdin.close()
    guilty = [name for name, text in processes.environments().items() if canary.encode() in text]
    assert not any(f"process {process.pid}," in name for name in guilty)
    assert len(guilty) == 1


def test_processes_are_told_apart(tmp_path: Path) -> None:
    assert kind_of(b"/usr/bin/python3.11\0-m\0robot\0suites\0") == "robot"
    assert kind_of(b"/x/.venv/bin/python\0-m\0rekindle.guard\0") == "guard"
    state = StateDir(tmp_path)
    state.create()
    ports = Ports(control=1, market=2, store=3)
    for part in parts_of(state, CloudConfig(cloud_id="", ports=ports), state.secrets(), ["weed"]):
        assert kind_of("\0".join([*part.command, ""]).encode()) == part.name
    assert kind_of(b"ssh: /tmp/socket [mux]\0") == "ssh"
    assert kind_of(b"/bin/bash\0") == "on machines and others"


# ── Files that do not last, and what was not searched ───────────────────────────────────────────────────────────────


def test_a_file_that_does_not_last_is_searched(tmp_path: Path) -> None:
    search = Search({"the password": CANARY.encode()})
    fleeting = Fleeting(lambda files: search.files("disks", files, tmp_path), lambda: [tmp_path / "disk"])
    (tmp_path / "disk").mkdir()
    file = tmp_path / "disk" / "notes"
    with fleeting.watched():
        file.write_text("nothing yet")
        wait_until("it to be searched", lambda: search.searched, lambda searched: "disks" in searched, timeout=10)
        as_it_is(file)
        wait_until("it to be found", lambda: search.findings, bool, timeout=10)
        file.unlink()


def test_what_the_user_may_not_read_is_not_witnessed(tmp_path: Path) -> None:
    """Root may read all of it, and finds what is there. An ordinary user learns what was not searched."""
    closed, folder, private = tmp_path / "closed", tmp_path / "folder", tmp_path / "folder" / "private"
    folder.mkdir()
    for path in (closed, private, tmp_path / "open"):
        as_it_is(path)
    closed.chmod(0)
    folder.chmod(0)
    search = Search({"the password": CANARY.encode()})
    search.files("shared", files_below(tmp_path), tmp_path)
    folder.chmod(0o700)
    found = {finding.where for finding in search.findings}
    if IS_ROOT:
        assert (found, search.closed) == ({"open", "closed", "folder/private"}, {})
        assert not_read(search) == []
    else:
        assert (found, search.closed) == ({"open"}, {"shared": {closed, folder}})
        assert not_read(search) == [
            f"2 files and folders, shared: user {os.geteuid()} may not read them, such as {closed}"
        ]


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o600])
def test_files_that_do_not_last_in_a_closed_folder_are_not_witnessed(tmp_path: Path, mode: int) -> None:
    """Without permission to list it, or to look at what is listed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    as_it_is(folder / "notes")
    search = Search({"the password": CANARY.encode()})
    fleeting = Fleeting(lambda files: search.files("disks", files, tmp_path), lambda: [tmp_path])
    folder.chmod(mode)
    fleeting.look()
    folder.chmod(0o700)
    assert (bool(search.findings), bool(not_read(search))) == (IS_ROOT, not IS_ROOT)


def told(**changes: object) -> Told:
    nothing: dict[str, object] = {"searched": {}, "processes": {}, "canaries": [], "needles": 1}
    nothing |= {"findings": {}, "unsearched": [], "failed_runs": []}
    return Told(**(nothing | changes))  # type: ignore[arg-type]


def test_nothing_searched_is_red() -> None:
    search = Search({"the password": CANARY.encode()})
    search.texts("console", {"run": b"all well"})
    search.texts("log.html", {"run": b""})
    assert search.nothing_in(["console", "log.html", "screenshots"]) == ["log.html", "screenshots"]
    assert told().passed
    assert not told(unsearched=["screenshots"]).passed
    assert not told(failed_runs=["on live"]).passed
    assert "NOTHING SEARCHED: screenshots" in str(told(unsearched=["screenshots"]))


def test_a_finding_is_red_and_its_value_is_not_shown() -> None:
    search = Search({"the password": CANARY.encode()})
    search.texts("console", {"run": CANARY.encode()})
    found = told(searched={"console": Searched(1, 1)}, findings=search.findings)
    assert not found.passed
    assert "FOUND 1 times: the password: console, run, first at byte 0" in str(found)
    assert json.loads(found.as_json())["findings"] == [
        {"secret": "the password", "kind": "console", "where": "run", "bytes": [0]}
    ]
    assert "c4n4ry" not in str(found) + found.as_json()
