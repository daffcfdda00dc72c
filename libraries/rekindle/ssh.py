"""A rented machine over OpenSSH: scripts, streams, and a host key that is checked from the first contact on.

One connection a machine is held open and shared by every call, so that a call takes milliseconds. It is made anew when
it has died. Scripts are constant bash text; what varies arrives as their arguments, or on their standard input.

RekindleError
├── SshRefused          no connection: nothing was executed
├── HostKeyChanged      (Mismatch) another machine answers at this address
├── ConnectionLost      (Unknown) the connection broke while a script ran
├── Timeout             the script did not end in time
└── RemoteFailure       the script itself failed: `exit_code`, `stderr`
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import re
import selectors
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from rekindle.errors import Misconfigured, Mismatch, RekindleError, Unknown
from rekindle.private_folder import place_for_sockets
from rekindle.quoting import ssh_path
from rekindle.waiting import Timeout

# Seconds until the machine says that it speaks SSH, and until the login is done: that one costs both sides processor
# time, and fifty may be logging in at once.
CONNECT_TIMEOUT = 10
LOGIN_TIMEOUT = 30
# Between the tries of a connection that was refused, seconds. Nothing was executed yet, so that trying again is safe.
PAUSES = (0.2, 0.5)
CHUNK = 1 << 20
# ssh itself ends with this, and so does a script that a signal killed.
NO_EXIT_CODE = 255
# What ssh says when it could not log in: it makes a connection of its own where the shared one takes no more sessions.
NOT_EXECUTED = re.compile(
    r"^(ssh: |kex_exchange_|Host key verification failed|.*Permission denied \(|Connection (closed|reset) by)",
    re.MULTILINE,
)
# Says that the shell is there, then stays until our end of its standard input closes: however we die, it ends.
HOLD = "echo ready; exec cat >/dev/null"


class SshRefused(RekindleError):
    """No SSH connection was made. Nothing was executed."""


class HostKeyChanged(Mismatch):
    """The machine that answers is not the one that was met first at this address."""


class ConnectionLost(Unknown):
    """The connection broke while a script ran: how far it came is not known."""


class RemoteFailure(RekindleError):
    """A script ended with an error.

    Attributes:
        exit_code: its exit code.
        stderr: the end of what it wrote to standard error.
    """

    def __init__(self, message: str, exit_code: int, stderr: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr = stderr


@dataclass(frozen=True)
class Completed:
    """A script that ended."""

    stdout: bytes
    stderr: bytes
    exit_code: int

    @property
    def text(self) -> str:
        """Standard output as text, without the last line end. Bytes that are not UTF-8 survive as surrogates."""
        return self.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")


class Machine:
    """Access to a machine over SSH. Thread-safe; many may be used at once.

    Args:
        known_hosts: file that records its host key. Several machines may share the file.

    Attributes:
        host: address for SSH.
        port: port for SSH.
        user: account on the machine.
        key_path: file of the private key that the machine accepts.
        alias: name that the host key is recorded under. Addresses are reused by other machines, names are not.
    """

    host: str
    port: int
    user: str
    key_path: Path
    alias: str

    def __init__(self, host: str, port: int, key_path: Path, known_hosts: Path, alias: str, user: str = "root") -> None:
        self.host = host
        self.port = port
        self.alias = alias
        self.key_path = key_path
        # What scripts were given and have answered: less than what went over the wire, never more.
        self.sent_bytes = 0
        self.received_bytes = 0
        # The largest tree that was seen on it: whatever is saved, restored or synced is not much more.
        self.tree_bytes = 0
        self._known_hosts = known_hosts
        self.user = user
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

    def __repr__(self) -> str:
        return f"Machine({self.alias}, {self.user}@{self.host}:{self.port})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pin(self) -> str:
        """Makes the first contact and records the host key; strict when one is recorded already. Leaves a connection
        that stands as it is.

        Returns:
            The fingerprint of the host key.

        Raises:
            SshRefused: no connection; nothing was recorded.
            HostKeyChanged: another key is recorded under this alias.
        """
        self._known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock:
            if self._connection is None or not self._connection.alive():
                self._connect(first_contact=self._recorded_key() is None)
        return self.host_key_fingerprint()

    def host_key_fingerprint(self) -> str:
        """The recorded host key as ssh shows it: `SHA256:…`.

        Raises:
            Unknown: `pin` was not called, so that there is none.
        """
        digest = hashlib.sha256(base64.b64decode(self.host_key()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def host_key(self) -> tuple[str, str]:
        """Return the recorded host key: its type, such as `ssh-ed25519`, and the key in base64.

        Raises:
            Unknown: `pin` was not called, so that there is none.
        """
        key = self._recorded_key()
        if key is None:
            raise Unknown(
                f"No host key of {self.alias} is recorded in {self._known_hosts}: pin() makes the first contact."
            )
        return key

    def run(
        self,
        script: str,
        *args: str,
        stdin: bytes | BinaryIO | None = None,
        timeout: float = 120.0,
        check: bool = True,
    ) -> Completed:
        """Runs a bash script to its end.

        Args:
            script: constant bash text.
            args: arrive as "$1", "$2", … whatever characters they hold.
            stdin: what the script reads from its standard input; nothing when None.
            timeout: seconds for the script, after which we stop waiting; on the machine it may go on.
            check: raise when it fails; otherwise its exit code is for the caller.

        Raises:
            SshRefused, HostKeyChanged: no connection; nothing was executed.
            RemoteFailure, ConnectionLost, Timeout: see the module.
        """
        with contextlib.ExitStack() as files:
            source = files.enter_context(_as_file(stdin)) if stdin is not None else subprocess.DEVNULL
            process = self._start(script, args, source, subprocess.PIPE)
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                raise self._timeout(script, timeout) from None
            finally:
                _end(process)
        self._moved(received=len(stdout) + len(stderr), sent=len(stdin) if isinstance(stdin, bytes) else 0)
        exit_code = self._exit_code(process, script, stderr)
        if check and exit_code:
            raise self._failure(script, exit_code, stderr)
        return Completed(stdout, stderr, exit_code)

    def stream(self, script: str, *args: str, timeout: float = 600.0) -> Iterator[bytes]:
        """Runs a bash script and yields its standard output as it comes, in chunks of at most 1 MiB.

        What was yielded is whole only when the iteration ends without an error. Giving it up early ends the script.

        Args:
            script: constant bash text.
            args: arrive as "$1", "$2", …
            timeout: seconds for the whole script.

        Raises:
            As `run` does.
        """
        deadline = time.monotonic() + timeout
        with tempfile.TemporaryFile() as errors:
            process = self._start(script, args, subprocess.DEVNULL, errors)
            try:
                assert process.stdout is not None  # noqa: S101 - it was asked for
                with selectors.DefaultSelector() as selector:
                    selector.register(process.stdout, selectors.EVENT_READ)
                    while True:
                        if not selector.select(max(0.0, deadline - time.monotonic())):
                            raise self._timeout(script, timeout)
                        chunk = os.read(process.stdout.fileno(), CHUNK)
                        if not chunk:
                            break
                        self._moved(received=len(chunk))
                        yield chunk
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    raise self._timeout(script, timeout) from None
            finally:
                _end(process)
            errors.seek(0)
            stderr = errors.read()
        if exit_code := self._exit_code(process, script, stderr):
            raise self._failure(script, exit_code, stderr)

    def answers(self) -> bool:
        """Whether one can log in now; one try.

        Raises:
            HostKeyChanged: somebody answers, but it is another machine.
        """
        try:
            with self._lock:
                if self._connection is None or not self._connection.alive():
                    self._connect(first_contact=False)
            self.run("exit 0", timeout=LOGIN_TIMEOUT)
        except (SshRefused, ConnectionLost, Timeout):
            return False
        return True

    def close(self) -> None:
        """Ends the connection. The machine can be used again afterwards: it connects anew."""
        with self._lock:
            if self._connection:
                self._connection.close()
                self._connection = None

    # Connecting

    def _moved(self, received: int, sent: int = 0) -> None:
        with self._lock:
            self.received_bytes += received
            self.sent_bytes += sent

    def _start(
        self, script: str, args: tuple[str, ...], stdin: int | BinaryIO, stderr: int | BinaryIO
    ) -> subprocess.Popen[bytes]:
        with self._lock:
            pauses = iter(PAUSES)
            while self._connection is None or not self._connection.alive():
                try:
                    self._connect(first_contact=False)
                except SshRefused:
                    pause = next(pauses, None)
                    if pause is None:
                        raise
                    time.sleep(pause)
            socket = self._connection.socket
        command = shlex.join(["bash", "-c", script, "bash", *args])
        ssh = [*self._ssh(first_contact=False), "-S", str(socket), "-o", "ControlMaster=no"]
        return _popen([*ssh, self._target(), command], stdin, stderr)

    def _connect(self, *, first_contact: bool) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None
        connection = _Connection([*self._ssh(first_contact=first_contact), "-M"], self._target())
        if complaint := connection.open():
            connection.close()
            raise self._refusal(complaint)
        self._connection = connection

    def _target(self) -> str:
        return f"{self.user}@{self.host}"

    def _ssh(self, *, first_contact: bool) -> list[str]:
        """An ssh that obeys nothing but these options: no configuration, agent, password or forwarding of the user."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "accept-new" if first_contact else "yes",
            "UserKnownHostsFile": ssh_path(self._known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "UpdateHostKeys": "no",
            "HashKnownHosts": "no",
            "HostKeyAlias": self.alias,
            "IdentityFile": ssh_path(self.key_path),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "PreferredAuthentications": "publickey",
            "ForwardAgent": "no",
            "ClearAllForwardings": "yes",
            "ConnectTimeout": str(CONNECT_TIMEOUT),
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "LogLevel": "ERROR",
        }
        pairs = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "/dev/null", "-T", "-p", str(self.port), *pairs]

    def _recorded_key(self) -> tuple[str, str] | None:
        """Type and key as recorded."""
        try:
            lines = self._known_hosts.read_text().splitlines()
        except FileNotFoundError:
            return None
        return next(
            ((words[1], words[2]) for line in lines if (words := line.split()) and words[0] == self.alias), None
        )

    # Errors

    def _where(self) -> str:
        return f"{self.alias} ({self._target()}:{self.port})"

    def _refusal(self, complaint: str) -> RekindleError:
        if "IDENTIFICATION HAS CHANGED" in complaint or "host key is known for" in complaint:
            recorded = self.host_key_fingerprint()
            shown = re.search(r"SHA256:[\w+/]+", complaint)
            return HostKeyChanged(
                f"Another machine answers as {self._where()}: its host key is {shown[0] if shown else 'another one'}, "
                f"recorded at first contact was {recorded}."
            )
        last = complaint.splitlines()[-1].rstrip(".") if complaint else "ssh ended without a word"
        advice = (
            "Is the public half of SSH_KEY_PATH registered with the market's account?"
            if "Permission denied" in last
            else "The machine may still be booting, be stopped, or be gone."
        )
        return SshRefused(f"SSH to {self._where()} was refused: {last}. {advice}")

    def _exit_code(self, process: subprocess.Popen[bytes], script: str, stderr: bytes) -> int:
        """The script's exit code, when it was the script that ended."""
        exit_code = process.returncode
        if exit_code != NO_EXIT_CODE:
            return exit_code
        if NOT_EXECUTED.search(complaint := stderr.decode(errors="replace").strip()):
            raise self._refusal(complaint)
        if not (self._connection and self._connection.answers()):
            raise ConnectionLost(
                f"The connection to {self._where()} broke while it ran `{_excerpt(script)}`: "
                f"{_tail(stderr) or 'ssh gave no reason'}. How far it came is not known."
            )
        return exit_code

    def _failure(self, script: str, exit_code: int, stderr: bytes) -> RemoteFailure:
        tail = _tail(stderr)
        return RemoteFailure(
            f"On {self._where()}, `{_excerpt(script)}` ended with exit code {exit_code}: {tail or 'no error text'}",
            exit_code,
            tail,
        )

    def _timeout(self, script: str, timeout: float) -> Timeout:
        return Timeout(
            f"On {self._where()}, `{_excerpt(script)}` did not end within {timeout:g} s. It may still be running there."
        )


