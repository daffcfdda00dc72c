"""The guard: a process of its own that destroys what a run leaves behind when the run dies, however it dies.

    python -m rekindle.guard

It is started before the first rent, reads its orders (one line of JSON, credentials included) from its standard input,
proves that it can do its work, and answers `ready`. While the run goes on it destroys machines that live longer than
the minutes reserved for them, and answers `ready` whenever it is asked by a line `ready`; until

- its standard input ends or the run's process is gone: it destroys every machine that the ledger names for this run or
  that carries a label of this run, and looks on for a while, so that a create call that was under way is caught too;
  then it deletes the snapshots that the run caused, and verifies that in the bucket;
- the line `done` comes: it destroys what is still open all the same, says so, and ends.

It lives in a session of its own and ignores the signals of a terminal. It tells what it does in `<ledger>.guard.log`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from rekindle.clearing import PATIENCE, Cleared, Clearing, Volumes, of_run
from rekindle.dumont import DumontClient
from rekindle.embedded import EmbeddedCloud
from rekindle.errors import Mismatch, RekindleError, Unknown, Weather
from rekindle.gcp import GcpClient
from rekindle.guard_snapshots import Bucket, clear_snapshots
from rekindle.http import PROXY_VARIABLES
from rekindle.labels import label_prefix
from rekindle.ledger import Ledger, process_identity
from rekindle.market import MarketClient
from rekindle.overtime import Overtime, outlived
from rekindle.private_folder import remove_with_processes
from rekindle.settings import Settings
from rekindle.waiting import wait_until
from rekindle.wording import named

START_TIMEOUT = 20.0
# A guard that does not say within this time that it is there is replaced.
ASK_TIMEOUT = 5.0
# Between two looks for machines that are due.
LOOK = 2.0
READY = "ready"
DONE = "done"
# What a Python needs to start and to reach the target. The rest of the environment may hold credentials.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", *PROXY_VARIABLES)


class GuardNotReady(RekindleError):
    """The guard does not start, so nothing may be rented."""


class Orders(BaseModel):
    """What a guard must know. Holds credentials in the clear: it only ever goes through a pipe."""

    run_id: str
    run_pid: int
    run_process: str
    ledger: Path
    target: str
    dumont_url: str
    dumont_email: str
    dumont_password: str
    market_url: str | None
    market_key: str | None
    gcp_url: str | None = None
    gcp_project: str | None = None
    gcp_token: str | None = None
    private_files: Path | None
    bucket: Bucket | None = None
    temporary_cloud: Path | None = None


class Guard:
    """The run's side: starts the guard's process, keeps it alive, and tells it when all is done. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        run_id: str,
        private_files: Path | None = None,
        *,
        watches_cpu_cloud: bool = False,
        bucket: Bucket | None = None,
        temporary_cloud: Path | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            settings: addresses and credentials.
            ledger: names what is to be destroyed.
            run_id: the run that is guarded.
            private_files: a folder of the run that shall not outlive it either.
            watches_cpu_cloud: whether CPU standbys of the run are looked for at the CPU cloud as well.
            bucket: where snapshots are verified to be gone; None when the user has no key for it.
            temporary_cloud: state directory of an embedded cloud that this run alone uses; removed after a crash.
        """
        self._temporary_cloud = temporary_cloud
        self._bucket = bucket
        self._watches_cpu_cloud = watches_cpu_cloud
        self._private_files = private_files
        self._settings = settings
        self._ledger = ledger
        self._run_id = run_id
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    @property
    def log(self) -> Path:
        """Where the guard tells what it does, beside the ledger."""
        return self._ledger.path.with_suffix(".guard.log")

    @property
    def pid(self) -> int | None:
        """The guard's process, when it has been started."""
        return self._process.pid if self._process else None

    def ensure_ready(self) -> None:
        """Starts the guard unless it runs, and waits until it has proven that it can do its work.

        Raises:
            GuardNotReady: it cannot; the message says why. Nothing may be rented then.
        """
        with self._lock:
            if self._answers():
                return
            self._end()
            self._process = self._start()
            answer = self._read(START_TIMEOUT)
            if answer != READY:
                self._end()
                raise GuardNotReady(
                    "Nothing is rented, because the guard that would clean up after a crash is not ready: "
                    f"{answer or f'it ended, or did not answer within {START_TIMEOUT:g} s.'} Its log is {self.log}."
                )

    def stand_down(self, *, snapshots_reported: bool = False) -> Cleared:
        """Ends the guard. Whatever this run has left open it destroys first.

        Args:
            snapshots_reported: whether an error of this run says already that snapshots could not be deleted.

        Raises:
            Mismatch: machines had been left, or had outlived their minutes; they are destroyed now.
            Unknown: it could not be told whether all are gone.
        """
        if not self._process:
            return Cleared()
        try:
            self.ensure_ready()  # one that has died is replaced: somebody must look
        except GuardNotReady as error:
            raise Unknown(
                f"The guard of run {self._run_id} had died, and no other could be started to see whether machines are "
                f"left: {error}"
            ) from error
        with self._lock:
            self._tell(DONE)
            answer = self._read(PATIENCE + START_TIMEOUT)
            self._end()
        try:
            cleared = Cleared(**json.loads(answer))
        except (ValueError, TypeError):
            raise Unknown(
                f"The guard of run {self._run_id} did not tell whether every machine is gone. Its log is {self.log}; "
                f"look at the market for labels that begin with `{label_prefix(self._run_id)}`."
            ) from None
        if cleared.unsettled:
            raise Unknown(
                f"It is not certain that everything of run {self._run_id} is gone, and what is not costs money: "
                f"{cleared}. The next run on this target destroys it; or look at the market for labels that begin with "
                f"`{label_prefix(self._run_id)}`. Log: {self.log}."
            )
        if cleared.destroyed:
            raise Mismatch(
                f"At the end of run {self._run_id} machines were still rented. The guard did this: {cleared}. "
                "Does the suite end with `Suite Teardown    Destroy All Machines And Prove It`? "
                f"Log: {self.log}."
            )
        if cleared.snapshots_left and not snapshots_reported:
            raise Mismatch(
                f"Snapshots of run {self._run_id} could not be deleted, and they cost money: "
                f"{'; '.join(cleared.snapshots_left)}. The next run on this target deletes them. Log: {self.log}."
            )
        if cleared.snapshots and not snapshots_reported:
            raise Mismatch(
                f"At the end of run {self._run_id} snapshots were still in the bucket. The watchdog deleted them: "
                f"{named(cleared.snapshots)}. Log: {self.log}."
            )
        if due := outlived(self._ledger, self._run_id):
            machines = [f"{rent.instance_id} ({rent.label or 'no label'}, {rent.minutes:g} min)" for rent in due]
            raise Mismatch(
                f"Run {self._run_id} kept machines for longer than money was reserved, and the guard destroyed them "
                f"while it went on: {named(machines)}. Allow more: --variable MACHINE_MINUTES:60. Log: {self.log}."
            )
        return cleared

    def _answers(self) -> bool:
        """Whether the guard runs and does not only hang."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._tell(READY)
        return self._read(ASK_TIMEOUT) == READY

    def _tell(self, line: str) -> None:
        assert self._process is not None  # noqa: S101 - the callers have started it
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()

    def _start(self) -> subprocess.Popen[str]:
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise GuardNotReady(f"Nothing is rented, because the guard's log cannot be written: {error}.") from error
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "rekindle.guard"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(log)
        settings = self._settings
        orders = Orders(
            run_id=self._run_id,
            run_pid=os.getpid(),
            run_process=process_identity(os.getpid()),
            ledger=self._ledger.path,
            target=self._ledger.target,
            dumont_url=settings.dumont_api_url,
            dumont_email=settings.dumont_email,
            dumont_password=settings.dumont_password.get_secret_value(),
            market_url=settings.vast_url if settings.vast_api_key else None,
            market_key=settings.vast_api_key.get_secret_value() if settings.vast_api_key else None,
            gcp_url=settings.gcp_url if self._watches_cpu_cloud else None,
            gcp_project=settings.gcp_project,
            gcp_token=settings.gcp_access_token.get_secret_value() if settings.gcp_access_token else None,
            private_files=self._private_files,
            bucket=self._bucket,
            temporary_cloud=self._temporary_cloud,
        )
        assert process.stdin is not None  # noqa: S101 - it was asked for
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(orders.model_dump_json() + "\n")
            process.stdin.flush()
        return process

    def _read(self, timeout: float) -> str:
        """The guard's next line; empty when it ends or says nothing in time."""
        assert self._process is not None  # noqa: S101 - the callers have started it
        assert self._process.stdout is not None  # noqa: S101 - it was asked for
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        return self._process.stdout.readline().strip() if ready else ""

    def _end(self) -> None:
        """Leaves neither a process nor a zombie. Killed before its input ends, which it would take for a crash."""
        if self._process:
            self._process.kill()
            # Closes the pipes, in which something may be left that nobody will read, and waits.
            with contextlib.suppress(BrokenPipeError), self._process:
                pass
            self._process = None


