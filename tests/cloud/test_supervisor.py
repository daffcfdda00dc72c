"""The whole cloud by its command line: it starts, is joined, breaks, says so, comes back, and hides what it must."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from sandbox.processes import ProcessId
from sandbox.state import StateDir
from sandbox.supervisor import Standing, standing
from tests.accounts import IS_ROOT
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.market_under_test import identity
from tests.nightly import nightly_but

DEADLINE = 30.0
PARTS = ("control", "marketplace", "store")


def eventually(what: str, look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)


def running(cloud: CloudUnderTest) -> Standing:
    found = standing(StateDir(cloud.state_dir))
    assert found is not None
    return found


def processes(cloud: CloudUnderTest) -> list[psutil.Process]:
    """The supervisor and everything below it."""
    supervisor = psutil.Process(running(cloud).supervisor.pid)
    return [supervisor, *supervisor.children(recursive=True)]


def all_gone(gone: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in gone)


# ── a cloud that is up ──────────────────────────────────────────────────────────────────────────────────────────────


def test_status_of_a_cloud_that_is_up(cloud: CloudUnderTest) -> None:
    done = cloud.run("status")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in PARTS:
        assert re.search(rf"^  {part} +http://127\.0\.0\.1:\d+ .*answers$", done.stdout, re.MULTILINE), done.stdout
    assert "Machines: 0 rented" in done.stdout


def test_env_for_a_shell_and_as_json_say_the_same(cloud: CloudUnderTest) -> None:
    as_json = json.loads(cloud.run("env", "--json").stdout)
    script = 'eval "$1"; exec env --null'
    shell = subprocess.run(
        ["bash", "-c", script, "-", cloud.run("env").stdout], env={}, stdout=subprocess.PIPE, text=True, check=True
    )
    exported = dict(line.split("=", 1) for line in shell.stdout.split("\0") if line)
    assert exported.items() >= as_json.items()
    assert as_json["SANDBOX_CONTROL_TOKEN"]
    assert as_json == cloud.environment


def test_a_second_up_joins(cloud: CloudUnderTest) -> None:
    before = running(cloud)
    for options in ((), ("--profile", "instant")):
        done = cloud.run("up", "--detach", "--lease", str(os.getpid()), *options)
        assert done.returncode == 0
        assert "It was already up." in done.stdout
        assert cloud.environment["DUMONT_API_URL"] in done.stdout
    assert running(cloud) == before


@pytest.mark.parametrize("options", [("--profile", "realistic"), ("--seed", "77"), ("--store-port", "12001")])
def test_a_second_up_that_wants_another_cloud_is_refused(cloud: CloudUnderTest, options: tuple[str, str]) -> None:
    done = cloud.run("up", "--detach", *options)
    assert done.returncode == 2
    assert f"instead of {options[1]}" in done.stderr
    assert "sandbox down" in done.stderr
    assert running(cloud).phase == "ready"


def test_reset_refuses_while_it_is_up(cloud: CloudUnderTest) -> None:
    done = cloud.run("reset")
    assert done.returncode == 2
    assert "is up" in done.stderr
    assert cloud.run("status").returncode == 0


def test_nothing_listens_or_talks_outside_of_loopback(cloud: CloudUnderTest) -> None:
    connections = [connection for process in processes(cloud) for connection in process.net_connections(kind="inet")]
    listening = {connection.laddr for connection in connections if connection.status == psutil.CONN_LISTEN}
    assert {address.ip for address in listening} == {"127.0.0.1"}
    ports = StateDir(cloud.state_dir).config().ports
    assert {ports.control, ports.market, ports.store} <= {address.port for address in listening}
    assert {connection.raddr.ip for connection in connections if connection.raddr} <= {"127.0.0.1"}


def secret_values(cloud: CloudUnderTest) -> list[str]:
    state = StateDir(cloud.state_dir)
    no_secrets = {"dumont_email", "b2_bucket", "r2_bucket"}
    return [*state.secrets().model_dump(exclude=no_secrets).values(), *map(_body, (state.user_key, state.control_key))]


def _body(private_key: Path) -> str:
    return private_key.read_text().splitlines()[2]


def test_no_process_shows_a_secret(cloud: CloudUnderTest) -> None:
    values = secret_values(cloud)
    looked_at = processes(cloud)
    assert len(looked_at) > len(PARTS)
    for process in looked_at:
        shown = f"{process.cmdline()} {process.environ()}"
        assert not [value for value in values if value in shown], f"{process.name()} shows a secret"


def test_parts_inherit_no_credentials(cloud: CloudUnderTest) -> None:
    parts = processes(cloud)[1:]
    assert parts
    for part in parts:
        assert "canary" not in str(part.environ())


def test_no_log_holds_a_secret_and_no_secret_file_is_open_to_others(cloud: CloudUnderTest) -> None:
    values = [value.encode() for value in secret_values(cloud)]
    holding = []
    for path in cloud.state_dir.rglob("*"):
        if path.is_file() and any(value in path.read_bytes() for value in values):
            assert path.suffix != ".log", f"{path} holds a secret"
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, f"{path} is open to others"
            holding.append(path.name)
    assert {"secrets.json", "s3.json", "user", "control"} <= set(holding)
    assert stat.S_IMODE(cloud.state_dir.stat().st_mode) == 0o700


# ── coming and going ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_down_and_up_again_keeps_addresses_and_credentials(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    before, all_processes = own_cloud.environment, processes(own_cloud)
    done = own_cloud.run("down")
    assert (done.returncode, "its state is kept" in done.stdout) == (0, True)
    assert all_gone(all_processes)
    status = own_cloud.run("status")
    assert status.returncode == 1
    assert "is down." in status.stdout
    assert "went down by itself" not in status.stdout
    assert "was not up" in own_cloud.run("down").stdout
    while_down = own_cloud.run("env", "--json")
    assert json.loads(while_down.stdout) == before
    assert "the cloud is down" in while_down.stderr
    own_cloud.up()
    assert own_cloud.environment == before


@pytest.mark.parametrize("number", nightly_but(signal.SIGINT, [signal.SIGINT, signal.SIGTERM]))
def test_the_foreground_tells_how_to_use_it_and_ends_in_order(own_cloud: CloudUnderTest, number: int) -> None:
    with own_cloud.start("up") as foreground:
        assert foreground.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            line = foreground.stdout.readline()
            assert line, said
            said += line
        for part in PARTS:
            assert re.search(rf"^  {part} .* ready after", said, re.MULTILINE), said
        assert f'eval "$(python -m sandbox env --state-dir {shlex.quote(str(own_cloud.state_dir))})"' in said
        all_processes = processes(own_cloud)
        foreground.send_signal(number)
        assert foreground.wait(DEADLINE) == 0
        assert foreground.stderr is not None
        assert foreground.stderr.read() == ""
    assert all_gone(all_processes)
    assert "went down by itself" not in own_cloud.run("status").stdout


def test_the_page_is_shown_at_the_port_that_it_has(own_cloud: CloudUnderTest, tmp_path: Path) -> None:
    """Also where the usual port is taken, so that nobody opens the page of another cloud."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        asked = ("--console-port", str(taken.getsockname()[1]))
        assert "asked for as --console-port" in own_cloud.run("up", "--detach", *asked).stderr
    up = own_cloud.run("up", "--detach", "--lease", str(os.getpid()))
    page = StateDir(own_cloud.state_dir).config().console_url + "/login?auto_login=demo"
    assert f"\n  web page     {page}\n" in up.stdout
    assert f"\nWeb page: {page}\n" in own_cloud.run("status").stdout
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" >"$HOME/opened"\n')
    browser.chmod(0o755)
    command = own_cloud.command("open")
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for more, expected in (
        ({}, f"There is no display or no browser here. The page with its login: {page}\n"),
        ({"DISPLAY": ":9", "BROWSER": str(browser)}, f"Opened in your browser: {page}\n"),
    ):
        done = subprocess.run(
            command, cwd=PROJECT_DIR, env=plain | more, capture_output=True, text=True, check=True, timeout=DEADLINE
        )
        assert done.stdout == expected
    assert (tmp_path / "opened").read_text() == f"{page}\n"
    answer = httpx2.get(page, follow_redirects=True, trust_env=False)
    assert (answer.status_code, answer.url.path) == (200, "/app")


