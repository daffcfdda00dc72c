"""Machines over SSH, on a real sshd of the user's own."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from library_parts.other_libraries import log_in
from rekindle import ssh
from rekindle.errors import Misconfigured, Unknown
from rekindle.quoting import ssh_path
from rekindle.ssh import ConnectionLost, HostKeyChanged, Machine, RemoteFailure, SshRefused
from rekindle.waiting import Timeout, wait_until

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {host_key}
AuthorizedKeysFile {keys}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 200:30:400
MaxSessions {sessions}
"""


class Server:
    """An sshd in a folder of its own, with an empty home, and the /run/sshd that it wants when it is root."""

    def __init__(self, folder: Path, sessions: int = 200) -> None:
        self.folder = folder
        self.port = _free_port()
        self._sessions = sessions
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        for name in ("host", "user"):
            self.make_key(name)
        self.start()

    @property
    def key(self) -> Path:
        return self.folder / "user"

    def make_key(self, name: str, kind: str = "ed25519") -> None:
        path = self.folder / name
        path.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)

    def start(self) -> None:
        config = self.folder / "config"
        text = CONFIG.format(
            port=self.port,
            host_key=ssh_path(self.folder / "host").replace("%%", "%"),  # no tokens are expanded in it
            keys=ssh_path(self.folder / "user.pub"),
            sessions=self._sessions,
        )
        config.write_text(text)
        folder = str(self.folder)
        jail = ["bwrap", "--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/", "--proc", "/proc"]
        jail += ["--tmpfs", "/run", "--dir", "/run/sshd", "--tmpfs", str(Path.home()), "--bind", folder, folder]
        command = [*jail, "/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until("sshd to listen", self._listens, bool, timeout=20, hopeless=self._ended)

    def kill(self) -> None:
        """Ends it with every session, as the end of a machine does."""
        if self._process:
            self._process.kill()
            self._process.wait()
            wait_until("sshd to be gone", self._listens, lambda listens: not listens, timeout=20)

    def _ended(self, _: bool) -> str | None:
        ended = self._process is None or self._process.poll() is not None
        return f"it ended: {(self.folder / 'log').read_text()}" if ended else None

    def _listens(self) -> bool:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Spaces and per cent signs: ssh must not take paths apart.
    server = Server(tmp_path_factory.mktemp("ssh") / "a server")
    yield server
    server.kill()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "own")
    yield server
    server.kill()


MakeMachine = Callable[[Server], Machine]


@pytest.fixture
def make_machine(tmp_path: Path) -> Iterator[MakeMachine]:
    with contextlib.ExitStack() as machines:

        def make(server: Server) -> Machine:
            known_hosts = tmp_path / "100% known" / "hosts"
            machine = Machine("127.0.0.1", server.port, server.key, known_hosts, "rekindle-7", getpass.getuser())
            return machines.enter_context(machine)

        yield make


@pytest.fixture
def machine(server: Server, make_machine: MakeMachine) -> Machine:
    machine = make_machine(server)
    machine.pin()
    return machine


def test_arguments_arrive_as_they_are(machine: Machine) -> None:
    odd = ["a b", "$HOME", "'", '"', "new\nline", "", "*", "ü", "\udcff", "; exit 3"]
    done = machine.run('printf "%s\\0" "$@"', *odd)
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in odd]


def test_output_errors_and_exit_code_are_told_apart(machine: Machine) -> None:
    done = machine.run("echo out; echo err >&2; exit 3", check=False)
    assert (done.stdout, done.stderr, done.exit_code, done.text) == (b"out\n", b"err\n", 3, "out")


def test_a_script_that_fails_says_where_and_why(machine: Machine) -> None:
    with pytest.raises(RemoteFailure) as failure:
        machine.run("echo no such luck >&2; exit 3")
    where = f"rekindle-7 ({getpass.getuser()}@127.0.0.1:{machine.port})"
    assert str(failure.value) == (f"On {where}, `echo no such luck >&2; exit 3` ended with exit code 3: no such luck")
    assert failure.value.exit_code == 3