def main() -> None:
    """The guard's process."""
    # Only the end of the run ends the guard: not the terminal it was started in, not a signal to everybody.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    unprotected = _spare_when_memory_runs_out()
    # Unbuffered, so that what was not yet read is still in the pipe and can be waited for.
    commands = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - standard input
    orders = Orders.model_validate_json(commands.readline())

    def say(text: str) -> None:
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        with contextlib.suppress(OSError):  # a full disk must not keep the guard from its work
            print(f"{moment} run {orders.run_id} guard {os.getpid()}: {text}", file=sys.stderr, flush=True)

    if unprotected:
        say(f"when memory runs out, the kernel may kill this guard before others: {unprotected}")
    try:
        ledger = Ledger(orders.ledger, orders.target)
        dumont, clearing = _enter(orders, ledger, say)
    except RekindleError as error:
        say(f"not ready: {error}")
        _answer(" ".join(str(error).split()))
        return
    _answer(READY)
    say(f"watching over process {orders.run_pid}")
    overtime = Overtime(clearing(), ledger, orders.run_id, say)
    done = _wait_for_end(orders, commands, overtime)
    say("the run says that it is done" if done else "the run has ended without a word")
    if orders.private_files and not done:  # it may hold credentials
        shutil.rmtree(orders.private_files, ignore_errors=True)
    try:
        rents = ledger.open_rents(orders.run_id)
    except RekindleError as error:
        say(f"going by labels alone: {error}")
        rents = []
    # After an orderly end all was proven gone already; a cloud that is down too is not waited for as long then.
    patience = PATIENCE if rents or not done else PATIENCE / 6
    of_this_run = of_run(orders.run_id, rents)

    def ours(label: str | None, id_: int) -> bool:
        return of_this_run(label, id_) and not _is_taken(ledger, label, orders.run_id)

    cleared = clearing().clear(rents, ours, patience=patience)
    say(str(cleared))
    snapshots = clear_snapshots(orders, dumont, ledger, say, {*cleared.destroyed}, done=done)
    cleared.snapshots, cleared.snapshots_left = snapshots.deleted, snapshots.unsettled
    _answer(json.dumps(asdict(cleared)))
    if orders.private_files and not done:
        remove_with_processes(orders.private_files)
    if orders.temporary_cloud and not done:
        with contextlib.suppress(RekindleError, OSError):
            EmbeddedCloud(orders.temporary_cloud).remove()
            say(f"removed the temporary cloud in {orders.temporary_cloud}")


