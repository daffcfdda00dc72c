"""The bubblewrap options that all machines of a user share.

`sandbox.hosts` runs machines with them, `sandbox.isolation` tries them before a cloud starts.
"""

from __future__ import annotations

import os

SEARCH_PATH = "/opt/rekindle/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# What a container has: enough for sshd and file ownership, nothing that reaches the host.
_CAPABILITIES = (
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)


def isolation() -> list[str]:
    """Privileges and namespaces of a machine.

    An ordinary user needs a user namespace to be root in the machine. Root must not have one: sshd could not drop
    its groups in it.
    """
    privileges = ["--unshare-user"]
    if os.getuid() == 0:
        privileges = ["--cap-drop", "ALL"]
        for capability in _CAPABILITIES:
            privileges += ["--cap-add", capability]
    return [*privileges, "--unshare-pid", "--as-pid-1", "--unshare-uts", "--unshare-ipc", "--die-with-parent"]


def system() -> list[str]:
    """The part of a machine's file system that is not on its own disk. Some of it lies in /etc: mount that first."""
    # fmt: off
    return [
        "--ro-bind", "/usr", "/usr",
        "--symlink", "usr/bin", "/bin", "--symlink", "usr/sbin", "/sbin",
        "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64",
        "--ro-bind", "/etc/ssl", "/etc/ssl",
        "--ro-bind", "/etc/alternatives", "/etc/alternatives",
        "--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache",
        "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/run", "--dir", "/run/sshd", "--perms", "1777", "--dir", "/var/tmp",  # noqa: S108 - its own
    ]
    # fmt: on