@pytest.mark.parametrize("script", ["exit 255", "kill -9 $$"])
def test_exit_code_255_of_the_script_is_not_taken_for_a_lost_connection(machine: Machine, script: str) -> None:
    assert machine.run(script, check=False).exit_code in {255, 137}


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
@pytest.mark.parametrize("kind", ["bytes", "memory", "file"])
def test_standard_input_arrives_whole(machine: Machine, tmp_path: Path, kind: str, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    with (tmp_path / "data").open("rb") as file:
        source = {"bytes": data, "memory": io.BytesIO(data), "file": file}[kind]
        assert machine.run("cat", stdin=source).stdout == data  # type: ignore[arg-type]  # a dict of three kinds


def test_without_standard_input_there_is_nothing_to_read(machine: Machine) -> None:
    assert machine.run("cat").stdout == b""


def test_a_stream_comes_in_pieces_and_whole(machine: Machine) -> None:
    chunks = list(machine.stream('head -c "$1" /dev/zero', "5000000"))
    assert sum(map(len, chunks)) == 5_000_000
    assert max(map(len, chunks)) <= ssh.CHUNK


def test_a_stream_that_breaks_off_is_an_error(machine: Machine) -> None:
    chunks = machine.stream("echo begun; echo disk is gone >&2; exit 4")
    assert next(chunks) == b"begun\n"
    with pytest.raises(RemoteFailure, match="exit code 4: disk is gone"):
        next(chunks)


def test_a_stream_that_is_given_up_ends(machine: Machine) -> None:
    chunks = machine.stream("yes")
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # it is a generator
    assert machine.run("echo on").text == "on"


def test_what_does_not_end_is_given_up(machine: Machine) -> None:
    with pytest.raises(Timeout, match=r"`sleep 30` did not end within 0\.2 s\. It may still be running there\."):
        machine.run("sleep 30", timeout=0.2)
    with pytest.raises(Timeout, match=r"`sleep 30` did not end within 0\.2 s"):
        list(machine.stream("sleep 30", timeout=0.2))
    assert machine.run("echo on").text == "on"


def test_first_contact_records_the_key_that_the_server_has(server: Server, machine: Machine) -> None:
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / "host.pub")], check=True, capture_output=True, text=True
    )
    assert machine.host_key_fingerprint() == shown.stdout.split()[1]
    assert machine.pin() == shown.stdout.split()[1]


def test_nothing_runs_before_the_first_contact(server: Server, make_machine: MakeMachine, tmp_path: Path) -> None:
    machine = make_machine(server)
    for use in (lambda: machine.run("true"), machine.answers, machine.host_key_fingerprint):
        with pytest.raises(Unknown) as unknown:
            use()
        assert str(unknown.value) == (
            f"UNKNOWN: No host key of rekindle-7 is recorded in {tmp_path / '100% known' / 'hosts'}: "
            "pin() makes the first contact."
        )


def test_another_host_key_is_noticed_and_both_are_named(own_server: Server, make_machine: MakeMachine) -> None:
    machine = make_machine(own_server)
    first = machine.pin()
    own_server.kill()
    own_server.make_key("host")
    own_server.start()
    for use in (machine.answers, machine.pin, lambda: machine.run("true")):
        with pytest.raises(HostKeyChanged) as changed:
            use()
        assert str(changed.value).startswith("Another machine answers as rekindle-7 (")
        assert f"recorded at first contact was {first}." in str(changed.value)
        assert str(changed.value).count("SHA256:") == 2
    assert machine.host_key_fingerprint() == first


def test_a_host_key_of_another_type_is_noticed_too(own_server: Server, make_machine: MakeMachine) -> None:
    machine = make_machine(own_server)
    machine.pin()
    own_server.kill()
    own_server.make_key("host", "ecdsa")
    own_server.start()
    with pytest.raises(HostKeyChanged):
        machine.pin()


def test_a_machine_that_is_gone_refuses(own_server: Server, make_machine: MakeMachine) -> None:
    machine = make_machine(own_server)
    machine.pin()
    assert machine.answers()
    own_server.kill()
    assert not machine.answers()
    with pytest.raises(SshRefused) as refused:
        machine.run("true")
    where = f"rekindle-7 ({getpass.getuser()}@127.0.0.1:{machine.port})"
    assert str(refused.value) == (
        f"SSH to {where} was refused: ssh: connect to host 127.0.0.1 port {machine.port}: Connection refused. "
        "The machine may still be booting, be stopped, or be gone."
    )
    own_server.start()
    assert machine.answers()
    assert machine.run("echo back").text == "back"


def test_a_machine_that_dies_under_a_script_is_not_a_failed_script(
    own_server: Server, make_machine: MakeMachine
) -> None:
    machine = make_machine(own_server)
    machine.pin()
    chunks = machine.stream("echo begun; sleep 60")
    assert next(chunks) == b"begun\n"
    own_server.kill()
    with pytest.raises(ConnectionLost, match=r"^UNKNOWN: The connection to rekindle-7 .*How far it came is not known"):
        next(chunks)