@pytest.mark.nightly
def test_down_while_it_starts(own_cloud: CloudUnderTest) -> None:
    for _ in range(5):
        with own_cloud.start("up", "--detach") as starting:
            eventually("it starts", lambda: standing(StateDir(own_cloud.state_dir)) is not None)
            own_cloud.run("down")
            ended = starting.wait(DEADLINE)
            assert starting.stderr is not None
            said = starting.stderr.read()
        if ended:  # on a busy machine it may be up before `down` is heard
            break
    assert ended == 1
    assert "taken down before it was ready" in said
    own_cloud.up()


def test_many_at_once_start_one(own_cloud: CloudUnderTest) -> None:
    starts = [own_cloud.start("up", "--detach", "--lease", str(os.getpid())) for _ in range(4)]
    said = [start.communicate(timeout=DEADLINE) for start in starts]
    assert [start.returncode for start in starts] == [0] * 4, said
    assert sum("It was already up." in out for out, _ in said) == 3
    assert own_cloud.run("status").returncode == 0


@pytest.mark.nightly
def test_two_clouds_live_side_by_side(cloud: CloudUnderTest, own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    for name in ("DUMONT_API_URL", "VAST_URL", "B2_ENDPOINT", "VAST_API_KEY", "DUMONT_PASSWORD"):
        assert own_cloud.environment[name] != cloud.environment[name]
    assert own_cloud.run("status").returncode == 0
    own_cloud.down()
    assert cloud.run("status").returncode == 0


@pytest.mark.nightly
def test_clouds_that_start_at_the_same_moment_get_ports_of_their_own(tmp_path: Path) -> None:
    clouds = [CloudUnderTest(tmp_path / str(number)) for number in range(3)]
    try:
        starts = [cloud.start("up", "--detach", "--lease", str(os.getpid())) for cloud in clouds]
        said = [start.communicate(timeout=DEADLINE) for start in starts]
        assert [start.returncode for start in starts] == [0] * 3, said
        ports = [port for cloud in clouds for port in StateDir(cloud.state_dir).config().ports.model_dump().values()]
        taken = [port for port in ports if port]
        assert len(set(taken)) == len(taken) >= 9
    finally:
        for cloud in clouds:
            cloud.run("down")


# ── one part alone ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.nightly
def test_the_store_is_stopped_and_started_while_the_rest_runs_on(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    before = running(own_cloud)
    done = own_cloud.run("stop", "store")
    assert (done.returncode, done.stdout) == (0, "The store was stopped; the rest of the cloud runs on.\n")
    assert not before.parts["store"].is_alive()
    status = own_cloud.run("status")
    assert status.returncode == 1
    again = f"python -m sandbox start --state-dir {shlex.quote(str(own_cloud.state_dir))} store"
    assert re.search(rf"^  store .* is stopped; start it: {again}$", status.stdout, re.MULTILINE), status.stdout
    assert len(re.findall(r" answers$", status.stdout, re.MULTILINE)) == 2
    assert "was stopped already" in own_cloud.run("stop", "store").stdout
    for state in ("full", "usable"):
        refused = own_cloud.run("bucket", state)
        assert (refused.returncode, refused.stderr) == (1, f"The store is stopped. Start it: {again}\n")
    assert own_cloud.run("start", "store").stdout == "The store runs again.\n"
    assert own_cloud.run("start", "store").stdout == "The store ran already.\n"
    assert own_cloud.run("status").returncode == 0
    after = running(own_cloud)
    assert after.parts.pop("store") != before.parts.pop("store")
    assert after == before


@pytest.mark.nightly
def test_machines_come_back_with_the_marketplace(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    machine = rent(own_cloud)
    on_machine(own_cloud, machine, "echo kept >/workspace/file")
    own_cloud.run("stop", "marketplace")
    assert "Machines and bill: unknown" in own_cloud.run("status").stdout
    own_cloud.run("start", "marketplace")
    machine = running_machine(own_cloud, machine["id"])
    assert on_machine(own_cloud, machine, "cat /workspace/file") == "kept\n"


@pytest.mark.nightly
def test_up_ends_an_outage_and_mends_the_bucket(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    assert own_cloud.run("bucket", "read-only").stdout == "The bucket dumontcloud-snapshots is read-only.\n"
    assert "The bucket dumontcloud-snapshots is read-only. Mend it:" in own_cloud.run("status").stdout
    own_cloud.run("stop", "store")
    own_cloud.up()
    status = own_cloud.run("status")
    assert status.returncode == 0
    assert "read-only" not in status.stdout
    own_cloud.run("bucket", "full")
    own_cloud.run("stop", "control")
    own_cloud.down()
    own_cloud.up()
    status = own_cloud.run("status")
    assert status.returncode == 0
    assert "full" not in status.stdout


@pytest.mark.parametrize("arguments", [("stop", "store"), ("start", "store"), ("bucket", "full")])
def test_a_cloud_that_is_down_cannot_be_broken(tmp_path: Path, arguments: tuple[str, str]) -> None:
    done = CloudUnderTest(tmp_path / "cloud").run(*arguments)
    assert done.returncode == 1
    assert "is not up. Start it: python -m sandbox up" in done.stderr


@pytest.mark.nightly
def test_a_part_that_does_not_start_again_takes_the_cloud_down(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    own_cloud.run("stop", "control")
    state = StateDir(own_cloud.state_dir)
    state.control_db.unlink()
    state.control_db.mkdir()
    done = own_cloud.run("start", "control")
    assert done.returncode == 1
    assert "The control has died (exit code 1)" in done.stderr
    assert "control.log" in done.stderr
    assert own_cloud.run("status").returncode == 1


# ── breaking ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("part", nightly_but("control", PARTS))
def test_a_killed_part_is_named_and_the_next_up_works(own_cloud: CloudUnderTest, part: str) -> None:
    own_cloud.up()
    all_processes = processes(own_cloud)
    running(own_cloud).parts[part].kill(signal.SIGKILL)
    eventually("all processes are gone", lambda: all_gone(all_processes))
    status = own_cloud.run("status")
    assert status.returncode == 1
    assert f"The {part} has died (killed by SIGKILL)" in status.stdout
    log = re.search(r"Its log, (.+?), ends", status.stdout)
    assert log is not None
    assert Path(log[1]).is_file()
    assert f"The {part} has died" in (own_cloud.state_dir / "logs" / "supervisor.log").read_text()
    before = own_cloud.environment
    own_cloud.up()
    assert own_cloud.environment == before
    assert own_cloud.run("status").returncode == 0
    own_cloud.down()
    assert "has died" not in own_cloud.run("status").stdout, "an old failure is forgotten after a good start"


@pytest.mark.nightly
def test_the_foreground_says_which_part_died(own_cloud: CloudUnderTest) -> None:
    with own_cloud.start("up") as foreground:
        eventually("it is up", lambda: own_cloud.run("status").returncode == 0)
        running(own_cloud).parts["store"].kill(signal.SIGKILL)
        out, err = foreground.communicate(timeout=DEADLINE)
    assert foreground.returncode == 1
    assert err.startswith("The store has died (killed by SIGKILL)")
    assert "store.log" in err
    assert "Traceback" not in out + err


@pytest.mark.nightly
def test_a_killed_supervisor_leaves_nothing_behind(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    before, all_processes = own_cloud.environment, processes(own_cloud)
    running(own_cloud).supervisor.kill(signal.SIGKILL)
    eventually("all processes are gone", lambda: all_gone(all_processes))
    status = own_cloud.run("status")
    assert status.returncode == 1
    assert "supervisor has ended without a word" in status.stdout
    own_cloud.up()
    assert own_cloud.environment == before


@pytest.mark.parametrize("victim", nightly_but("supervisor", ["supervisor", "marketplace"]))
def test_machines_end_with_the_cloud_and_come_back_with_it(own_cloud: CloudUnderTest, victim: str) -> None:
    own_cloud.up()
    machine = rent(own_cloud)
    on_machine(own_cloud, machine, "echo kept > /workspace/file; nohup sleep 300 >/dev/null 2>&1 &")
    assert "Machines: 1 rented" in own_cloud.run("status").stdout
    all_processes = processes(own_cloud)
    assert {"sshd", "sleep"} <= {process.name() for process in all_processes}
    standing_now = running(own_cloud)
    {"supervisor": standing_now.supervisor, **standing_now.parts}[victim].kill(signal.SIGKILL)
    eventually("all processes are gone", lambda: all_gone(all_processes))
    assert "cannot be asked" in own_cloud.run("status").stdout
    own_cloud.up()
    machine = running_machine(own_cloud, machine["id"])
    assert on_machine(own_cloud, machine, "cat /workspace/file; pgrep sleep || echo no sleep") == "kept\nno sleep\n"
    assert re.search(
        rf"^  {machine['id']} .* running .*test-of-supervisor$", own_cloud.run("status").stdout, re.MULTILINE
    )


def rent(cloud: CloudUnderTest) -> dict[str, Any]:
    with market(cloud) as client:
        offers = client.post("/api/v0/bundles/", json={"rentable": {"eq": True}, "limit": 1}).json()["offers"]
        wish = {"client_id": "me", "image": "any", "disk": 1, "label": "test-of-supervisor", "runtype": "ssh"}
        rented = client.put(f"/api/v0/asks/{offers[0]['id']}/", json=wish).json()
    return running_machine(cloud, rented["new_contract"])


def running_machine(cloud: CloudUnderTest, number: int) -> dict[str, Any]:
    with market(cloud) as client:
        seen: dict[str, Any] = {}

        def runs() -> bool:
            seen.update(client.get(f"/api/v0/instances/{number}/").raise_for_status().json()["instances"])
            return bool(seen["actual_status"] == "running")

        eventually(f"machine {number} runs", runs)
    return seen


def market(cloud: CloudUnderTest) -> httpx2.Client:
    key = cloud.environment["VAST_API_KEY"]
    return httpx2.Client(
        base_url=cloud.environment["VAST_URL"], headers={"Authorization": f"Bearer {key}"}, trust_env=False
    )


def on_machine(cloud: CloudUnderTest, machine: dict[str, Any], script: str) -> str:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "IdentitiesOnly=yes")
    return subprocess.run(
        [
            *("ssh", "-F", "none", *identity(Path(cloud.environment["SSH_KEY_PATH"]))),
            *("-p", str(machine["ssh_port"])),
            *(f"-o{option}" for option in options),
            *("root@127.0.0.1", script),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=DEADLINE,
    ).stdout


@pytest.mark.nightly
def test_a_part_that_cannot_start_is_named_with_the_end_of_its_log(own_cloud: CloudUnderTest) -> None:
    StateDir(own_cloud.state_dir).create()
    StateDir(own_cloud.state_dir).market_db.mkdir()
    done = own_cloud.run("up", "--detach")
    assert done.returncode == 1
    assert "The marketplace has died (exit code" in done.stderr
    assert "market.log, ends:" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("    "), "the log's last lines are shown"
    assert "The marketplace has died" in own_cloud.run("status").stdout
    StateDir(own_cloud.state_dir).market_db.rmdir()
    own_cloud.up()


@pytest.mark.nightly
def test_a_cloud_whose_directory_is_removed_can_still_be_stopped(own_cloud: CloudUnderTest) -> None:
    with own_cloud.start("up") as foreground:
        eventually("it is up", lambda: own_cloud.run("status").returncode == 0)
        all_processes = processes(own_cloud)
        shutil.rmtree(own_cloud.state_dir)
        foreground.send_signal(signal.SIGINT)
        _, err = foreground.communicate(timeout=DEADLINE)
    assert "Traceback" not in err
    assert all_gone(all_processes)


def test_what_a_killed_supervisor_left_is_swept_up(own_cloud: CloudUnderTest) -> None:
    """The kernel ends the parts with their supervisor; should one slip through, the next start ends it."""
    StateDir(own_cloud.state_dir).create()
    with subprocess.Popen(["sleep", "60"]) as left:
        left_over = ProcessId(pid=left.pid, born=_born(left.pid))
        note = Standing(
            phase="ready",
            supervisor=ProcessId(pid=left.pid, born=left_over.born - 1),
            since="2026-01-01T00:00:00Z",  # type: ignore[arg-type]  # pydantic reads it
            parts={"store": left_over},
        )
        (own_cloud.state_dir / "supervisor.json").write_text(note.model_dump_json())
        own_cloud.up()
        assert left.wait(DEADLINE) == -signal.SIGKILL


def _born(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


# ── leases ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# The same command line, with a cloud that goes half a second after its last lease.
IMPATIENT = """
import sys, sandbox.supervisor as supervisor
from sandbox.__main__ import main
supervisor.LEASE_GRACE, supervisor._LEASE_LOOK = 0.5, 0.05
sys.exit(main())
"""


def up_impatient(cloud: CloudUnderTest, *options: str) -> None:
    arguments = cloud.command("up", "--detach", *options)[3:]
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT, *arguments], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def lessees() -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [subprocess.Popen(["sleep", "120"]) for _ in range(2)]
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.nightly
def test_a_cloud_goes_after_its_last_lease(own_cloud: CloudUnderTest, lessees: list[subprocess.Popen[bytes]]) -> None:
    first, last = lessees
    up_impatient(own_cloud, "--lease", str(first.pid))
    assert own_cloud.run("up", "--detach", "--lease", str(last.pid)).returncode == 0
    all_processes = processes(own_cloud)
    leases = own_cloud.state_dir / "leases"
    first.kill()
    first.wait()
    eventually("the first lease has ended", lambda: not (leases / str(first.pid)).exists())
    assert own_cloud.run("status").returncode == 0
    last.kill()
    last.wait()
    eventually("the cloud is gone", lambda: all_gone(all_processes))
    assert "Nobody has needed the cloud" in (own_cloud.state_dir / "logs" / "supervisor.log").read_text()
    assert "went down by itself" not in own_cloud.run("status").stdout
    assert own_cloud.run("env", "--json").returncode == 0


@pytest.mark.nightly
def test_a_cloud_that_was_also_started_by_hand_stays(
    own_cloud: CloudUnderTest, lessees: list[subprocess.Popen[bytes]]
) -> None:
    lessee, _ = lessees
    up_impatient(own_cloud, "--lease", str(lessee.pid))
    assert own_cloud.run("up", "--detach").returncode == 0
    lessee.kill()
    lessee.wait()
    leases = own_cloud.state_dir / "leases"
    eventually("the lease has ended", lambda: [file.name for file in leases.iterdir()] == ["by-hand"])
    assert own_cloud.run("status").returncode == 0
    own_cloud.down()
    assert list(leases.iterdir()) == []


# ── what a person gets wrong ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("part", nightly_but("control", ["control", "market", "store"]))
def test_a_taken_port_is_named_with_its_holder(own_cloud: CloudUnderTest, part: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = own_cloud.run("up", "--detach", f"--{part}-port", str(port))
    assert done.returncode == 2
    assert f"Port {port}, asked for as --{part}-port, is taken by process {os.getpid()} (" in done.stderr
    assert own_cloud.run("status").returncode == 1
    own_cloud.up(f"--{part}-port", str(port))
    assert f":{port}" in own_cloud.run("status").stdout


@pytest.mark.nightly
def test_a_port_of_the_last_run_that_is_taken_now_is_replaced(own_cloud: CloudUnderTest) -> None:
    own_cloud.up()
    before = StateDir(own_cloud.state_dir).config().ports
    own_cloud.down()
    with socket.create_server(("127.0.0.1", before.market)):
        own_cloud.up()
        after = StateDir(own_cloud.state_dir).config().ports
    assert after.market != before.market
    assert (after.control, after.store) == (before.control, before.store)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", "--profile", "lightning"], "invalid choice: 'lightning'"),
        (["up", "--control-port", "99999"], "99999 is not a port"),
        (["up", "--control-port", "http"], "http is not a port"),
        (["up", "--control-port", "12345", "--market-port", "12345"], "same port was asked for twice"),
        (["up", "--lease", "4194305"], "there is no process 4194305"),
        (["up", "--lease", "me"], "there is no process me"),
        (["up", "--seed", "x"], "invalid int value: 'x'"),
        (["up", "--state-dir", "/proc/cloud"], "The state directory /proc/cloud cannot be used"),
        (["up", "--state-dir", "/etc/passwd"], "/etc/passwd is a file, and a cloud needs a directory."),
        (["up", "--state-dir", "/etc/passwd/cloud"], "because /etc/passwd is not a directory that exists"),
        (["up", "--state-dir", "/nowhere/cloud"], "because /nowhere is not a directory that exists. Create that first"),
        (["up", "--state-dir", "two\nlines"], "has a control character or invalid UTF-8 in its path. Give another"),
        (["up", "--state-dir", "not \udcff UTF-8"], "has a control character or invalid UTF-8 in its path. Give"),
        (["up", "--state-dir", "/a/${HOME}"], "/a/${HOME} has ${ in its path, which ssh takes for a variable."),
        (["up", "--state-dir", "/a" + "/x" * 200], "state directory has 402 bytes, but may have at most 400: /a/x/x/"),
        (["reset", "--state-dir", "/etc"], "does not look like a cloud's state directory"),
        (["dance"], "invalid choice: 'dance'"),
        ([], "required: up|down|open|status|env|stop|start|bucket|clock|reset"),
    ],
)
def test_wrong_input_gets_one_clear_error(tmp_path: Path, arguments: list[str], says: str) -> None:
    here = [] if "--state-dir" in arguments or "up" not in arguments else ["--state-dir", str(tmp_path / "cloud")]
    command = [sys.executable, "-m", "sandbox", *arguments, *here]
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_with_other_files_is_refused(own_cloud: CloudUnderTest) -> None:
    own_cloud.state_dir.mkdir(mode=0o700)
    (own_cloud.state_dir / "notes").touch()
    done = own_cloud.run("up", "--detach")
    assert done.returncode == 2
    assert f"{own_cloud.state_dir} holds other files" in done.stderr
    assert [path.name for path in own_cloud.state_dir.iterdir()] == ["notes"]


def test_the_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    """Root gives one away; an ordinary user takes one of root."""
    folder, other = (tmp_path / "cloud", "nobody") if IS_ROOT else (Path("/etc"), "root")
    if IS_ROOT:
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
    before = set(folder.iterdir())
    done = CloudUnderTest(folder).run("up", "--detach")
    assert done.returncode == 2
    assert f"{folder} belongs to another user ({other})" in done.stderr
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("mode", [0o555, 0o755, 0o770, 0o600])
def test_permissions_of_an_existing_directory_are_not_changed(own_cloud: CloudUnderTest, mode: int) -> None:
    own_cloud.state_dir.mkdir()
    own_cloud.state_dir.chmod(mode)
    done = own_cloud.run("up", "--detach")
    assert done.returncode == 2
    assert done.stderr == (
        f"{own_cloud.state_dir} has mode {mode:o}, but a cloud keeps keys there and needs mode 700: chmod 700 "
        f"{shlex.quote(str(own_cloud.state_dir))}. Or give another directory (--state-dir, or STATE_DIR of the "
        "suites).\n"
    )
    assert own_cloud.state_dir.stat().st_mode & 0o777 == mode


def test_missing_programs_are_named_with_the_line_that_installs_them(
    own_cloud: CloudUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(own_cloud.state_dir))
    done = own_cloud.run("up", "--detach")
    assert done.returncode == 2
    assert "programs are missing: bwrap, restic" in done.stderr
    assert re.search(r"^    apt-get .*install .* bubblewrap .*restic", done.stderr, re.MULTILINE)


def test_a_cloud_that_never_was(own_cloud: CloudUnderTest) -> None:
    for verb, code in (("status", 1), ("open", 1), ("env", 1), ("down", 0), ("reset", 0)):
        done = own_cloud.run(verb)
        assert (done.returncode, done.stderr.count("Traceback")) == (code, 0), f"{verb}: {done.stderr}"
    assert not own_cloud.state_dir.exists(), "looking leaves nothing behind"


def test_damaged_state_is_said_and_can_be_reset(own_cloud: CloudUnderTest) -> None:
    StateDir(own_cloud.state_dir).create()
    (own_cloud.state_dir / "secrets.json").write_text("{")
    done = own_cloud.run("up", "--detach")
    assert done.returncode == 2
    assert "is damaged" in done.stderr
    assert "sandbox reset" in done.stderr
    assert own_cloud.run("reset").returncode == 0
    own_cloud.up()


def test_reset_forgets_everything_also_what_machines_closed(own_cloud: CloudUnderTest) -> None:
    state = StateDir(own_cloud.state_dir)
    state.create()
    closed = state.machines / "1" / "root" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").touch()
    (closed / "link").symlink_to("/etc/passwd")
    closed.chmod(0)
    closed.parent.chmod(0o500)
    done = own_cloud.run("reset")
    assert done.returncode == 0, done.stderr
    assert list(own_cloud.state_dir.iterdir()) == []
    assert "was empty" in own_cloud.run("reset").stdout
    assert Path("/etc/passwd").exists()