class _Connection:
    """The connection that the calls share: an ssh master that lives as long as we hold its standard input."""

    def __init__(self, ssh: list[str], target: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="ssh-", dir=place_for_sockets()))
        self._remove = weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self._errors = self._directory / "errors"
        self.socket = self._directory / "ssh"
        self._ssh = [*ssh, "-S", str(self.socket)]
        self._target = target
        with self._errors.open("wb") as errors:
            self._process = _popen([*self._ssh, target, HOLD], subprocess.PIPE, errors)

    def open(self) -> str | None:
        """Waits for the login. Returns None when it is there, else what ssh said."""
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        deadline = time.monotonic() + LOGIN_TIMEOUT
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            # A shell's start-up files may talk before us.
            while not said.endswith(b"ready\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return f"no login within {LOGIN_TIMEOUT} s"
                chunk = os.read(self._process.stdout.fileno(), CHUNK)
                if not chunk:
                    _end(self._process)
                    return self._errors.read_text(errors="replace").strip()
                said += chunk
        return None

    def alive(self) -> bool:
        return self._process.poll() is None

    def answers(self) -> bool:
        """Asks the master itself: one that is just dying is still a process, but does not answer."""
        if not self.alive():
            return False
        check = subprocess.run(
            ["ssh", "-F", "/dev/null", "-S", str(self.socket), "-O", "check", self._target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env=_environment(),
        )
        return check.returncode == 0

    def close(self) -> None:
        _end(self._process)
        self._remove()


def _popen(command: list[str], stdin: int | BinaryIO, stderr: int | BinaryIO) -> subprocess.Popen[bytes]:
    """Starts ssh out of reach of the terminal's Ctrl-C: who is interrupted must still be able to clean up by SSH."""
    try:
        return subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=_environment(), start_new_session=True
        )
    except FileNotFoundError:
        raise Misconfigured(f"`{command[0]}` is not installed here: apt-get install openssh-client") from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills what still runs, and leaves neither a zombie nor an open pipe."""
    if process.poll() is None:
        process.kill()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()


def _environment() -> dict[str, str]:
    """What ssh needs, and none of the credentials that our own environment may hold."""
    return {"PATH": os.environ.get("PATH", os.defpath)}


def _as_file(data: bytes | BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    """Standard input as a real file, which ssh reads by itself."""
    if not isinstance(data, bytes):
        try:
            data.fileno()
        except (io.UnsupportedOperation, AttributeError):
            pass
        else:
            return contextlib.nullcontext(data)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    if isinstance(data, bytes):
        spool.write(data)
    else:
        shutil.copyfileobj(data, spool, CHUNK)
    spool.seek(0)
    return spool


def _tail(stderr: bytes, limit: int = 1000) -> str:
    text = stderr.decode(errors="replace").strip()
    return text if len(text) <= limit else "…" + text[-limit:]


def _excerpt(script: str, limit: int = 80) -> str:
    line = " ".join(script.split())
    return line if len(line) <= limit else line[:limit] + "…"