def test_a_shared_connection_that_died_is_made_anew(machine: Machine) -> None:
    assert machine._connection
    os.kill(machine._connection._process.pid, signal.SIGKILL)
    assert machine.run("echo on").text == "on"
    assert machine.run("echo on").text == "on"


def test_a_key_that_is_not_let_in(server: Server, make_machine: MakeMachine, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    machine = make_machine(server)
    machine.key_path = stranger
    with pytest.raises(SshRefused, match=r"Permission denied \(publickey\)\. Is the public half of SSH_KEY_PATH"):
        machine.pin()
    assert not machine.answers()


def test_a_server_that_takes_no_further_session_gets_a_further_connection(
    tmp_path: Path, make_machine: MakeMachine
) -> None:
    server = Server(tmp_path / "narrow", sessions=1)
    try:
        machine = make_machine(server)
        machine.pin()
        assert machine.run("echo on").text == "on"
    finally:
        server.kill()


def test_fifty_at_once(server: Server, tmp_path: Path) -> None:
    known_hosts = tmp_path / "hosts"
    machines = [
        Machine("127.0.0.1", server.port, server.key, known_hosts, f"rekindle-{n}", getpass.getuser())
        for n in range(50)
    ]

    def visit(machine: Machine) -> str:
        with machine:
            machine.pin()
            return machine.run('echo "$1"', machine.alias).text

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(visit, machines)) == [machine.alias for machine in machines]
    assert sorted(line.split()[0] for line in known_hosts.read_text().splitlines()) == sorted(
        machine.alias for machine in machines
    )


def test_many_calls_share_one_machine(machine: Machine) -> None:
    with ThreadPoolExecutor(20) as pool:
        words = [str(n) for n in range(60)]
        assert [done.text for done in pool.map(lambda word: machine.run('echo "$1"', word), words)] == words


def test_ssh_sees_none_of_our_environment(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2_APPLICATION_KEY", "canary-5e")
    machine.close()
    machine.run("true")
    assert machine._connection
    environment = Path(f"/proc/{machine._connection._process.pid}/environ").read_bytes()
    assert b"canary-5e" not in environment
    assert b"PATH=" in environment


def test_ctrl_c_of_the_terminal_does_not_reach_ssh(machine: Machine) -> None:
    assert machine._connection
    assert os.getsid(machine._connection._process.pid) != os.getsid(0)


def test_a_missing_ssh_is_told(server: Server, make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Misconfigured, match=r"^`ssh` is not installed here: apt-get install openssh-client$"):
        make_machine(server).pin()


def test_the_end_leaves_no_process_and_no_file(machine: Machine) -> None:
    assert machine._connection
    pid, directory = machine._connection._process.pid, machine._connection.socket.parent
    assert directory.stat().st_mode & 0o077 == 0
    machine.close()
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_the_connection_ends_when_its_owner_is_killed(server: Server, tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rekindle.ssh import Machine\n"
        "machine = Machine('127.0.0.1', int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), 'm', sys.argv[4])\n"
        "machine.pin()\n"
        "print(machine._connection._process.pid, machine._connection.socket.parent, flush=True)\n"
        "time.sleep(60)\n"
    )
    arguments = [str(server.port), str(server.key), str(tmp_path / "hosts"), getpass.getuser()]
    owner = subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE)
    assert owner.stdout
    master, directory = owner.stdout.readline().decode().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until("the master to end", lambda: Path(f"/proc/{master}/cmdline"), lambda p: not _runs(p), timeout=10)
    shutil.rmtree(directory)


def _runs(cmdline: Path) -> bool:
    try:
        return cmdline.read_bytes() != b""
    except FileNotFoundError:
        return False


# Through SSHLibrary


@pytest.fixture
def ssh_library() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it uses what Robot Framework 9 will not have
        from SSHLibrary import SSHLibrary  # noqa: PLC0415
    library = SSHLibrary()
    yield library
    library.close_all_connections()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_sshlibrary_refuses_another_host_key(
    own_server: Server, make_machine: MakeMachine, ssh_library: Any, kind: str
) -> None:
    machine = make_machine(own_server)
    first = machine.pin()
    own_server.kill()
    own_server.make_key("host", kind)
    own_server.start()
    with pytest.raises(HostKeyChanged, match=rf"Another machine answers as rekindle-7 .* is not {re.escape(first)}, "):
        log_in(ssh_library, machine)
    assert ssh_library.get_connections() == []
