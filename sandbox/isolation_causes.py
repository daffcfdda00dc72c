"""Why bubblewrap cannot run a machine on this computer, and what to do about it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

APPARMOR = "kernel.apparmor_restrict_unprivileged_userns"  # Ubuntu 23.10 and later
CLONE = "kernel.unprivileged_userns_clone"  # Debian's kernels
LIMITS = tuple(f"user.max_{kind}_namespaces" for kind in ("user", "pid", "uts", "ipc", "mnt"))
_NEW_LIMIT = 10000  # namespaces; a machine takes one of each kind
_OR_ROOT = "\nOr run as root."
_TOOLS = ("docker", "podman")  # containers that a command of the same name starts
# Docker's own profiles forbid namespaces, mounts, and the /proc of a new namespace.
_UNCONFINED = " ".join(f"--security-opt {part}=unconfined" for part in ("seccomp", "apparmor", "systempaths"))


@dataclass(frozen=True)
class Surroundings:
    """What decides whether bubblewrap works.

    Attributes:
        user: number of the user.
        container: kind of the container, such as docker; empty outside of containers, and in an unknown kind.
        settings: values of the kernel's settings, as far as the kernel has them.
    """

    user: int
    container: str = ""
    settings: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Surroundings:
        """Return the present surroundings. `root` is the folder that holds /proc and /run."""
        settings = {}
        for name in (APPARMOR, CLONE, *LIMITS):
            with suppress(OSError, ValueError):
                settings[name] = int((root / "proc/sys" / name.replace(".", "/")).read_text())
        return cls(os.getuid(), _container(root, environment), settings)

    @property
    def user_name(self) -> str:
        """The user as messages name it."""
        return f"user {self.user}" if self.user else "root"


@dataclass(frozen=True)
class Cause:
    """Why bubblewrap fails, as the end of a sentence, and the lines that say what to do."""

    reason: str
    remedy: str


def cause(words: str, bwrap: str, here: Surroundings) -> Cause:
    """Return the likely cause of a failure.

    Args:
        words: the last line that bubblewrap printed.
        bwrap: its path.
        here: where it failed.
    """
    return (
        _unfit_system(words)
        or _limit(words, here)
        or (_forbidden_to_users(words, bwrap, here) if here.user else None)
        or _container_forbids(here)
        or Cause(
            "the kernel or a security policy (seccomp, AppArmor, SELinux) forbids namespaces",
            "If this is a container, start it with --privileged. Otherwise see what the kernel logged:\n"
            f"    journalctl --dmesg --since=-5min{_OR_ROOT if here.user else ''}",
        )
    )


def _unfit_system(words: str) -> Cause | None:
    if "Unknown option" in words:
        return Cause("bubblewrap is too old", "Install bubblewrap 0.5 or newer.")
    if "find source path" in words:
        return Cause("a path that machines need is missing", "Create it, or use Debian or Ubuntu.")
    if "does not support user namespaces" in words:
        return Cause("the kernel has no user namespaces", f"Use a kernel that has them.{_OR_ROOT}")
    return None


def _limit(words: str, here: Surroundings) -> Cause | None:
    """A limit for namespaces. Machines of root have no user namespace."""
    limits = {name: here.settings[name] for name in LIMITS[0 if here.user else 1 :] if name in here.settings}
    zero = [name for name, value in limits.items() if value == 0]
    if zero:
        lines = [f"sysctl -w {name}={_NEW_LIMIT}" for name in zero]
        only_users = zero == ["user.max_user_namespaces"]
        return Cause(f"the kernel setting {zero[0]} is 0", _as_administrator(*lines) + (_OR_ROOT if only_users else ""))
    if "ENOSPC" in words or "No space left" in words:
        lines = [f"sysctl -w {name}={2 * value}" for name, value in limits.items()]
        return Cause("as many namespaces exist as the kernel allows", _as_administrator(*lines))
    return None


def _forbidden_to_users(words: str, bwrap: str, here: Surroundings) -> Cause | None:
    """A setting that forbids user namespaces to all but root."""
    if here.settings.get(CLONE) == 0:
        return Cause(f"the kernel setting {CLONE} is 0", _as_administrator(f"sysctl -w {CLONE}=1") + _OR_ROOT)
    # A container shows its host's setting, but its own profile forbids namespaces first, with other words.
    words_of_apparmor = "uid map" in words or "RTM_NEWADDR" in words
    if here.settings.get(APPARMOR) == 1 and (words_of_apparmor or not here.container):
        profile = f"'abi <abi/4.0>,\\nprofile bwrap \"%s\" flags=(unconfined) {{ userns, }}\\n' {shlex.quote(bwrap)}"
        return Cause(
            f"AppArmor forbids namespaces to programs without a profile ({APPARMOR} is 1)",
            _as_administrator(
                f"printf {profile} >/etc/apparmor.d/bwrap",
                "apparmor_parser --replace /etc/apparmor.d/bwrap",
            )
            + f"\nOr allow it to all programs until the next boot:\n    sysctl -w {APPARMOR}=0{_OR_ROOT}",
        )
    return None


def _container_forbids(here: Surroundings) -> Cause | None:
    if not here.container:
        return None
    reason = f"this container ({here.container}) forbids namespaces"
    if here.container not in _TOOLS:
        return Cause(reason, "Start a privileged container: in Kubernetes, securityContext with privileged: true.")
    fewer = f"    {here.container} run {_UNCONFINED} …\nOr, with all privileges:\n" if here.user else ""
    return Cause(reason, f"Start the container with other options:\n{fewer}    {here.container} run --privileged …")


def _as_administrator(*commands: str) -> str:
    return "\n".join(["As an administrator, run:", *(f"    {command}" for command in commands)])


def _container(root: Path, environment: Mapping[str, str]) -> str:
    """Return the kind of this container by the mark that its runtime leaves; empty without a mark."""
    with suppress(OSError):
        return (root / "run/systemd/container").read_text().strip()
    for mark, kind in ((".dockerenv", "docker"), ("run/.containerenv", "podman")):
        if (root / mark).exists():
            return kind
    return "Kubernetes" if "KUBERNETES_SERVICE_HOST" in environment else environment.get("container", "")