def _spare_when_memory_runs_out() -> str | None:
    """Ask the kernel to kill other processes first. Return the reason if it refuses; only root may ask."""
    try:
        Path("/proc/self/oom_score_adj").write_text("-500")
    except OSError as error:
        return str(error)
    return None


def _enter(orders: Orders, ledger: Ledger, say: Callable[[str], None]) -> tuple[DumontClient, Callable[[], Clearing]]:
    """Logs in and lists once, as a proof that both can be done. Returns what makes a clearing, one for each use."""
    # No retries inside of a call: the clearing looks again by itself, and faster.
    dumont = DumontClient(orders.dumont_url, orders.dumont_email, orders.dumont_password, pauses=())
    market = None
    if orders.market_url and orders.market_key:
        market = MarketClient(orders.market_url, orders.market_key, pauses=())
    volumes = Volumes(market) if market else None
    gcp = None
    if orders.gcp_url and orders.gcp_project and orders.gcp_token:
        gcp = GcpClient(orders.gcp_url, orders.gcp_project, orders.gcp_token, pauses=())
    wait_until(
        "the target to let the guard in",
        lambda: [cloud.instances() for cloud in (dumont, market, volumes, gcp) if cloud],
        bool,
        timeout=START_TIMEOUT / 2,
        tolerate=(Weather, Unknown),
    )
    return dumont, lambda: Clearing(dumont, market, ledger, say, volumes=volumes, cpu_cloud=gcp)


def _is_taken(ledger: Ledger, label: str | None, run_id: str) -> bool:
    """Whether another run, which goes on, has woken a machine that this run had hibernated."""
    try:
        return bool(label) and ledger.is_in_use(label or "", but_for=run_id)
    except RekindleError:
        return False


def _answer(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody is left to read it
        print(line, flush=True)


def _wait_for_end(orders: Orders, commands: io.FileIO, overtime: Overtime) -> bool:
    """Works until the run ends. Returns whether it said that it is done."""
    # Not only its standard input is watched, because a child that the run has forked may hold that open.
    try:
        process = os.pidfd_open(orders.run_pid)
    except ProcessLookupError:
        return False
    if process_identity(orders.run_pid) != orders.run_process:
        return False
    while True:
        ready, _, _ = select.select([commands.fileno(), process], [], [], LOOK)
        if commands.fileno() in ready:
            line = commands.readline().strip()
            if line != READY.encode():
                return line == DONE.encode()
            _answer(READY)
        elif ready:
            return False
        else:
            overtime.look()


if __name__ == "__main__":
    main()
    # Threads may hang in calls that will never be answered: they must not keep this process.
    os._exit(0)
