"""Machines: real sshd in bubblewrap, private to each, and gone at once when they are killed."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox.hosts import BootFailed, Host, MachineSpec, Troubles
from tests.market_under_test import (
    host_key,
    make_key,
    processes_about,
    ssh,
    wait_until_none_is_about,
)
from tests.nightly import nightly_but

PROJECT_DIR = Path(__file__).resolve().parents[2]

# A process that starts machines, says so, and waits to be killed.
LAUNCHER = """
import asyncio, sys
from pathlib import Path
from sandbox.hosts import Host, MachineSpec

async def main():
    host = Host(Path(sys.argv[1]))
    print("begun", flush=True)
    ports = await asyncio.gather(*(host.boot(MachineSpec(id)) for id in range(1, int(sys.argv[2]) + 1)))
    print(*ports, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""

# What an ordinary user does, start to end, with nothing but Python's own library.
AS_A_USER = """
import asyncio, subprocess, sys
from pathlib import Path
from sandbox.control.quoting import ssh_path
from sandbox.hosts import Host, MachineSpec

async def main():
    folder = Path(sys.argv[1])
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (folder / "machines").mkdir()
    host = Host(folder / "machines")
    port = await host.boot(MachineSpec(1, authorized_keys=((folder / "key.pub").read_text().strip(),)))
    ssh = ["ssh", "-oIdentityFile=" + ssh_path(key), "-p", str(port),
           "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null",
           "-oLogLevel=ERROR", "root@127.0.0.1", "whoami; touch /workspace/x; stat -c %U /workspace/x; ps ax | wc -l"]
    process = await asyncio.create_subprocess_exec(*ssh)
    code = await process.wait()
    await host.wipe(1)
    print("left", len(list((folder / "machines").iterdir())), code)

asyncio.run(main())
"""


class Place:
    """A host in a folder, with a key for its machines."""

    def __init__(self, folder: Path) -> None:
        self.machines = folder / "machines"
        self.machines.mkdir()
        self.key = folder / "key"
        self.public_key = make_key(self.key)
        self.host = Host(self.machines)

    def spec(self, machine_id: int = 1, **more: Any) -> MachineSpec:
        return MachineSpec(machine_id, authorized_keys=(self.public_key,), **more)

    async def run(self, port: int, script: str) -> str:
        done = await asyncio.to_thread(ssh, port, self.key, script)
        assert done.returncode == 0, f"{script}: exit code {done.returncode}: {done.stderr}"
        return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def on(place: Place, story: Callable[[], Awaitable[None]]) -> None:
    """Runs a story, and leaves no machine running whatever happens in it."""

    async def told() -> None:
        try:
            await story()
        finally:
            await place.host.stop_all()

    asyncio.run(told())
    assert processes_about(place.machines) == []


def test_a_machine_is_what_its_renter_ordered(place: Place) -> None:
    odd = 'two  words, "quoted" \\ $HOME #é'

    async def story() -> None:
        spec = place.spec(7, gpu_name="RTX A4000", num_gpus=1, gpu_memory_mb=16384, environment={"ODD": odd})
        port = await place.host.boot(spec)
        script = 'id -u; id -un; hostname; pwd; echo "$CONTAINER_ID/$GPU_NAME"; echo "$ODD"; echo "${PATH%%:*}"'
        lines = (await place.run(port, script)).splitlines()
        assert lines == [
            str(os.getuid()),
            "root",
            "C.7",
            "/root",
            "7/RTX A4000",
            odd,
            "/opt/rekindle/bin",
        ]

    on(place, story)


def test_machines_see_nothing_of_each_other_and_of_the_host(place: Place) -> None:
    async def story() -> None:
        first, second = await asyncio.gather(place.host.boot(place.spec(1)), place.host.boot(place.spec(2)))
        await place.run(first, "touch /workspace/a /root/b /tmp/c /run/d; nohup sleep 600 >/dev/null 2>&1 &")
        assert await place.run(first, "ls /workspace /root /tmp /run") != ""
        seen = await place.run(second, "ls -A /workspace /root /tmp; ls /run; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "sleep 600" not in seen
        assert seen.startswith("/root:\n\n/tmp:\n\n/workspace:\nsshd\n")
        running = set((await place.run(second, "cat /proc/[0-9]*/comm")).split())
        assert {"sshd", "cat"} <= running <= {"sshd", "cat", "bash"}
        assert await place.run(second, f"ls -d {place.machines} {PROJECT_DIR} /home /var/log 2>/dev/null || true") == ""

    on(place, story)


def test_a_machine_has_no_power_over_the_host(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        for forbidden in (
            "mkdir /tmp/m && mount -t tmpfs none /tmp/m",
            "mknod /tmp/disk b 8 0",
            "touch /usr/x",
            "touch /etc/x",
            "echo 1 >/proc/sys/kernel/sysrq",
            "chroot / unshare --mount true",
        ):
            done = await asyncio.to_thread(ssh, port, place.key, forbidden)
            assert done.returncode not in (0, 255), forbidden

    on(place, story)


def test_only_the_renters_keys_open_it_and_more_can_be_let_in(place: Place, tmp_path: Path) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        second = make_key(tmp_path / "second")
        refused = await asyncio.to_thread(ssh, port, tmp_path / "second", "true")
        assert refused.returncode == 255
        assert "Permission denied" in refused.stderr
        place.host.disk(1).authorize([place.public_key, second])
        assert (await asyncio.to_thread(ssh, port, tmp_path / "second", "true")).returncode == 0
        await place.run(port, "true")

    on(place, story)


def test_the_onstart_script_runs_at_each_boot(place: Place) -> None:
    async def story() -> None:
        spec = place.spec(environment={"WORD": "a b"}, onstart='echo "$WORD $CONTAINER_ID" | tee -a /workspace/boots')
        for boots in (1, 2):
            port = await place.host.boot(spec)
            log = "until [ -s /root/onstart.log ]; do sleep 0.05; done; cat /root/onstart.log /workspace/boots"
            assert await place.run(port, log) == "a b 1\n" * (1 + boots)
            await place.host.stop(1)

    on(place, story)


def test_a_stopped_machine_keeps_its_disk_and_its_host_key(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        key = await asyncio.to_thread(host_key, port)
        await place.run(
            port,
            "for folder in /workspace /root /run; do echo kept >$folder/x; done; nohup sleep 600 >/dev/null 2>&1 &",
        )
        await place.host.stop(1)
        assert (await asyncio.to_thread(ssh, port, place.key, "true")).returncode == 255
        port = await place.host.boot(place.spec())
        assert await asyncio.to_thread(host_key, port) == key
        assert (
            await place.run(port, "cat /workspace/x /root/x; ls /run; pgrep -c sleep || true")
            == "kept\nkept\nsshd\n0\n"
        )
        await place.host.wipe(1)
        port = await place.host.boot(place.spec())
        assert await asyncio.to_thread(host_key, port) != key
        assert await place.run(port, "ls -A /workspace /root") == "/root:\n\n/workspace:\n"

    on(place, story)


def test_a_wiped_machine_leaves_nothing(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        await place.run(
            port,
            "mkdir -p /workspace/a/b && touch /workspace/a/b/c && chmod 0 /workspace/a/b /workspace/a;"
            "trap '' TERM; for i in 1 2 3; do nohup setsid sleep 600 >/dev/null 2>&1 & done",
        )
        assert processes_about(place.machines)
        await place.host.wipe(1)
        assert processes_about(place.machines) == []
        assert list(place.machines.iterdir()) == []
        await place.host.wipe(1)  # a second time does no harm

    on(place, story)


def test_no_zombies_gather_in_a_machine(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        await place.run(port, "for i in 1 2 3; do (setsid true &); done")
        none_left = "until ! grep -q '^State:.Z' /proc/[0-9]*/status; do sleep 0.05; done"
        await place.run(port, f"timeout 20 bash -c {shlex.quote(none_left)}")

    on(place, story)


def test_killing_bubblewrap_kills_all_of_a_machine(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        await place.run(port, "nohup setsid sleep 600 >/dev/null 2>&1 &")
        os.kill(min(processes_about(place.machines)), signal.SIGKILL)
        assert await place.host.ended(1) == -signal.SIGKILL
        await place.host.stop(1)
        assert (await asyncio.to_thread(ssh, port, place.key, "true")).returncode == 255

    on(place, story)


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.04, 0.08])
def test_a_boot_that_is_called_off_leaves_nothing(place: Place, delay: float) -> None:
    async def story() -> None:
        boots = [asyncio.create_task(place.host.boot(place.spec(machine_id))) for machine_id in (1, 2, 3)]
        await asyncio.sleep(delay)
        for boot in boots:
            boot.cancel()
        await asyncio.gather(*boots, return_exceptions=True)
        for machine_id in (1, 2, 3):
            await place.host.wipe(machine_id)
        assert processes_about(place.machines) == []
        assert list(place.machines.iterdir()) == []

    on(place, story)


@pytest.mark.parametrize("many", nightly_but(10, [10, 50]))
def test_many_machines_at_once(place: Place, many: int) -> None:
    async def story() -> None:
        machine_ids = range(1, many + 1)
        specs = [place.spec(machine_id) for machine_id in machine_ids]
        ports = await asyncio.gather(*(place.host.boot(spec) for spec in specs))
        assert len(set(ports)) == many
        turns = asyncio.Semaphore(8)

        async def name(port: int) -> str:
            async with turns:
                return await place.run(port, "hostname")

        assert await asyncio.gather(*map(name, ports)) == [f"C.{machine_id}\n" for machine_id in machine_ids]

    on(place, story)


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.5])
def test_machines_die_with_a_launcher_that_is_killed(place: Place, moment: float) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(place.machines), "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_DIR) as launcher:
        assert launcher.stdout
        launcher.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            launcher.wait(moment)
        launcher.kill()
    asyncio.run(place.host.end_leftovers())
    wait_until_none_is_about(place.machines)  # a process that Python was just about to start ends by itself


def test_machines_die_with_a_killed_launcher_without_anybody_taking_over(place: Place) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(place.machines), "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT_DIR) as launcher:
        assert launcher.stdout
        launcher.stdout.readline()
        assert len(launcher.stdout.readline().split()) == 3
        assert processes_about(place.machines)
        launcher.kill()
    wait_until_none_is_about(place.machines)


def test_a_port_that_is_taken_is_not_taken_for_the_machine(place: Place) -> None:
    async def story() -> None:
        first = await place.host.boot(place.spec(1))
        second = await place.host.boot(place.spec(2, port=first))
        assert second != first
        assert await place.run(second, "hostname") == "C.2\n"

    on(place, story)


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        (
            "--query-gpu=name,utilization.gpu,memory.used,memory.total,temperature.gpu --format=csv,noheader,nounits",
            "RTX 4090, 73, 17940, 24576, 66\n",
        ),
        ("--query-gpu=utilization.gpu,name --format=csv,noheader", "73 %, RTX 4090\n"),
        ("--format=csv --query-gpu=memory.total", "memory.total [MiB]\n24576 MiB\n"),
        ("-L", "GPU 0: RTX 4090 (UUID: GPU-1-0)\n"),
    ],
)
def test_nvidia_smi(place: Place, query: str, answer: str) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec(gpu_name="RTX 4090", num_gpus=1, gpu_memory_mb=24576))
        assert await place.run(port, "nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits") == "0\n"
        await place.run(port, "echo 73 >/tmp/gpu-utilisation")
        assert await place.run(port, f"nvidia-smi {query}") == answer
        assert "RTX 4090" in await place.run(port, "nvidia-smi")
        wrong = await asyncio.to_thread(ssh, port, place.key, "nvidia-smi --query-gpu=colour --format=csv")
        assert wrong.returncode == 2
        assert "colour" in wrong.stderr
        assert place.host.disk(1).gpu_utilisation() == 73

    on(place, story)


