"""Clouds and checkouts in directories whose names have what ssh, shells and configuration files give a meaning to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.ssh import Machine
from tests.accounts import remove_tree
from tests.cloud_under_test import PROJECT_DIR, CloudUnderTest
from tests.control_api import ControlApi, eventually
from tests.suites_under_test import QUICK, Run

DIRECTORY = '-it\'s "100%h" a\\b #1,2;3=5:x *?[x] $HOME ~ ünï'
CHECKOUT = "it's 100% mine"
FILES = "echo hello >file; mkdir folder; head -c 300000 /dev/urandom >folder/random"
SUMS = "cd /workspace && find . -type f -exec md5sum {} + | sort"
SET_UP_WITHIN = 900.0  # seconds; packages may have to be downloaded


@pytest.fixture(scope="module")
def odd_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest(tmp_path_factory.mktemp("paths") / DIRECTORY)
    cloud.up()
    yield cloud
    cloud.down()


@pytest.fixture
def api(odd_cloud: CloudUnderTest) -> Iterator[ControlApi]:
    client = ControlApi(odd_cloud.environment)
    yield client
    client.clear()
    client.close()


def test_the_commands_that_up_prints_work_in_a_shell(odd_cloud: CloudUnderTest) -> None:
    printed = odd_cloud.run("up", "--detach", "--lease", str(os.getpid())).stdout
    _, _, commands = printed.partition("Use it from another terminal:\n")
    use, show, status, _ = commands.strip().splitlines()
    done = subprocess.run(
        ["bash", "-euc", f'{use}\n{show}\n{status}\ntest -f "$SSH_KEY_PATH"'],
        cwd=PROJECT_DIR, capture_output=True, text=True, check=False,
        env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(odd_cloud.state_dir)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "The page with its login: http://" in done.stdout
    assert f"The cloud in {odd_cloud.state_dir} is up" in done.stdout


def test_a_snapshot_is_taken_restored_and_mirrored(odd_cloud: CloudUnderTest, api: ControlApi, tmp_path: Path) -> None:
    """With the ssh of the control plane, that of the libraries, and rsync over it."""
    first, second = api.rent(files=FILES), api.rent()
    sums = api.run(first, SUMS)
    taken = api.call("POST", "/snapshots", 201, json={"instance_id": first, "name": "odd"})
    api.call("POST", "/snapshots/restore", json={"snapshot_id": taken["snapshot_id"], "instance_id": second})
    port = api.call("GET", f"/instances/{second}")["ssh_port"]
    key, known_hosts = Path(odd_cloud.environment["SSH_KEY_PATH"]), tmp_path / DIRECTORY / "known_hosts"
    with Machine("127.0.0.1", port, key, known_hosts, "second") as machine:
        machine.pin()
        assert machine.run(SUMS).stdout.decode() == sums
    api.call("POST", f"/standby/{first}/enable", 202)
    eventually("a sync has ended", lambda: api.call("GET", f"/standby/associations/{first}")["sync_count"])
    association = api.call("GET", f"/standby/associations/{first}")
    with Machine("127.0.0.1", association["cpu_standby"]["ssh_port"], key, known_hosts, "standby") as standby:
        standby.pin()
        assert standby.run(SUMS).stdout.decode() == sums


@pytest.mark.nightly
def test_phase_3_passes(odd_cloud: CloudUnderTest, tmp_path: Path) -> None:
    folder = tmp_path / CHECKOUT
    folder.mkdir()
    state_dir = ("--variable", f"STATE_DIR:{odd_cloud.state_dir}")
    Run(folder, (*QUICK, *state_dir, "--include", "phase3")).to_its_end().passed()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """The committed files, without an environment yet."""
    folder = tmp_path / CHECKOUT / "checkout"
    folder.mkdir(parents=True)
    with subprocess.Popen(["git", "archive", "HEAD"], cwd=PROJECT_DIR, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "--extract", "--directory", folder], stdin=archive.stdout, check=True)
    yield folder
    bootstrap(folder, "python", "-m", "sandbox", "down")
    remove_tree(folder)


@pytest.mark.nightly
def test_a_checkout_sets_itself_up_and_passes_phase_3(checkout: Path) -> None:
    bootstrap(checkout, "robot", "--include", "phase3", "suites")
    assert (checkout / "results" / "log.html").is_file()
    bootstrap(checkout, "tox", "-e", "docs")


def bootstrap(checkout: Path, *command: str) -> None:
    kept = {name: os.environ[name] for name in os.environ if name.lower().startswith(("pip_", "http", "no_proxy"))}
    done = subprocess.run(
        [checkout / "bootstrap", *command],
        cwd=checkout, env={**kept, "PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
        timeout=SET_UP_WITHIN, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
