"""Other people's keyword libraries, as a suite has imported them."""

from __future__ import annotations

from typing import Any

from robot.libraries.BuiltIn import BuiltIn

from rekindle.errors import Misconfigured
from rekindle.ssh import HostKeyChanged, Machine

SSH_PORT = 22


def imported(name: str) -> Any:
    """Return the instance of a library that the running suite uses.

    Raises:
        Misconfigured: the suite does not import it.
    """
    try:
        return BuiltIn().get_library_instance(name)
    except RuntimeError:
        raise Misconfigured(
            f"This keyword needs {name}, which the suite does not import. Add a line to its settings: Library    {name}"
        ) from None


def log_in(ssh_library: Any, machine: Machine, alias: str | None = None) -> None:
    """Open a connection of SSHLibrary that accepts the recorded host key of a machine and no other.

    Args:
        ssh_library: the instance of SSHLibrary.
        machine: machine whose host key is recorded.
        alias: name of the connection in SSHLibrary.

    Raises:
        HostKeyChanged: the machine shows another host key.
    """
    import paramiko  # noqa: PLC0415 - takes a quarter of a second, and SSHLibrary has imported it already

    kind, key = machine.host_key()
    place = machine.host if machine.port == SSH_PORT else f"[{machine.host}]:{machine.port}"
    ssh_library.open_connection(machine.host, alias=alias, port=machine.port)
    client = ssh_library.current.client
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{place} {kind} {key}")
    client.get_host_keys().add(place, kind, entry.key)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        ssh_library.login_with_public_key(machine.user, str(machine.key_path), delay="0s")
    except (paramiko.BadHostKeyException, paramiko.ssh_exception.IncompatiblePeer) as error:
        ssh_library.close_connection()
        raise HostKeyChanged(
            f"Another machine answers as {machine.alias} ({machine.user}@{machine.host}:{machine.port}): its host key "
            f"is not {machine.host_key_fingerprint()}, which was recorded at first contact ({error})."
        ) from None