def test_a_machine_without_gpu(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec())
        assert (await asyncio.to_thread(ssh, port, place.key, "nvidia-smi")).stdout == "No devices were found\n"

    on(place, story)


@pytest.mark.parametrize(
    ("made", "utilisation"),
    [
        ("printf 55.5", 55.5),
        ("printf 1000", 100),
        ("printf -- -3", 0),
        ("printf nonsense", 0),
        ("yes 1 | tr -d '\\n' | head -c 99999", 100),
    ],
)
def test_the_utilisation_that_a_renter_writes(place: Place, made: str, utilisation: float) -> None:
    disk = place.host.disk(1)
    disk.tmp.mkdir(parents=True)
    assert disk.gpu_utilisation() == 0
    with (disk.tmp / "gpu-utilisation").open("wb") as file:
        subprocess.run(["bash", "-c", made], stdout=file, check=True)
    assert disk.gpu_utilisation() == utilisation


def test_a_utilisation_that_is_a_trap(place: Place, tmp_path: Path) -> None:
    disk = place.host.disk(1)
    disk.tmp.mkdir(parents=True)
    trap = disk.tmp / "gpu-utilisation"
    (tmp_path / "secret").write_text("42")
    trap.symlink_to(tmp_path / "secret")
    assert disk.gpu_utilisation() == 0
    trap.unlink()
    os.mkfifo(trap)
    assert disk.gpu_utilisation() == 0
    trap.unlink()
    trap.mkdir()
    assert disk.gpu_utilisation() == 0


