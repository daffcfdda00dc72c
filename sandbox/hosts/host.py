"""Boots, stops and wipes machines. One process of the marketplace holds them all, and none outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import socket
from asyncio.subprocess import DEVNULL, Process
from dataclasses import dataclass
from pathlib import Path

from sandbox.hosts.disk import SEARCH_PATH, Disk
from sandbox.hosts.jail import command
from sandbox.hosts.spec import MachineSpec

BOOT_WITHIN = 60.0  # seconds; a boot takes 0.2, and some more while fifty others boot
PORTS = range(20000, 32000)  # below the kernel's own choice for outgoing connections, which could take one in between


class BootFailed(Exception):
    """The machine did not come up. The message says why and where its console is."""


@dataclass
class _Machine:
    process: Process
    init: int | None  # a descriptor of the machine's first process: it ends when all of the machine's processes have


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

    def disk(self, machine_id: int) -> Disk:
        return Disk(self._root / str(machine_id))

    def disks(self) -> list[int]:
        """The ids of the machines that have a disk."""
        return [int(path.name) for path in self._root.iterdir() if path.name.isdecimal()]

    async def boot(self, spec: MachineSpec) -> int:
        """Starts a machine and returns its SSH port once that port answers as this very machine.

        With the trouble `ssh_refused` nothing answers, and it returns as soon as the machine runs.

        Raises:
            BootFailed: it ended, or did not answer in time.
        """
        disk = self.disk(spec.id)
        port = spec.port if _is_free(spec.port) else free_port()
        banner = f"rekindle-{secrets.token_hex(8)}"
        disk.prepare(spec, port, banner)
        with disk.console.open("ab") as console, disk.processes.open("wb") as info:
            process = await asyncio.create_subprocess_exec(
                *command(self._bwrap, disk, spec, info.fileno()),
                stdin=DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[info.fileno()],
                env={"PATH": SEARCH_PATH, "HOME": "/root", "LANG": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C in the terminal of the cloud is not meant for the machine
            )
        machine = self._machines[spec.id] = _Machine(process, None)
        try:
            await asyncio.wait_for(self._until_up(disk, spec, machine, port, banner), BOOT_WITHIN)
        except TimeoutError as error:
            await self.stop(spec.id)
            raise BootFailed(f"did not answer on port {port} within {BOOT_WITHIN:g} s; see {disk.console}") from error
        except BaseException:
            await self.stop(spec.id)
            raise
        return port

    async def ended(self, machine_id: int) -> int:
        """Waits until a machine that was booted ends, for whatever reason, and returns bubblewrap's exit code."""
        return await self._machines[machine_id].process.wait()

    async def stop(self, machine_id: int) -> None:
        """Kills a machine with everything in it, and returns when all of it is gone. Its disk stays."""
        machine = self._machines.get(machine_id)
        if machine is None:
            return
        if machine.init is None:
            machine.init = _watch(self.disk(machine_id).init_process())
        with contextlib.suppress(ProcessLookupError):
            machine.process.kill()
        await machine.process.wait()
        if machine.init is not None:
            await _readable(machine.init)
            os.close(machine.init)
        self._machines.pop(machine_id, None)

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(machine_id) for machine_id in list(self._machines)))

    async def wipe(self, machine_id: int) -> None:
        """Stops a machine if it runs, and removes its disk."""
        await self.stop(machine_id)
        await asyncio.to_thread(self.disk(machine_id).wipe)

    async def _until_up(self, disk: Disk, spec: MachineSpec, machine: _Machine, port: int, banner: str) -> None:
        pause = 0.02
        while not await _is_up(disk, spec, port, banner):
            if machine.process.returncode is not None:
                raise BootFailed(f"ended at once (exit code {machine.process.returncode}); see {disk.console}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.2)
        machine.init = _watch(disk.init_process())


async def _is_up(disk: Disk, spec: MachineSpec, port: int, banner: str) -> bool:
    if spec.troubles.ssh_refused:
        return disk.init_process() is not None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        return banner.encode() in await asyncio.wait_for(reader.readline(), 5)
    except (OSError, TimeoutError):
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


def _watch(pid: int | None) -> int | None:
    """A descriptor that becomes readable when the process ends."""
    if pid is None:
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


async def _readable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(descriptor)
