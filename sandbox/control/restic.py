"""restic, run on the machines (backup, restore) and here (init, list, check, forget).

Options, as measured with restic 0.14 on two cores (docs/decisions/0008-restic-settings.md):
* The repository's key opens at once, or each call would pay half a second for it. Looks at the repository are shared
  by all who ask at the same time.
* Compression stays automatic: `off` saves a tenth of the time on incompressible data, and costs a multiple of the
  transfer on text. More connections or larger packs change less than the noise, and cost memory.
* A restore has a cache, so that it reads each pack once; a backup, which reads next to nothing, has none. No cache
  outlives a call.
* What only reads takes no lock (0.1 s), and does not fail because another machine is backing up. That nothing is
  pruned meanwhile is seen to here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pydantic import BaseModel, TypeAdapter

from sandbox.control import process
from sandbox.control.bucket import BucketFolder
from sandbox.control.errors import ApiError
from sandbox.control.progress import Progress
from sandbox.control.quick_key import make_quick
from sandbox.control.restic_disks import ON_DISK, whose_disk_is_full
from sandbox.control.ssh import Machine
from sandbox.control.together import NextRun, SharedLock
from sandbox.disk_answers import INSUFFICIENT_STORAGE
from sandbox.disk_space import shortage
from sandbox.endings import in_words
from sandbox.state import write_private
from sandbox.tasks import Tasks

BACKUP_WITHIN = 3600.0  # seconds
RESTORE_WITHIN = 1800.0
FORGET_WITHIN = 120.0
STORE_WITHIN = 60.0  # for the store to answer when the cloud starts
# restic retries a request to the store after 0.5 s and then ever later, for a quarter of an hour. A pause as long as
# this one means that the same request has failed for about ten seconds.
HOPELESS_PAUSE = 4.0  # seconds
# While nobody listens at the store's address restic says nothing for minutes: so that is looked at beside it.
STORE_AWAY = 10.0  # seconds without a store after which work is given up
STORE_LOOK = 0.5  # seconds between two looks
RESTARTS = 20
AT_ONCE = 4  # on machines that share our processors; each takes one of them, and up to 250 MB of memory

_log = logging.getLogger(__name__)
DISK_FULL = b"is too full"  # the store's words; trying again frees no space
_RETRYING = re.compile(rb"retrying after (?:(\d+)m(?!s))?(?:([\d.]+)s)?")
_STORED = re.compile(rb'"data_size_in_repo":(\d+),"metadata_size":\d+,"metadata_size_in_repo":(\d+)')
_SCRIPTS = files("sandbox.control") / "scripts"
_PRIVATE = (_SCRIPTS / "private.sh").read_text()
_BACKUP = _PRIVATE + (_SCRIPTS / "backup.sh").read_text()
_CALL = _PRIVATE + 'polite_restic "$@"'
_RESTORE = _PRIVATE + (_SCRIPTS / "restore.sh").read_text()


class Credentials(BaseModel):
    """Where the repository is and what opens it."""

    repository: str
    key_id: str
    key: str
    password: str


class Backup(BaseModel):
    """What restic says of a backup. Sizes in bytes; `stored` is what the store received for it."""

    snapshot_id: str
    begun: float
    files_new: int
    files_changed: int
    files_unmodified: int
    total_files_processed: int
    total_bytes_processed: int
    data_added: int
    stored: int


class RepositorySnapshot(BaseModel):
    """A snapshot as the repository lists it."""

    id: str
    short_id: str
    time: datetime
    hostname: str = ""
    paths: list[str] = []
    tags: list[str] = []

    def tagged(self, key: str) -> str | None:
        """The value of the tag `key:value`."""
        return next((tag.removeprefix(f"{key}:") for tag in self.tags if tag.startswith(f"{key}:")), None)


class _LockVanished(Exception):
    """restic waits for a lock of somebody else that is no longer there."""


class _BackupOutput:
    """Reads the JSON lines of a backup."""

    def __init__(self, progress: Progress) -> None:
        self.begun = 0.0
        self.stored = 0
        self._progress = progress
        self.summary: dict[str, Any] = {}

    def read(self, line: bytes) -> None:
        if line.startswith(b'{"message_type":"verbose_status"'):
            # One such line comes for each file; as JSON, those of 100 000 files would take a second to read.
            if found := _STORED.search(line):
                self.stored += int(found[1]) + int(found[2])
        elif line.startswith(b'{"message_type":"status"'):
            status = json.loads(line)
            self._progress.bytes_done = status.get("bytes_done", 0)
            self._progress.bytes_total = status.get("total_bytes")
            self._progress.files_done = status.get("files_done", 0)
            self._progress.files_total = status.get("total_files")
        elif line.startswith(b'{"message_type":"summary"'):
            self.summary = json.loads(line)
        elif line.startswith(b'{"message_type":"begun"'):
            self.begun = float(json.loads(line)["at"])


class _RestoreOutput:
    """Reads the JSON lines of a restore."""

    def __init__(self, progress: Progress) -> None:
        self.files_restored = 0
        self._progress = progress

    def read(self, line: bytes) -> None:
        told = json.loads(line)
        self._progress.bytes_done = told.get("bytes_done", self._progress.bytes_done)
        self.files_restored = told.get("files_restored", 0)


class ResticError(ApiError):
    """restic failed; the message carries its own words. 507: a disk is full, and the message begins with whose."""


class Restic:
    """One repository."""

    def __init__(self, credentials: Credentials, folder: Path) -> None:
        """`folder`: private, for the files from which restic here reads the credentials."""
        self._credentials = credentials
        self._state_dir = folder.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        password, keys = folder / "restic-password", folder / "store-credentials"
        write_private(password, f"{credentials.password}\n")
        write_private(
            keys,
            f"[default]\naws_access_key_id = {credentials.key_id}\naws_secret_access_key = {credentials.key}\n",
        )
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "AWS_SHARED_CREDENTIALS_FILE": str(keys),
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        self._has_quick_key = folder / "repository-has-quick-key"
        self._here = ("nice", "-n", "10", "restic", "-r", credentials.repository, "--password-file", str(password))
        self._pruning = SharedLock()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._ready: asyncio.Task[None] | None = None
        self.snapshots = NextRun(self._snapshots)
        self.check = NextRun(self._check)
        self._prune = NextRun(self._prune_alone)
        self._tasks = Tasks("pruning", expected=ApiError)

    def open(self) -> None:
        """Begins to make the repository where it is missing. Everything else waits for it."""
        self._ready = asyncio.create_task(self._init())

    async def close(self) -> None:
        await self._tasks.close()
        if self._ready is not None:
            self._ready.cancel()
            await asyncio.gather(self._ready, return_exceptions=True)

    async def backup(self, machine: Machine, folder: str, tags: Sequence[str], progress: Progress) -> Backup:
        """Backs a folder of a machine up, and writes down how far it has come. A backup that misses a file is a
        failure.

        Raises:
            ApiError: 400 the folder is missing or empty; 507 a disk is full; 500 restic's own words.
        """
        options = ["--json", "--verbose=2", "--no-cache", "--host", f"instance-{machine.instance_id}"]
        for tag in tags:
            options += ["--tag", tag]
        arguments = (folder, "-r", self._credentials.repository, "backup", *options)
        if full := shortage(self._state_dir):
            raise ResticError(INSUFFICIENT_STORAGE, f"{full} Free space there.")
        try:
            async with self._sharing(), self._slots:
                finished, output = await self._back_up(machine, arguments, progress)
        except BaseException:
            self.prune_later()
            raise
        match finished.code:
            case 64:
                raise ApiError(
                    400, f"Workspace {folder} does not exist on instance {machine.instance_id}: nothing to snapshot"
                )
            case 65:
                raise ApiError(400, f"Workspace {folder} is empty: nothing to snapshot")
        if finished.code and output.summary:  # restic saved what it could read
            await self._forget_incomplete(output.summary["snapshot_id"])
        if finished.code or not output.summary:
            self.prune_later()
            raise self._failure("backup", finished)
        return Backup(begun=output.begun, stored=output.stored, **output.summary)

    async def _back_up(
        self, machine: Machine, arguments: Sequence[str], progress: Progress
    ) -> tuple[process.Finished, _BackupOutput]:
        """restic 0.14 cannot do without a lock here, and looks at all others at its start. One that is removed just
        then, because its backup has ended, it tries to read for a quarter of an hour: so it is started again."""
        for _ in range(RESTARTS):
            output = _BackupOutput(progress)
            try:
                finished = await self._on_machine(machine, _BACKUP, *arguments, within=BACKUP_WITHIN, line=output.read)
            except _LockVanished:
                _log.info("backup on instance %d: started again, another one's lock vanished", machine.instance_id)
                await self._unlock(machine)
            else:
                return finished, output
        raise ResticError(503, f"restic backup: other backups were in the way {RESTARTS} times")

    async def _unlock(self, machine: Machine) -> None:
        """Removes the lock that an interrupted start may have left on behalf of the machine."""
        with suppress(_LockVanished):
            await self._on_machine(machine, _CALL, "-r", self._credentials.repository, "unlock", "--no-cache")

    async def restore(
        self, machine: Machine, snapshot_id: str, folder: str, target: str, progress: Progress, *, verify: bool
    ) -> int:
        """Puts the folder of a snapshot at `target` of a machine, over what is there. Returns the number of files.

        Nothing changes at the target unless the whole snapshot has arrived.
        """
        options = ["--no-lock", *(["--verify"] if verify else [])]
        arguments = (folder, target, "-r", self._credentials.repository, "restore", snapshot_id, *options)
        async with self._sharing(), self._slots:
            output = _RestoreOutput(progress)
            finished = await self._on_machine(machine, _RESTORE, *arguments, within=RESTORE_WITHIN, line=output.read)
        if finished.code:
            raise self._failure("restore", finished)
        return output.files_restored

    async def forget(self, snapshot_id: str) -> None:
        """Takes a snapshot out of the repository, with all data that no other snapshot needs."""
        try:
            async with asyncio.timeout(FORGET_WITHIN), self._alone():
                finished = await self._run("forget", "--no-cache", "--prune", snapshot_id)
                if finished.code and "already locked" in finished.words and await self._remove_dead_locks():
                    finished = await self._run("forget", "--no-cache", "--prune", snapshot_id)
        except TimeoutError:
            raise ResticError(
                503,
                f"Snapshot {snapshot_id} was not deleted: other work on the repository went on for {FORGET_WITHIN} s",
            ) from None
        if finished.code:
            raise self._failure("forget", finished)

    def prune_later(self) -> None:
        """Remove, when no other work is under way, the data of backups that were cut off: no snapshot needs them."""
        self._tasks.begin(self._prune())

    async def _prune_alone(self) -> None:
        async with self._alone():
            await self._remove_dead_locks()
            finished = await self._run("prune", "--no-cache")
        if finished.code:
            _log.warning("the data of a backup that was cut off stay for now: %s", finished.words)

    async def remove_dead_locks(self) -> None:
        """Removes the locks of backups that were cut off, so that others may lock the repository for themselves."""
        async with self._alone():
            await self._remove_dead_locks()

    async def _forget_incomplete(self, snapshot_id: str) -> None:
        try:
            await self.forget(snapshot_id)
        except ApiError:
            return  # what matters to the caller is why the backup failed

    async def _snapshots(self) -> list[RepositorySnapshot]:
        async with self._sharing():
            finished = await self._run("snapshots", "--json", "--no-cache", "--no-lock")
        if finished.code:
            raise self._failure("snapshots", finished)
        return TypeAdapter(list[RepositorySnapshot]).validate_json(finished.stdout)

    async def _check(self) -> None:
        async with self._sharing():
            finished = await self._run("check", "--no-cache", "--no-lock")
        if finished.code:
            raise self._failure("check", finished)

    async def _init(self) -> None:
        """Makes the repository unless it is there. The store, and its bucket, may still be coming up."""
        deadline = asyncio.get_running_loop().time() + STORE_WITHIN
        address = urlsplit(self._credentials.repository.removeprefix("s3:"))
        while True:
            # restic takes ten seconds to give up on a closed port: so that is looked at first.
            failed = await _port_is_closed(address.hostname, address.port)
            if failed is None:
                finished = await self._run("cat", "config", "--no-cache", "--no-lock")
                if finished.code and "does not exist" in finished.words:
                    self._has_quick_key.unlink(missing_ok=True)
                    finished = await self._run("init", "--no-cache")
                    if "PutObject: Access Denied" in finished.words:  # the bucket is there, and stays as it is
                        raise self._failure("init", finished)
                if not finished.code:
                    await self._quicken()
                    return
                failed = self._failure("init", finished)
            if asyncio.get_running_loop().time() > deadline:
                raise failed
            await asyncio.sleep(0.1)

    async def _quicken(self) -> None:
        """Gives the repository a key file that opens at once, unless that was done before."""
        if self._has_quick_key.exists():
            return
        known = self._credentials
        keys = BucketFolder(f"{known.repository.removeprefix('s3:')}/keys", known.key_id, known.key)
        try:
            await asyncio.to_thread(make_quick, keys, known.password)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the old key opens the repository as well
            _log.warning("the repository's key stays slow: %s", error)
        else:
            self._has_quick_key.touch(mode=0o600)

    @asynccontextmanager
    async def _sharing(self) -> AsyncIterator[None]:
        await self._opened()
        async with self._pruning.shared():
            yield

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        await self._opened()
        async with self._pruning.alone():
            yield

    async def _opened(self) -> None:
        if self._ready is None or (self._ready.done() and self._ready.exception() is not None):
            self.open()  # the store was away when it was tried last
        assert self._ready is not None  # noqa: S101 - open() sets it
        await asyncio.shield(self._ready)

    async def _remove_dead_locks(self) -> bool:
        """Removes the locks of processes that are gone; True when no other lock is left.

        To be called alone: no machine works on the repository now, so a lock with another host's name than ours
        was left behind by one. Ours, and those of other programs on this host, restic judges itself.
        """
        await self._run("unlock", "--no-cache")
        listed = await self._run("list", "locks", "--no-cache", "--no-lock")
        ids = listed.stdout.decode().split()
        locks = [await self._run("cat", "lock", one, "--no-cache", "--no-lock") for one in ids]
        hosts = [json.loads(lock.stdout)["hostname"] for lock in locks if not lock.code]
        if socket.gethostname() in hosts:
            return False
        if hosts:
            await self._run("unlock", "--remove-all", "--no-cache")
        return True

    async def _run(self, *arguments: str) -> process.Finished:
        run = process.run(
            [*self._here, *arguments], environment=self._environment, hopeless=_is_hopeless, within=BACKUP_WITHIN
        )
        try:
            return await self._while_store_is_there(run)
        except process.Stopped as stopped:
            raise self._gave_up(arguments[0], stopped) from None

    async def _on_machine(self, machine: Machine, script: str, *arguments: str, **options: Any) -> process.Finished:
        known = self._credentials
        payload = f"{known.key_id}\n{known.key}\n{known.password}\n".encode()
        run = machine.run(script, *arguments, payload=payload, hold=True, hopeless=_is_hopeless, **options)
        try:
            return await self._while_store_is_there(run)
        except process.Stopped as stopped:
            if "Load(<lock/" in stopped.stderr:
                raise _LockVanished from None
            raise self._gave_up(f"on instance {machine.instance_id}", stopped) from None

    async def _while_store_is_there(self, run: Coroutine[Any, Any, process.Finished]) -> process.Finished:
        """Ends the run when nobody has listened at the store's address for too long."""
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(self._raise_when_store_is_away())
                finished = await run
                watch.cancel()
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return finished

    async def _raise_when_store_is_away(self) -> NoReturn:
        address = urlsplit(self._credentials.repository.removeprefix("s3:"))
        looked = asyncio.get_running_loop().time
        seen = looked()
        while True:
            closed = await _port_is_closed(address.hostname, address.port)
            if closed is None:
                seen = looked()
            elif looked() - seen > STORE_AWAY:
                raise ResticError(503, f"{closed.message} (for {STORE_AWAY:g} s now)")
            await asyncio.sleep(STORE_LOOK)

    def _gave_up(self, call: str, stopped: process.Stopped) -> ResticError:
        """The last line alone: those before it say the same of other objects."""
        *_, last = stopped.stderr.strip().splitlines()
        words = self._words(call, re.sub(r"returned error, retrying after [\w.]+", "failed", last))
        if full := whose_disk_is_full(self._state_dir, stopped.stderr):
            return ResticError(INSUFFICIENT_STORAGE, f"{full} {words}")
        return ResticError(500 if "Access Denied" in last else 503, words)  # to be tried again, or not

    def _failure(self, call: str, finished: process.Finished) -> ResticError:
        if "no matching ID found" in finished.words:
            return ResticError(404, self._words(call, finished.words))
        words = self._words(call, finished.words or f"{in_words(finished.code)}, without a message")
        if full := whose_disk_is_full(self._state_dir, finished.words):
            return ResticError(INSUFFICIENT_STORAGE, f"{full} {words}")
        return ResticError(500, words)

    def _words(self, call: str, stderr: str) -> str:
        """The last lines of what restic said, without credentials."""
        lines = [
            line
            for line in stderr.splitlines()
            if line.strip() and not line.startswith("ControlSocket ") and not ON_DISK.search(line)
        ]
        words = "\n".join(list(dict.fromkeys(lines))[-6:])
        for secret in (self._credentials.key_id, self._credentials.key, self._credentials.password):
            words = words.replace(secret, "<secret>")
        return f"restic {call}: {words}"


def _is_hopeless(line: bytes) -> bool:
    found = _RETRYING.search(line)
    if not found:
        return False
    if b"Load(<lock/" in line or b"Access Denied" in line or DISK_FULL in line:
        return True
    minutes, seconds = found.groups()
    return int(minutes or 0) * 60 + float(seconds or 0) >= HOPELESS_PAUSE


async def _port_is_closed(host: str | None, port: int | None) -> ResticError | None:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        return ResticError(503, f"The object store does not answer: {error}")
    writer.close()
    return None


def as_text(time: datetime) -> str:
    """As the API writes times."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
