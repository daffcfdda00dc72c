"""A cloud as a whole: starting, joining, stopping and forgetting the one that lives in a state directory."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, NoReturn

from sandbox import clocks, directory, disk_space, isolation, trees
from sandbox.leases import Leases
from sandbox.lock import lock
from sandbox.page import login_address
from sandbox.parts import Part, environment, parts_of
from sandbox.ports import PortPicker, who_has
from sandbox.processes import ProcessId
from sandbox.state import DEFAULT_STATE_DIR, CloudConfig, Ports, Proxies, StateDir
from sandbox.store import bucket, seaweed
from sandbox.supervisor import (
    LOOK_NOW,
    READY_WITHIN,
    PartFailed,
    Standing,
    Supervisor,
    last_failure_file,
    log_file,
    standing,
    stopped_parts,
    sweep,
)

Profile = Literal["instant", "realistic"]
PREFERRED_PORTS = {"control": 8766, "console": 4890}
STOP_WITHIN = 20.0  # seconds that `down` waits before it kills
_LOOK = 0.02  # seconds between two looks

# What the cloud calls, and the Debian package that brings it.
_PROGRAMS = {
    "bwrap": "bubblewrap",
    "restic": "restic",
    "rsync": "rsync",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}
_READY = "ready"
EXIT_DOWN = 1  # the cloud would have to be up for this


class Refused(Exception):
    """What was asked for cannot be done; the message says why and what to do. `code` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Wishes:
    """What a person asked for; None leaves the choice to the cloud."""

    profile: Profile | None = None
    seed: int | None = None
    control: int | None = None
    market: int | None = None
    store: int | None = None
    console: int | None = None
    proxied: bool = False
    settable_clocks: bool = False


