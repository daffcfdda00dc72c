"""Entering machines with OpenSSH: our own key, host keys pinned at first contact, one connection for all calls."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.control import process
from sandbox.control.errors import ApiError
from sandbox.control.quoting import ssh_path
from sandbox.control.sockets import sockets_of

CONNECT_WITHIN = 5  # seconds
CONNECTION_KEPT = 60  # seconds after its last use
SSH_FAILED = 255  # the exit code with which ssh speaks of itself


class SshError(ApiError):
    """The machine could not be entered, or the connection was lost."""


@dataclass(frozen=True)
class Machine:
    """A machine that can be entered."""

    instance_id: int
    options: tuple[str, ...]
    title: str = ""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.title or f"Instance {self.instance_id}"

    async def run(
        self,
        script: str,
        *arguments: str,
        payload: bytes = b"",
        hold: bool = False,
        within: float | None = 60,
        line: Callable[[bytes], None] | None = None,
        hopeless: Callable[[bytes], bool] | None = None,
    ) -> process.Finished:
        """Runs a constant bash script, which finds the arguments in "$1" …; the rest is as in `process.run`.

        Raises:
            SshError: no connection, a strange host key, or no end within its time.
        """
        command = shlex.join(["bash", "-c", script, "dumont", *arguments])
        try:
            finished = await process.run(
                ["ssh", *self.options, command],
                payload=payload, hold=hold, within=within, line=line, hopeless=hopeless,
            )  # fmt: skip
        except TimeoutError:
            raise SshError(504, f"{self.name}: the command did not end within {within:g} s") from None
        if finished.code == SSH_FAILED:
            raise SshError(502, f"{self.name}: {_reason(finished.words)}")
        return finished

    async def execute(self, command: str, *, within: float) -> process.Finished:
        """Runs what a user typed, and tells the command's own exit code from ssh's."""
        mark = secrets.token_hex(16)
        finished = await self.run('bash -c "$1" </dev/null\nprintf "%s %d" "$2" "$?"', command, mark, within=within)
        output, marked, code = finished.stdout.rpartition(mark.encode())
        if not marked:
            raise SshError(502, f"{self.name}: the connection was lost before the command had ended")
        return process.Finished(int(code), output, finished.stderr)


class Door:
    """Knows how machines are entered."""

    def __init__(self, key: Path, known_hosts: Path, cloud_id: str) -> None:
        self._sockets = sockets_of(cloud_id)
        settings = {
            "User": "root",
            "IdentityFile": ssh_path(key),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "BatchMode": "yes",
            # Accepts a host that was never seen, refuses one whose key has changed.
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": ssh_path(known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "HashKnownHosts": "no",
            "UpdateHostKeys": "no",
            "ConnectTimeout": CONNECT_WITHIN,
            "ServerAliveInterval": 5,
            "ServerAliveCountMax": 3,
            # A new connection costs 140 ms of handshake, a shared one 10 ms.
            "ControlMaster": "auto",
            "ControlPersist": CONNECTION_KEPT,
            "ControlPath": ssh_path(self._sockets, "/%k"),
            "LogLevel": "ERROR",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        self._options = ("-F", "/dev/null", "-T", *options)

    def open(self) -> None:
        """Makes the private folder for the sockets of shared connections."""
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        found = self._sockets.lstat()
        if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
            raise PermissionError(f"{self._sockets} is not a private folder of this user: remove it and start again")

    def close(self) -> None:
        """Forgets the shared connections. Each ends by itself: when its machine does, or a while after its last use."""
        shutil.rmtree(self._sockets, ignore_errors=True)

    def machine(self, instance_id: int, host: str, port: int) -> Machine:
        return Machine(instance_id, self._way(f"instance-{instance_id}", host, port))

    def standby(self, machine_id: int, name: str, host: str, port: int) -> Machine:
        """A machine of the CPU cloud."""
        return Machine(machine_id, self._way(f"standby-{machine_id}", host, port), f"Standby {name}")

    def _way(self, alias: str, host: str, port: int) -> tuple[str, ...]:
        return (*self._options, "-p", str(port), "-o", f"HostKeyAlias={alias}", "--", host)


def _reason(words: str) -> str:
    if "HOST IDENTIFICATION HAS CHANGED" in words or "Host key verification failed" in words:
        return "its host key is not the one seen at first contact; the machine is not entered"
    return f"SSH failed: {words or 'the connection was lost'}"