def test_a_machine_without_restic(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec(troubles=Troubles(no_restic=True)))
        assert (await asyncio.to_thread(ssh, port, place.key, "restic version")).returncode == 127
        assert await place.run(port, "ls /usr/bin | grep -c restic || true; rsync --version | head -c 5") == "0\nrsync"

    on(place, story)


def test_a_machine_with_a_small_disk(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec(troubles=Troubles(workspace_megabytes=8)))
        full = await asyncio.to_thread(ssh, port, place.key, "head -c 9000000 /dev/zero >/workspace/x")
        assert full.returncode == 1
        assert "No space left on device" in full.stderr
        await place.run(port, "head -c 7000000 /dev/zero >/workspace/x")

    on(place, story)


def test_a_machine_that_runs_and_refuses_ssh(place: Place) -> None:
    async def story() -> None:
        port = await place.host.boot(place.spec(troubles=Troubles(ssh_refused=True)))
        assert processes_about(place.machines)
        refused = await asyncio.to_thread(ssh, port, place.key, "true")
        assert "Connection refused" in refused.stderr

    on(place, story)


def test_a_boot_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "programs"
    broken.mkdir()
    (broken / "bwrap").write_text("#!/bin/sh\necho no namespaces here >&2\nexit 3\n")
    (broken / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken}:{os.environ['PATH']}")
    place = Place(tmp_path)

    async def story() -> None:
        with pytest.raises(BootFailed, match=r"ended at once \(exit code 3\); see .*/machines/1/console.log"):
            await place.host.boot(place.spec())
        assert "no namespaces here" in (place.machines / "1" / "console.log").read_text()

    on(place, story)


def test_a_host_without_bubblewrap_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BootFailed, match="apt-get install bubblewrap"):
        Host(tmp_path)


@pytest.mark.parametrize(
    "environment", [{"A B": "x"}, {"1A": "x"}, {"": "x"}, {"A": "x\nPermitRootLogin no"}, {"A": "\x00"}]
)
def test_an_environment_cannot_smuggle_configuration(environment: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="environment variable"):
        MachineSpec(1, environment=environment)


@pytest.mark.skipif(os.getuid() != 0, reason="all the other tests run as an ordinary user already")
def test_machines_of_an_ordinary_user(tmp_path: Path) -> None:
    nobody = 65534
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, nobody, nobody)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == "root" and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    drop = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", "--inh-caps=-all"]
    # The system's own Python: the one that runs this test may be out of another user's reach.
    command = [*drop, "/usr/bin/python3", "-B", "-c", AS_A_USER, str(folder)]
    done = subprocess.run(
        command, cwd=PROJECT_DIR, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[:2] == ["root", "root"], done.stderr
    assert done.stdout.splitlines()[-1] == "left 0 0"