class Cloud:
    """The cloud of one state directory."""

    def __init__(self, state: StateDir) -> None:
        self.state = state
        self._leases = Leases(state.root / "leases")

    # ── up ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def up(self, wishes: Wishes, lease: ProcessId | None, *, detach: bool, say: Callable[[str], None]) -> None:
        """Starts the cloud, or joins the one that runs. Either way all of it runs then, and its bucket can be used.

        In the foreground it returns when the cloud has stopped; detached, or when joined, as soon as it is ready.

        Raises:
            Refused: nothing was started, and why.
            PartFailed: a part died or never answered; everything has been stopped.
        """
        self._check_programs()
        if wishes.settable_clocks and clocks.library() is None:
            raise Refused(
                "Clocks cannot be set: libfaketime is missing. As an administrator, run:\n"
                f"    apt-get update && apt-get install --yes --no-install-recommends {clocks.PACKAGE}"
            )
        self._prepare_directory()
        while True:
            with lock(self.state.root / "lock") as held, PortPicker() as picker:
                if held:
                    self.state.create()
                    self._leases.clear()
                    self._leases.add(lease)
                    say(f"Starting the cloud in {self.state.root}")
                    supervisor = self._prepare(wishes, picker, tell=_say_nothing if detach else say)
                    if detach:
                        _run_detached(supervisor, log_file(self.state))
                    else:

                        def ready() -> None:
                            self._mend_bucket()
                            say(self._welcome("Ctrl-C takes it down; its state is kept."))

                        supervisor.run(ready)
                        return
            if detach and held:
                self._mend_bucket()
                say(self._welcome(f"`{self.command('down')}` takes it down; its state is kept."))
                return
            if self._join(lease, wishes):
                say(self._welcome("It was already up."))
                return
            time.sleep(0.05)  # it is starting or stopping: soon it is one or the other

    def _join(self, lease: ProcessId | None, wishes: Wishes) -> bool:
        """Adds the lease to a cloud that runs. False when it is not ready, or was just about to leave."""
        before = self.standing()
        if before is None or before.phase != "ready":
            return False
        self._check_wishes(wishes)
        self._leases.add(lease)
        for part in before.stopped:
            self.start_part(part)
        self._mend_bucket()
        after = self.standing()
        return after is not None and after.phase == "ready" and after.supervisor == before.supervisor

    def _check_wishes(self, wishes: Wishes) -> None:
        config = self.state.config()
        for wanted, there, what in (
            (wishes.proxied, config.proxies is not None, "proxies"),
            (wishes.settable_clocks, config.settable_clocks, "clocks that can be set"),
        ):
            if wanted and not there:
                raise Refused(f"The cloud is already up, without {what}. Take it down first: {self.command('down')}")
        is_like = {"profile": config.profile, "seed": config.seed, **config.ports.model_dump()}
        for name, is_now in is_like.items():
            wanted = getattr(wishes, name)
            if wanted not in (None, is_now):
                what = name if name in ("profile", "seed") else f"{name} port"
                raise Refused(
                    f"The cloud is already up, with {what} {is_now} instead of {wanted}. "
                    f"To change it, take it down first: {self.command('down')}"
                )

    def _check_programs(self) -> None:
        path = environment()["PATH"]
        missing = [name for name in _PROGRAMS if not shutil.which(name, path=path)]
        if missing:
            packages = " ".join(sorted({_PROGRAMS[name] for name in missing}))
            raise Refused(
                f"These programs are missing: {', '.join(missing)}. As an administrator, run:\n"
                f"    apt-get update && apt-get install --yes --no-install-recommends {packages}"
            )
        try:
            pwd.getpwuid(os.getuid())
        except KeyError:
            raise Refused(f"User {os.getuid()} has no name (no line in /etc/passwd), and ssh needs one.") from None
        if not seaweed.program().exists():
            raise Refused(
                f"The object store is missing: there is no {seaweed.program()}. Install what the project needs:\n"
                f"    {sys.executable} -m pip install -r requirements.txt"
            )
        if trouble := isolation.trouble(path):
            raise Refused(trouble)

    def _prepare_directory(self) -> None:
        """Create the state directory if it is missing, its path is usable and its disk has space."""
        try:
            directory.check(self.state.root)
            if self.standing() is None:
                self._check_space()
            directory.create(self.state.root)
        except directory.Unusable as unusable:
            raise Refused(str(unusable)) from None

    def _check_space(self) -> None:
        try:
            disk_space.check(self.state.root, disk_space.TO_START)
        except disk_space.DiskFull as full:
            raise Refused(f"{full} to start a cloud. {self.full_disk_remedy()}") from None
        except OSError:  # such as /proc, where creating the directory fails with its own message
            return

    def full_disk_remedy(self) -> str:
        """Return the sentence that says what to do when the disk of the state directory is full."""
        forget = f"forget this cloud (`{self.command('reset')}`), " if directory.is_a_clouds(self.state.root) else ""
        return f"Free space there, {forget}or give another directory (--state-dir, or STATE_DIR of the suites)."

    def _prepare(self, wishes: Wishes, picker: PortPicker, tell: Callable[[str], None]) -> Supervisor:
        sweep(self.state)
        last = self.state.config() if self.state.has_config() else None
        config = CloudConfig(
            cloud_id=secrets.token_hex(16),
            ports=_choose_ports(wishes, last.ports if last else None, picker),
            profile=wishes.profile or "instant",
            seed=wishes.seed if wishes.seed is not None else last.seed if last else 1,
            settable_clocks=wishes.settable_clocks,
            proxies=_choose_ways(last.proxies if last else None, picker) if wishes.proxied else None,
        )
        self.state.write_config(config)
        for part in clocks.PARTS if config.settable_clocks else ():
            clocks.set_clock(self.state, part, 0)
        credentials = self.state.secrets()
        inner = seaweed.InnerPorts.pick(picker, self.state.store)
        store_command = seaweed.prepare(self.state, config, credentials, inner)
        return Supervisor(self.state, self._parts(store_command), self._leases, tell)

    def _welcome(self, last_line: str) -> str:
        config = self.state.config()
        seen = config.for_users
        network = f"  network      {config.network_url}   (Toxiproxy's API)\n" if config.network_url else ""
        return (
            f"The cloud is up: profile {config.profile}, seed {config.seed}, state in {self.state.root}\n"
            f"  web page     {login_address(config)}\n"
            f"  Dumont Cloud {seen.control}/api/v1\n"
            f"  marketplace  {seen.market}\n"
            f"  object store {seen.store}\n"
            f"{network}"
            "Use it from another terminal:\n"
            f'  eval "$({self.command("env")})"\n'
            f"  {self.command('open')}\n"
            f"  {self.command('status')}\n"
            f"{last_line}"
        )

    def command(self, verb: str) -> str:
        """The command line with which a person does something to this cloud."""
        default = DEFAULT_STATE_DIR.resolve() == self.state.root
        return f"python -m sandbox {verb}" + ("" if default else f" --state-dir {shlex.quote(str(self.state.root))}")

    # ── down ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def standing(self) -> Standing | None:
        """What the supervisor that lives says of its cloud; None when there is none."""
        noted = standing(self.state)
        return noted if noted and noted.supervisor.is_alive() else None

    def down(self) -> bool:
        """Stops the cloud and returns when it is gone. False when it was not up."""
        running = self.standing()
        if running is None:
            return False
        running.supervisor.kill(signal.SIGTERM)
        deadline = time.monotonic() + STOP_WITHIN
        while running.supervisor.is_alive():
            if time.monotonic() > deadline:
                running.supervisor.kill(signal.SIGKILL)  # its parts go with it
            time.sleep(_LOOK)
        return True

    # ── breaking and mending ────────────────────────────────────────────────────────────────────────────────────────

    def stop_part(self, name: str) -> bool:
        """Stops one part while the others run on. False when it did not run.

        Raises:
            Refused: the cloud is not up.
            PartFailed: the cloud went down meanwhile.
        """
        if name not in self._ready().parts:
            return False
        stopped_parts(self.state).add(name)
        self._wait_for_part(f"the {name} to stop", lambda now: name not in now.parts)
        return True

    def start_part(self, name: str) -> bool:
        """Starts a part that was stopped, and returns when it answers. False when it ran already.

        Raises:
            Refused: the cloud is not up.
            PartFailed: the part did not come up, and so the cloud went down.
        """
        stopped = name not in self._ready().parts
        (part,) = (one for one in self._parts([]) if one.name == name)
        stopped_parts(self.state).remove(name)
        self._wait_for_part(f"the {name} to answer", lambda now: name in now.parts and _answers(part))
        return stopped

    def bucket_trouble(self) -> bucket.Trouble | None:
        """What is amiss with the bucket of the snapshots, because somebody wanted it so."""
        return bucket.trouble(self.state)

    def trouble_bucket(self, trouble: bucket.Trouble | None) -> None:
        """Makes the bucket of the snapshots read-only or full; None makes it usable again.

        Raises:
            Refused: the store does not run.
            bucket.StoreRefused: it did not do so.
        """
        if "store" not in self._ready().parts:
            raise Refused(f"The store is stopped. Start it: {self.command('start')} store", EXIT_DOWN)
        bucket.set_trouble(self.state, self.state.config(), self.state.secrets(), trouble)

    def set_clock(self, part: str, ahead: float) -> None:
        """Lets the wall clock of a part be so many seconds ahead of the right time.

        Raises:
            Refused: the cloud is not up, or its clocks cannot be set.
        """
        self._ready()
        if not self.state.config().settable_clocks:
            raise Refused(
                f"The clocks of the cloud in {self.state.root} cannot be set. Take it down, and start it with "
                f"{self.command('up')} --settable-clocks"
            )
        clocks.set_clock(self.state, part, ahead)

    def _mend_bucket(self) -> None:
        if self.bucket_trouble():
            self.trouble_bucket(None)

    def _ready(self) -> Standing:
        running = self.standing()
        if running is None or running.phase != "ready":
            raise Refused(f"The cloud in {self.state.root} is not up. Start it: {self.command('up')}", EXIT_DOWN)
        return running

    def _wait_for_part(self, what: str, done: Callable[[Standing], bool]) -> None:
        self._ready().supervisor.kill(LOOK_NOW)
        deadline = time.monotonic() + READY_WITHIN
        while True:
            now = self.standing()
            if now is None or now.phase != "ready":
                failure = last_failure_file(self.state)
                raise PartFailed(
                    failure.read_text().strip() if failure.exists() else "The cloud was taken down meanwhile."
                )
            if done(now):
                return
            if time.monotonic() > deadline:
                raise PartFailed(f"Waited {READY_WITHIN:g} s for {what}, in vain. See {log_file(self.state)}")
            time.sleep(_LOOK)

    def _parts(self, store_command: list[str]) -> list[Part]:
        return parts_of(self.state, self.state.config(), self.state.secrets(), store_command)

    def reset(self) -> bool:
        """Forgets everything: machines, snapshots, bills, credentials. False when there was nothing.

        Raises:
            Refused: the cloud is up, or the directory is not one of ours.
        """
        root = self.state.root
        if not root.is_dir() or not any(root.iterdir()):
            return False
        if not directory.is_a_clouds(root):
            raise Refused(
                f"{root} does not look like a cloud's state directory (no secrets.json): nothing was removed."
            )
        with lock(root / "lock") as held:
            if not held:
                raise Refused(f"The cloud in {root} is up. Take it down first: {self.command('down')}")
            sweep(self.state)
            for entry in root.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    trees.remove(entry)
                else:
                    entry.unlink()
        return True


