"""What decides how long a cloud lives: leases, processes by number and birth, the lock, and ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.leases import Leases
from sandbox.lock import lock
from sandbox.ports import PortPicker, is_free, who_has
from sandbox.processes import ProcessId, process_id, this_process

DEADLINE = 10.0


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def name(process: subprocess.Popen[bytes]) -> ProcessId:
    identity = process_id(process.pid)
    assert identity is not None
    return identity


def test_a_process_is_itself_until_it_ends(child: subprocess.Popen[bytes]) -> None:
    identity = name(child)
    assert identity.is_alive()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and still there as a zombie
    assert not identity.is_alive()
    assert process_id(child.pid) is None
    child.wait()
    assert not identity.is_alive()


def test_another_process_with_the_same_number_is_left_alone(child: subprocess.Popen[bytes]) -> None:
    earlier = ProcessId(pid=child.pid, born=name(child).born - 1)
    assert not earlier.is_alive()
    earlier.kill(signal.SIGKILL)
    assert name(child).is_alive()
    name(child).kill(signal.SIGKILL)
    assert child.wait(DEADLINE) == -signal.SIGKILL
    earlier.kill(signal.SIGKILL)  # there is none of that number any more


def test_a_strange_program_name_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) Z (b"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as process:
        assert name(process).born >= this_process().born
        process.kill()


def test_leases_are_held_while_their_processes_live(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    leases = Leases(tmp_path / "leases")
    assert not leases.are_held()
    leases.add(name(child))
    leases.add(this_process())
    assert leases.are_held()
    child.kill()
    child.wait()
    assert leases.are_held()
    assert [file.name for file in (tmp_path / "leases").iterdir()] == [str(os.getpid())]
    leases.clear()
    assert not leases.are_held()


def test_the_last_process_to_end_ends_the_leases(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    leases = Leases(tmp_path)
    leases.add(name(child))
    assert leases.are_held()
    child.kill()
    child.wait()
    assert not leases.are_held()


def test_a_lease_of_an_earlier_process_of_that_number_is_void(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    leases = Leases(tmp_path)
    leases.add(ProcessId(pid=child.pid, born=name(child).born - 1))
    assert not leases.are_held()


def test_what_was_started_by_hand_stays(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    leases.add(None)
    assert leases.are_held()
    leases.clear()
    assert not leases.are_held()


def test_one_holds_the_lock_at_a_time(tmp_path: Path) -> None:
    with lock(tmp_path / "lock") as first, lock(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with lock(tmp_path / "lock") as third:
        assert third


def test_a_lock_whose_file_was_removed_is_void(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with lock(file) as first:
        assert first
        file.unlink()
        with lock(file) as second:
            assert second


def test_a_killed_holder_gives_the_lock_back(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from sandbox.lock import lock\n"
        "with lock(Path(sys.argv[1])) as held: print(held, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with lock(tmp_path / "lock") as held:
            assert not held
        holder.kill()
    with lock(tmp_path / "lock") as held:
        assert held


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_taken_port_is_seen_and_its_holder_named(taken: int) -> None:
    assert not is_free(taken)
    assert f"process {os.getpid()} (" in str(who_has(taken))


def test_a_port_taken_on_all_addresses_is_taken() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - that is the case
        assert not is_free(server.getsockname()[1])


def test_a_port_is_free_again_at_once_after_its_server_ended(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # the server's side closes first: its port stays in TIME_WAIT
        client.close()
    deadline = time.monotonic() + DEADLINE
    while not is_free(port):
        assert time.monotonic() < deadline


@pytest.fixture
def picker() -> Iterator[PortPicker]:
    with PortPicker() as opened:
        yield opened


def test_preferred_ports_win_when_they_are_free(picker: PortPicker, taken: int) -> None:
    with PortPicker() as earlier:
        free = earlier.pick()
    assert picker.pick(None, taken, free) == free
    assert picker.pick(free) != free, "nothing is picked twice"


def test_two_that_pick_at_the_same_time_pick_differently(picker: PortPicker) -> None:
    port = picker.pick(companion=10_000)
    with PortPicker() as other:
        assert other.pick(port) != port
        assert other.pick(port + 10_000) != port + 10_000
        assert not other.claim(port)
    assert is_free(port)
    assert who_has(port) == "is taken by another cloud"


def test_a_port_with_a_companion_has_it_free_too(picker: PortPicker, taken: int) -> None:
    assert picker.pick(taken - 10, companion=10) != taken - 10
    assert picker.claim(taken - 10), "a port whose companion is taken was given back"
    picked = [picker.pick(companion=10_000) for _ in range(50)]
    both = picked + [port + 10_000 for port in picked]
    assert len(set(both)) == len(both)
    assert all(is_free(port) for port in both)


def test_a_taken_port_cannot_be_claimed(picker: PortPicker, taken: int) -> None:
    assert not picker.claim(taken)
