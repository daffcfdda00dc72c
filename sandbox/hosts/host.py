"""Boots, stops and wipes machines. One process of the marketplace holds them all, and none outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.bubblewrap import SEARCH_PATH
from sandbox.endings import in_words
from sandbox.hosts.disk import Disk
from sandbox.hosts.jail import command
from sandbox.hosts.spec import MachineSpec

BOOT_WITHIN = 60.0  # seconds; a boot takes 0.2, and some more while fifty others boot
PORTS = range(25000, 32000)  # below the kernel's own choice for outgoing connections, which could take one in between


class BootFailed(Exception):
    """The machine did not come up. The message says why and where its console is."""


class _End:
    """The end of a process, to be waited for by any number of tasks. Lives in a running event loop."""

    def __init__(self, pid: int) -> None:
        self._descriptor = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._note)
        self._over = asyncio.Event()

    async def wait(self) -> None:
        await self._over.wait()

    def hasten(self) -> None:
        """Kills the process, and never another one that got its id."""
        if not self._over.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def _note(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._over.set()


@dataclass
class _Machine:
    bubblewrap: subprocess.Popen[bytes]
    end: _End
    end_of_all: _End | None = None  # of the machine's first process, which the kernel lets go last of all


def _end_of(pid: int | None) -> _End | None:
    """The end of a process that may have ended already (None)."""
    try:
        return None if pid is None else _End(pid)
    except ProcessLookupError:
        return None


class Host:
    """The machines of one state directory.

    Everything runs in the event loop's thread: bubblewrap kills a machine when the thread that started it ends,
    and that thread must be the one that lives as long as the process.
    """

    def __init__(self, machines: Path) -> None:
        self._root = machines
        self._machines: dict[int, _Machine] = {}
        bwrap = shutil.which("bwrap")
        if bwrap is None:
            raise BootFailed("There is no bwrap on PATH, so no machine can run: apt-get install bubblewrap.")
        self._bwrap = bwrap

    @property
    def state_dir(self) -> Path:
        """The directory of the cloud, whose disk all machines share."""
        return self._root.parent

    def disk(self, machine_id: int) -> Disk:
        return Disk(self._root / str(machine_id))

    def volume(self, volume_id: int) -> Path:
        """The folder of a volume, which is made when it is missing."""
        folder = self._root.parent / "volumes" / str(volume_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def volumes(self) -> list[int]:
        """The ids of the volumes that have a folder."""
        return [int(path.name) for path in (self._root.parent / "volumes").glob("[0-9]*")]

    async def wipe_volume(self, volume_id: int) -> None:
        """Removes a volume that no machine uses, with all that is on it."""
        await asyncio.to_thread(Disk(self.volume(volume_id)).wipe)

    def disks(self) -> list[int]:
        """The ids of the machines that have a disk."""
        return [int(path.name) for path in self._root.iterdir() if path.name.isdecimal()]

    async def end_leftovers(self) -> None:
        """Ends what a killed predecessor left, and waits for it: no port is held by it then, no disk is written to.

        That is machines that are dying already, and perhaps a bubblewrap that it had only just started. Such a one may
        part into two while it is looked for, and the second would wait for the first for ever: so it is looked again
        until there is none.
        """
        while leftovers := [end for pid in self._bubblewraps() if (end := _end_of(pid))]:
            for end in leftovers:
                end.hasten()
            for end in leftovers:
                await end.wait()

    async def boot(self, spec: MachineSpec) -> int:
        """Starts a machine and returns its SSH port once that port answers as this very machine.

        With the trouble `ssh_refused` nothing answers, and it returns as soon as the machine runs.

        Raises:
            BootFailed: it ended, or did not answer in time.
        """
        disk = self.disk(spec.id)
        port = spec.port if spec.port and _is_free(spec.port) else free_port()
        banner = f"rekindle-{secrets.token_hex(8)}"
        disk.prepare(spec, port, banner)
        await _to_the_end(disk.make_host_key)
        machine, tether = self._spawn(disk, spec)
        self._machines[spec.id] = machine
        try:
            async with asyncio.timeout(BOOT_WITHIN):
                await self._release(disk, machine, tether)
                if not spec.troubles.ssh_refused:
                    await self._until_ssh_answers(disk, machine, port, banner)
        except TimeoutError as error:
            await self.stop(spec.id)
            raise BootFailed(f"no answer on port {port} within {BOOT_WITHIN:g} s; see {disk.console}") from error
        except BaseException:
            await self.stop(spec.id)
            raise
        finally:
            tether.close()
        return port

    async def ended(self, machine_id: int) -> int:
        """Waits until a machine that was booted ends, for whatever reason, and returns bubblewrap's exit code."""
        machine = self._machines[machine_id]
        await machine.end.wait()
        return machine.bubblewrap.wait()

    async def stop(self, machine_id: int) -> None:
        """Kills a machine with everything in it, and returns when all of it is gone. Its disk stays."""
        machine = self._machines.get(machine_id)
        if machine is None:
            return
        # bubblewrap must have come so far that its first process is known: killed before, it would leave that behind.
        while machine.end_of_all is None and machine.bubblewrap.poll() is None:
            machine.end_of_all = _end_of(self.disk(machine_id).init_process())
            await asyncio.sleep(0.005)
        if machine.end_of_all is not None:
            machine.end_of_all.hasten()
            await machine.end_of_all.wait()
        machine.end.hasten()
        await machine.end.wait()
        machine.bubblewrap.wait()
        self._machines.pop(machine_id, None)

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(machine_id) for machine_id in list(self._machines)))

    async def wipe(self, machine_id: int) -> None:
        """Stops a machine if it runs, and removes its disk."""
        await self.stop(machine_id)
        await asyncio.to_thread(self.disk(machine_id).wipe)

    def _bubblewraps(self) -> Iterator[int]:
        """The processes of this host that are bubblewrap on one of these disks, whoever started them."""
        mine = f"{self._root}/".encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                arguments = path.read_bytes().split(b"\0")
                if arguments[0] == self._bwrap.encode() and any(one.startswith(mine) for one in arguments):
                    yield int(path.parent.name)

    def _spawn(self, disk: Disk, spec: MachineSpec) -> tuple[_Machine, socket.socket]:
        """Starts the machine's processes, and returns them with this end of their tether.

        Not by asyncio: a boot that is called off must not lose sight of a process just started.
        """
        tether, theirs = socket.socketpair()
        tether.setblocking(False)
        with theirs, disk.console.open("ab") as console, disk.processes.open("wb") as info:
            bubblewrap = subprocess.Popen(
                command(self._bwrap, disk, spec, info.fileno(), theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[info.fileno(), theirs.fileno()],
                env={"PATH": SEARCH_PATH, "HOME": "/root", "LANG": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C in the terminal of the cloud is not meant for the machine
            )
        return _Machine(bubblewrap, _End(bubblewrap.pid)), tether

    async def _release(self, disk: Disk, machine: _Machine, tether: socket.socket) -> None:
        """Lets the machine go on once it is tied to this process."""
        loop = asyncio.get_running_loop()
        if not await loop.sock_recv(tether, 1):
            raise await _failure(disk, machine)
        machine.end_of_all = _end_of(disk.init_process())
        await loop.sock_sendall(tether, b"\n")

    async def _until_ssh_answers(self, disk: Disk, machine: _Machine, port: int, banner: str) -> None:
        pause = 0.02
        while not await _answers(port, banner):
            if machine.bubblewrap.poll() is not None:
                raise await _failure(disk, machine)
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.2)


async def _failure(disk: Disk, machine: _Machine) -> BootFailed:
    await machine.end.wait()
    return BootFailed(f"ended at once ({in_words(machine.bubblewrap.wait())}); see {disk.console}")


async def _to_the_end(work: Callable[[], None]) -> None:
    """Does work in a thread. When it is called off it is still awaited: nobody else may touch the disk before."""
    task = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait([task])


async def _answers(port: int, banner: str) -> bool:
    """Tells whether the sshd with this banner, and not somebody else, listens on the port."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        # Not wait_for: that loses a cancellation which comes together with the line, and the boot goes on for ever.
        async with asyncio.timeout(5):
            return banner.encode() in await reader.readline()
    except (OSError, ValueError, TimeoutError):
        return False
    finally:
        writer.close()


def free_port() -> int:
    """A port for a machine that nobody listens on."""
    while True:
        port = random.choice(PORTS)  # noqa: S311 - which port it is needs no secrecy
        if _is_free(port):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