def _answers(part: Part) -> bool:
    try:
        return part.trouble() is None
    except (OSError, HTTPException):
        return False


def _say_nothing(_: str) -> None:
    """A supervisor without a terminal writes to its log only."""


def _choose_ports(wishes: Wishes, last: Ports | None, picker: PortPicker) -> Ports:
    """The ports that were asked for; otherwise those of the last run where they are free, else free ones."""
    asked = {name: port for name in Ports.model_fields if (port := getattr(wishes, name)) is not None}
    if len(set(asked.values())) < len(asked):
        raise Refused("The same port was asked for twice.")
    for name, port in asked.items():
        if not picker.claim(port):
            raise Refused(
                f"Port {port}, asked for as --{name}-port, {who_has(port)}. Choose another, or leave the option away."
            )
    return Ports(
        **{
            name: asked.get(name) or picker.pick(getattr(last, name, None), PREFERRED_PORTS.get(name))
            for name in Ports.model_fields
        }
    )


def _choose_ways(last: Proxies | None, picker: PortPicker) -> Proxies:
    """As _choose_ports, for the network."""
    return Proxies(**{name: picker.pick(getattr(last, name, None)) for name in Proxies.model_fields})


def _run_detached(supervisor: Supervisor, log: Path) -> None:
    """Lets a child in a session of its own run the cloud. Returns when it is ready.

    Raises:
        PartFailed: what the child said instead.
    """
    read, write = os.pipe()
    sys.stdout.flush()
    if os.fork() == 0:
        os.close(read)
        _be_daemon(supervisor, log, write)
    os.close(write)
    with os.fdopen(read) as stream:
        verdict = stream.read()
    if verdict != _READY:
        raise PartFailed(verdict or f"The supervisor ended unexpectedly. Its log is {log}")


def _be_daemon(supervisor: Supervisor, log: Path, verdict: int) -> NoReturn:
    """The life of the child: nothing of the terminal stays open, and what it must say goes to the log."""
    code = 1

    def give(text: str) -> None:
        with suppress(OSError):  # the command that started it may be gone
            os.write(verdict, text.encode())
            os.close(verdict)

    try:
        os.setsid()
        with Path(os.devnull).open("rb") as nothing, log.open("ab") as output:
            os.dup2(nothing.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        try:
            supervisor.run(ready=lambda: give(_READY))
            give("The cloud was taken down before it was ready.")
            code = 0
        except PartFailed as failure:
            give(str(failure))
    except BaseException as error:  # noqa: BLE001 - no caller is left to catch it: the log must have it
        traceback.print_exc()
        give(f"{type(error).__name__}: {error}\nThe supervisor of the cloud failed. Its log is {log}")
    finally:
        os._exit(code)
