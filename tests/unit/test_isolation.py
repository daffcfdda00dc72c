"""The check that machines can run here: what is tried, and the cause and the remedy when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import isolation
from sandbox.bubblewrap import isolation as confinement
from sandbox.bubblewrap import system
from sandbox.hosts.disk import Disk
from sandbox.hosts.jail import command
from sandbox.hosts.spec import MachineSpec
from sandbox.isolation_causes import APPARMOR, CLONE, LIMITS, Surroundings, cause
from tests.cloud_under_test import PROJECT_DIR
from tests.isolation_under_test import (
    KNOWN_WORDS,
    LOOPBACK,
    NO_PERMISSIONS,
    NO_SPACE,
    NOT_PERMITTED,
    UID_MAP,
    fake_bwrap,
    without_namespaces,
)

USER = 1000
BWRAP = "/usr/bin/bwrap"
UBUNTU = Surroundings(USER, settings={APPARMOR: 1, LIMITS[0]: 9})
DEBIAN = Surroundings(USER, settings={APPARMOR: 0, CLONE: 0, LIMITS[0]: 9})
HARDENED = Surroundings(USER, settings={CLONE: 1, LIMITS[0]: 0})
DOCKER = Surroundings(USER, "docker", {APPARMOR: 1})
NO_PROFILE = f"AppArmor forbids namespaces to programs without a profile ({APPARMOR} is 1)"
FEWER = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"


@pytest.mark.parametrize("words", KNOWN_WORDS)
def test_a_failure_is_told_with_what_was_tried_and_bubblewraps_last_words(tmp_path: Path, words: str) -> None:
    program = fake_bwrap(tmp_path, words)
    message = isolation.trouble(str(tmp_path))
    assert message is not None
    first, tried, last_words, *remedy = message.splitlines()
    user = f"user {os.getuid()}" if os.getuid() else "root"
    assert first.startswith(f"The embedded cloud cannot run machines as {user}: ")
    namespaces = ("" if os.getuid() == 0 else "--unshare-user ") + "--unshare-pid --unshare-uts --unshare-ipc"
    assert tried == f"Tried: {program} {namespaces} … true"
    assert last_words == f"Its last words: {words}"
    assert remedy


def test_a_silent_failure_is_told_with_its_exit_code(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/bash\nexit 3\n")
    program.chmod(0o755)
    assert "\nIts last words: none, exit code 3\n" in str(isolation.trouble(str(tmp_path)))


def test_a_bubblewrap_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    program = tmp_path / "bwrap"
    program.write_bytes(b"\x7fELF of another processor")
    program.chmod(0o755)
    assert f"\nIts last words: [Errno 8] Exec format error: '{program}'\n" in str(isolation.trouble(str(tmp_path)))


def test_a_missing_bubblewrap_is_told_with_its_package(tmp_path: Path) -> None:
    assert isolation.trouble(str(tmp_path)) == (
        "The embedded cloud cannot run machines: bwrap is missing. As an administrator, run:\n"
        "    apt-get update && apt-get install --yes --no-install-recommends bubblewrap"
    )


@pytest.mark.parametrize("user", [0, USER])
def test_what_is_tried_is_what_machines_run_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(os, "getuid", lambda: user)
    fake_bwrap(tmp_path, "", exit_code=0)
    assert isolation.trouble(str(tmp_path)) is None
    tried = (tmp_path / "options").read_text().splitlines()
    machine = command(BWRAP, Disk(tmp_path), MachineSpec(1), 3, 4)[1:]
    assert tried[-1] == "true"
    assert ("--unshare-user" in tried) == (user != 0)
    assert ("--cap-drop" in tried) == (user == 0)
    everything = [*confinement(), *system()]
    assert tried[:-1] == everything
    start = machine.index("--ro-bind")
    assert machine[: len(confinement())] == confinement()
    assert machine[start + 3 :][: len(system())] == system()
    # A machine adds only names, descriptors and folders of its own.
    rest = [option for option in machine[: machine.index("/bin/bash")] if option not in everything]
    assert {option for option in rest if option.startswith("-")} == {"--hostname", "--info-fd", "--bind", "--chdir"}


def test_a_user_whom_the_kernel_forbids_namespaces_gets_the_setting_and_its_remedy() -> None:
    run = without_namespaces(sys.executable, "-m", "sandbox.isolation")
    done = subprocess.run(run, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith(
        " --unshare-user --unshare-pid --unshare-uts --unshare-ipc … true\n"
        f"Its last words: {NO_SPACE}\n"
        "As an administrator, run:\n"
        "    sysctl -w user.max_user_namespaces=10000\n"
        "Or run as root.\n"
    )
    assert done.stderr.startswith(
        "The embedded cloud cannot run machines as user 65534: the kernel setting user.max_user_namespaces is 0.\n"
    )


def test_root_in_a_container_without_its_privileges_is_refused() -> None:
    """Real root or, in a user namespace, an ordinary user who is mapped to it; without CAP_SYS_ADMIN, as in docker."""
    as_root = [] if os.getuid() == 0 else ["unshare", "--user", "--map-root-user"]
    less = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    check = [*as_root, *less, "--", sys.executable, "-m", "sandbox.isolation"]
    done = subprocess.run(check, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    first, tried, last_words, *_ = done.stderr.splitlines()
    assert first.startswith("The embedded cloud cannot run machines as root: ")
    assert tried.endswith("bwrap --unshare-pid --unshare-uts --unshare-ipc … true")
    assert last_words == f"Its last words: {NOT_PERMITTED}"


@pytest.mark.parametrize(
    ("words", "here", "reason", "remedy"),
    [
        (
            UID_MAP,
            UBUNTU,
            NO_PROFILE,
            "apparmor_parser",
        ),
        (
            LOOPBACK,
            UBUNTU,
            NO_PROFILE,
            f"{APPARMOR}=0",
        ),
        (
            UID_MAP,
            DOCKER,
            NO_PROFILE,
            "Or run as root.",
        ),
        (NO_PERMISSIONS, DEBIAN, f"the kernel setting {CLONE} is 0", f"    sysctl -w {CLONE}=1\nOr run as root."),
        (NO_SPACE, HARDENED, f"the kernel setting {LIMITS[0]} is 0", f"    sysctl -w {LIMITS[0]}=10000\nOr run as"),
        (NO_SPACE, UBUNTU, "as many namespaces exist as the kernel allows", f"    sysctl -w {LIMITS[0]}=18"),
        (NO_SPACE, Surroundings(0, settings={LIMITS[1]: 0}), f"the kernel setting {LIMITS[1]} is 0", LIMITS[1]),
        (NO_PERMISSIONS, DOCKER, "this container (docker) forbids namespaces", f"    docker run {FEWER} …\n"),
        (NOT_PERMITTED, DOCKER, "this container (docker) forbids namespaces", "    docker run --privileged …"),
        (
            NOT_PERMITTED,
            Surroundings(0, "podman"),
            "this container (podman) forbids",
            "options:\n    podman run --priv",
        ),
        (NOT_PERMITTED, Surroundings(0, "Kubernetes"), "this container (Kubernetes) forbids", "privileged: true"),
        (NOT_PERMITTED, Surroundings(0), "the kernel or a security policy (seccomp, AppArmor, SELinux)", "journalctl"),
        (NO_PERMISSIONS, Surroundings(USER), "the kernel or a security policy", "Or run as root."),
        ("bwrap: Unknown option --perms", UBUNTU, "bubblewrap is too old", "Install bubblewrap 0.5 or newer."),
        ("bwrap: Can't find source path /etc/ssl: No such file", UBUNTU, "a path that machines need is missing", ""),
        ("bwrap: …, likely because the kernel does not support user namespaces.", UBUNTU, "the kernel has no", ""),
    ],
)
def test_the_cause_is_found_by_bubblewraps_words_and_the_kernels_settings(
    words: str, here: Surroundings, reason: str, remedy: str
) -> None:
    found = cause(words, BWRAP, here)
    assert found.reason.startswith(reason)
    assert remedy in found.remedy


@pytest.mark.parametrize("settings", [{APPARMOR: 1}, {CLONE: 0}, {LIMITS[0]: 0}])
def test_root_is_not_sent_to_a_setting_for_ordinary_users(settings: dict[str, int]) -> None:
    found = cause(NOT_PERMITTED, BWRAP, Surroundings(0, settings=settings))
    assert "sysctl" not in found.remedy
    assert "root" not in found.remedy


def test_the_remedy_for_apparmor_is_a_profile_for_this_bubblewrap() -> None:
    remedy = cause(UID_MAP, "/opt/b w/bwrap", UBUNTU).remedy
    line = next(line for line in remedy.splitlines() if "printf" in line).split(" >/etc/apparmor.d/")[0]
    written = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    assert written == 'abi <abi/4.0>,\nprofile bwrap "/opt/b w/bwrap" flags=(unconfined) { userns, }\n'


def test_surroundings_are_read_from_the_kernel_and_the_marks_of_containers(tmp_path: Path) -> None:
    for name, value in ((APPARMOR, "1\n"), (CLONE, "0\n"), (LIMITS[0], "63\n")):
        file = tmp_path / "proc/sys" / name.replace(".", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value)
    here = Surroundings.read(tmp_path, {})
    assert here == Surroundings(os.getuid(), "", {APPARMOR: 1, CLONE: 0, LIMITS[0]: 63})
    (tmp_path / ".dockerenv").touch()
    assert Surroundings.read(tmp_path, {}).container == "docker"
    (tmp_path / "run/systemd").mkdir(parents=True)
    (tmp_path / "run/systemd/container").write_text("lxc\n")
    assert Surroundings.read(tmp_path, {}).container == "lxc"
    assert Surroundings.read(tmp_path / "run", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}).container == "Kubernetes"
