"""`./bootstrap`: what it prints while it installs, when that fails, and on systems other than Debian."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cloud_under_test import PROJECT_DIR

# A python3 whose `venv` makes an environment of itself, and whose pip prints what the real one would.
PYTHON = """#!/bin/bash
case "$*" in
    "-m venv --clear "*)
        mkdir -p "$4/bin" "$4/lib/python3/site-packages"
        cp "$0" "$4/bin/python"
        touch "$4/bin/activate" ;;
    "-m pip --version") [[ -x $0 && $0 == */bin/python ]] ;;
    "-m sandbox.isolation")
        cat "$(dirname "$0")/../../no-machines" >&2 2>/dev/null && exit 1
        exit 0 ;;
    "-m pip install "*)
        echo "Collecting robotframework~=7.5 (from -r requirements.txt)"
        echo "  DEPRECATION: a yellow block of advice" >&2
        if [[ -e $(dirname "$0")/../../no-network ]]; then echo "ERROR: No matching distribution" >&2; exit 1; fi
        echo "Installing collected packages: one, two, three"
        touch "$(dirname "$0")/../lib/python3/site-packages/"{one,two}.dist-info
        sleep 2 ;;
esac
"""
TOOLS = (
    "bash",
    "cat",
    "cp",
    "dirname",
    "find",
    "grep",
    "mkdir",
    "rm",
    "sha256sum",
    "sleep",
    "tail",
    "tee",
    "touch",
    "true",
    "wc",
)
PROGRAMS = ("restic", "rsync", "ssh", "sshd", "bwrap", "openssl", "chromium", "faketime")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return make_checkout(tmp_path / "checkout")


def make_checkout(folder: Path) -> Path:
    """A checkout with a PATH of its own in `bin`, on which python3 is a stand-in."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(PROJECT_DIR / "bootstrap", folder)
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        (folder / name).touch()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
    provide(folder, "python3", PYTHON)
    return folder


def provide(checkout: Path, name: str, script: str = "#!/bin/bash\n") -> None:
    (checkout / "bin" / name).write_text(script)
    (checkout / "bin" / name).chmod(0o755)


def bootstrap(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "bootstrap", "true"],
        env={"PATH": str(checkout / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("dnf", "dnf install restic rsync openssh-clients [openssh-server ]bubblewrap openssl chromium libfaketime"),
        (
            "zypper",
            "zypper install restic rsync openssh-clients [openssh-server ]bubblewrap openssl chromium libfaketime",
        ),
        ("pacman", "pacman -S restic rsync openssh bubblewrap openssl chromium libfaketime"),
        ("apk", "apk add restic rsync openssh-client [openssh-server ]bubblewrap openssl chromium libfaketime"),
        ("brew", "brew install restic rsync openssh bubblewrap openssl chromium libfaketime"),
    ],
)
def test_missing_programs_are_named_as_the_packages_of_the_system(checkout: Path, manager: str, command: str) -> None:
    """`sshd` is found in /usr/sbin, which bootstrap searches too."""
    provide(checkout, manager)
    server = "" if any(Path(folder, "sshd").exists() for folder in ("/usr/sbin", "/sbin")) else "openssh-server "
    done = bootstrap(checkout)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"bootstrap:     {command.replace('[openssh-server ]', server)}"


def test_programs_are_named_where_no_package_manager_is_known(checkout: Path) -> None:
    provide(checkout, "restic")
    done = bootstrap(checkout)
    assert done.returncode == 1
    assert "these programs are missing: rsync ssh " in done.stderr
    assert done.stderr.endswith("Install them with this system's package manager\n")


def test_an_installation_shows_its_progress_and_not_the_noise_of_pip(checkout: Path) -> None:
    for program in PROGRAMS:
        provide(checkout, program)
    done = bootstrap(checkout)
    assert done.returncode == 0, done.stderr
    assert "bootstrap: collecting package 1, robotframework~=7.5\n" in done.stderr
    assert "DEPRECATION" not in done.stderr
    assert "DEPRECATION" in (checkout / ".venv" / "install.log").read_text()
    assert bootstrap(checkout).stderr == ""


def test_an_installation_that_fails_names_its_log(checkout: Path) -> None:
    for program in PROGRAMS:
        provide(checkout, program)
    (checkout / "no-network").touch()
    done = bootstrap(checkout)
    assert done.returncode == 1
    log = checkout / ".venv" / "install.log"
    assert f"bootstrap: the installation failed; its last lines ({log} has all of them):" in done.stderr
    assert done.stderr.endswith("ERROR: No matching distribution\n")


def test_a_user_who_cannot_run_machines_is_warned_and_the_command_still_runs(checkout: Path) -> None:
    """A live target needs no machines on this computer."""
    for program in PROGRAMS:
        provide(checkout, program)
    bootstrap(checkout)
    (checkout / "no-machines").write_text("The embedded cloud cannot run machines as user 7.\nTried: bwrap … true\n")
    done = bootstrap(checkout)
    assert done.returncode == 0
    assert done.stderr == "bootstrap: warning: The embedded cloud cannot run machines as user 7.\nTried: bwrap … true\n"


@pytest.mark.parametrize("name", ["it's 100% mine", "-dash #1 & (ünï) *?[x];~,="])
def test_a_checkout_may_have_an_odd_path(tmp_path: Path, name: str) -> None:
    checkout = make_checkout(tmp_path / name)
    for program in PROGRAMS:
        provide(checkout, program)
    done = bootstrap(checkout)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["a:b", 'a"b', "a`b", "a\\b", "a$b", "two\nlines"])
def test_a_path_that_no_environment_can_have_is_refused(tmp_path: Path, name: str) -> None:
    checkout = tmp_path / name
    checkout.mkdir()
    shutil.copy(PROJECT_DIR / "bootstrap", checkout)
    done = subprocess.run([checkout / "bootstrap"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("bootstrap: the path of the checkout, ")
    assert done.stderr.endswith(' has a line break or one of : " ` \\ $ in it: move it elsewhere\n')
    assert done.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()
