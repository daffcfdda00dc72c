"""The supervisor: starts the parts of a cloud, waits until all of them answer, and stops them together.

It restarts nothing by itself. A part that dies takes the cloud down: the supervisor says which one and where its log
is, keeps that in D/last_failure, and the state is there for the next start. Parts cannot outlive it, however it ends.
A single part is stopped, and started again, when somebody asks for it (see `sandbox.stopped`).
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from sandbox.control.sockets import sockets_of
from sandbox.disk_space import is_full
from sandbox.leases import Leases
from sandbox.parts import Part, Running
from sandbox.processes import ProcessId, this_process
from sandbox.state import StateDir, write_private
from sandbox.stopped import Stopped

READY_WITHIN = 60.0  # seconds from start to all parts answering
LEASE_GRACE = 20.0  # seconds that the cloud stays after the last leasing process has ended
_LOOK = 0.02  # seconds between two looks at parts that start
_LEASE_LOOK = 1.0  # seconds between two looks at the leases
OUTAGE_WITHIN = 1.0  # seconds that a single part may take to stop: the store would let its clients finish their work
LOOK_NOW = signal.SIGUSR1  # makes the supervisor look at once which parts shall be stopped

Phase = Literal["starting", "ready", "stopping"]


class PartFailed(Exception):
    """A part died or did not answer. The message is for people."""


class Standing(BaseModel):
    """What D/supervisor.json says of the cloud that runs, or of one that ended without a word."""

    phase: Phase
    supervisor: ProcessId
    since: datetime
    parts: dict[str, ProcessId]
    stopped: list[str] = []


class Supervisor:
    """Runs one cloud from start to stop, in the main thread of a process that holds the lock of its state directory."""

    def __init__(self, state: StateDir, parts: list[Part], leases: Leases, tell: Callable[[str], None]) -> None:
        self._state = state
        self._parts = parts
        self._leases = leases
        self._tell = tell
        self._stopped = stopped_parts(state)
        self._running: dict[str, Running] = {}
        self._since = _now()

    def run(self, ready: Callable[[], None]) -> None:
        """Starts the cloud, calls `ready` when all parts answer, returns when asked to stop or when nobody needs it.

        Raises:
            PartFailed: a part died or did not answer in time. What still ran has been stopped.
        """
        with _requests() as wake:
            try:
                self._stopped.clear()
                self._running = {part.name: Running(part) for part in self._parts}
                self._note("starting")
                if self._wait_until_ready(wake, self._parts):
                    last_failure_file(self._state).unlink(missing_ok=True)
                    self._note("ready")
                    ready()
                    self._watch(wake)
            except PartFailed as failure:
                with suppress(OSError):  # what was seen matters more than that it could not be noted
                    self._log(str(failure))
                    write_private(last_failure_file(self._state), f"{_now():%F %T}: {failure}\n")
                raise
            finally:
                self._stop()

    def _wait_until_ready(self, wake: int, parts: Iterable[Part]) -> bool:
        """Looks at the parts until all of them answer. False when asked to stop meanwhile."""
        begun = time.monotonic()
        waiting = {part.name: part for part in parts}
        while waiting:
            if _shall_end(wake, [], _LOOK):
                return False
            self._raise_if_dead()
            seconds = time.monotonic() - begun
            for part in list(waiting.values()):
                try:
                    trouble = part.trouble()
                except (OSError, HTTPException) as error:
                    trouble = f"no answer ({error})"
                if trouble is None:
                    del waiting[part.name]
                    self._say(f"  {part.name:<12} {part.url}  ready after {seconds:.1f} s")
                elif seconds > READY_WITHIN:
                    late = f"The {part.name} did not become ready within {READY_WITHIN:g} s. Last seen: {trouble}."
                    raise PartFailed(part.failed(late, None))
        return True

    def _watch(self, wake: int) -> None:
        """Returns when asked to stop, or when nobody has needed the cloud for a while."""
        needed = time.monotonic()
        while True:
            if _shall_end(wake, [running.process.pid for running in self._running.values()], _LEASE_LOOK):
                return
            self._raise_if_dead()
            if not self._stop_and_start_parts(wake):
                return
            if self._leases.are_held():
                needed = time.monotonic()
            elif time.monotonic() - needed > LEASE_GRACE:
                # Announce it, then look once more: who joins at this moment either sees it or is seen.
                self._note("stopping")
                if not self._leases.are_held():
                    self._say(f"Nobody has needed the cloud for {LEASE_GRACE:g} s: it stops. Its state is kept.")
                    return
                self._note("ready")

    def _stop_and_start_parts(self, wake: int) -> bool:
        """Does what was asked for since the last look. False when asked to stop altogether meanwhile."""
        known = {part.name for part in self._parts}
        while (stopped := self._stopped.names() & known) != known - self._running.keys():
            for name in stopped & self._running.keys():
                self._running.pop(name).stop(OUTAGE_WITHIN)
                self._say(f"The {name} was stopped, as somebody asked; the other parts run on.")
            missing = [part for part in self._parts if part.name not in stopped | self._running.keys()]
            self._running |= {part.name: Running(part) for part in missing}
            self._note("ready")
            if not self._wait_until_ready(wake, missing):
                return False
        return True

    def _raise_if_dead(self) -> None:
        for running in self._running.values():
            if death := running.death():
                seconds = (_now() - self._since).total_seconds()
                died = (
                    f"The {running.part.name} has died ({death}), {seconds:.0f} s after the start of the cloud. "
                    "The other parts were stopped; the state is kept."
                )
                raise PartFailed(running.part.failed(died, running.process.returncode))

    def _stop(self) -> None:
        with suppress(OSError):  # the state directory was removed
            self._note("stopping")
        for part in self._parts:
            if running := self._running.get(part.name):
                running.stop()
        remove_sockets(self._state)
        self._leases.clear()
        self._stopped.clear()
        _standing_file(self._state).unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        self._log(text)
        self._tell(text)

    def _log(self, text: str) -> None:
        with suppress(OSError), log_file(self._state).open("a") as log:  # a full disk must not take the cloud down
            log.write(f"{_now():%F %T}  {text.strip()}\n")

    def _note(self, phase: Phase) -> None:
        identities = {name: running.identity() for name, running in self._running.items()}
        standing = Standing(
            phase=phase,
            supervisor=this_process(),
            since=self._since,
            parts={name: identity for name, identity in identities.items() if identity},
            stopped=sorted(self._stopped.names() - self._running.keys()),
        )
        try:
            write_private(_standing_file(self._state), standing.model_dump_json(indent=1))
        except OSError as error:
            if phase == "starting" or not is_full(error):
                raise
            self._log(f"{_standing_file(self._state)} stays as it was: {error}")


def log_file(state: StateDir) -> Path:
    return state.logs / "supervisor.log"


def last_failure_file(state: StateDir) -> Path:
    """Why the cloud is not up, when it went down by itself. Goes away with the next start that succeeds."""
    return state.root / "last_failure"


def stopped_parts(state: StateDir) -> Stopped:
    """The parts that shall not run. Who changes it sends LOOK_NOW to the supervisor."""
    return Stopped(state.root / "stopped")


def standing(state: StateDir) -> Standing | None:
    """What was last noted of the cloud; None when it was never started or has ended in order."""
    try:
        return Standing.model_validate_json(_standing_file(state).read_text())
    except FileNotFoundError:
        return None


def sweep(state: StateDir) -> None:
    """Ends what a supervisor that was killed may have left. To be called with the lock of the state directory."""
    left = standing(state)
    for process in left.parts.values() if left else ():
        process.kill(signal.SIGKILL)
    remove_sockets(state)


def remove_sockets(state: StateDir) -> None:
    """Remove the folder that the product leaves in /tmp when it is killed."""
    with suppress(OSError, ValidationError):
        shutil.rmtree(sockets_of(state.config().cloud_id), ignore_errors=True)


def _standing_file(state: StateDir) -> Path:
    return state.root / "supervisor.json"


def _now() -> datetime:
    return datetime.now().astimezone()


def _shall_end(wake: int, pids: Iterable[int], seconds: float) -> bool:
    """Waits for a signal, for the end of one of our processes, or for the time. True when the signal was to stop."""
    handles = [os.pidfd_open(pid) for pid in pids]
    try:
        ready, _, _ = select.select([wake, *handles], [], [], seconds)
    finally:
        for handle in handles:
            os.close(handle)
    return wake in ready and bool(set(os.read(wake, 64)) - {LOOK_NOW})


@contextmanager
def _requests() -> Iterator[int]:
    """Turns the signals into a readable file descriptor, which can be waited for together with other things."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    previous_wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, LOOK_NOW)
    previous = {number: signal.signal(number, lambda *_: None) for number in asked}
    try:
        yield read
    finally:
        signal.set_wakeup_fd(previous_wakeup)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
