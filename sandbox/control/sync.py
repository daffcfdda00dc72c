"""One workspace brought from one place to another with rsync, over the pinned connections of the door.

What the copies keep: content, modes, times to the nanosecond, symbolic and hard links, and what is no longer there.
Owners only where this server may set them. What is not copied: the names in EXCLUDES, unless others are given.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from sandbox.control import process
from sandbox.control.errors import ApiError
from sandbox.control.ssh import Machine

WORKSPACE = "/workspace"
EXCLUDES = (".git", "__pycache__", "*.pyc", ".cache", "node_modules", ".venv", "venv", "*.log", "*.tmp")
HOP_WITHIN = 3600.0  # seconds
SILENT_FOR = 60  # seconds after which a connection counts as lost
VANISHED = 24  # rsync's exit code when a file was deleted while it looked: so its absence is right
NAMES_TOLD = 5

_MARKS = "/root/.dumont"
# Prints the moment, then the names of all files whose content may have changed since another. Not by their own times,
# which programs set as they like, but by those that the kernel keeps. Its clock ticks a little late.
_TOUCHED_SINCE = """
date +%s.%N && cd -- "$1" || exit
find . -type f -newerct "@$2" -printf '%P\\0' || :  # what vanishes meanwhile need not be copied
"""
_LATE = 0.05  # seconds
_NEVER = 4e9
# When the files of the source of a mirror were last listed, by its own clock: by folder here, and which machine it was.
_listed: dict[tuple[str, Path], tuple[str, float]] = {}
# Run on the GPU machine in place of rsync: a machine whose disk was wiped is not the one that is mirrored.
_GUARD = "test -e {mark} || {{ echo 'its disk is not the one that is mirrored: was it wiped?' >&2; exit 1; }}; {rsync}"
_POLITE = "nice -n 10 rsync"  # the work on the machine comes first
_URGENT = "rsync"
_CHANGE = "= "
_THESE_FILES = ("--files-from=-", "--from0", "--ignore-times", "--ignore-missing-args", "--no-implied-dirs")


class SyncError(ApiError):
    """A copy is not whole. Nothing was deleted at its target, unless the deletions themselves were cut off."""


@dataclass(frozen=True)
class Copied:
    """What a run of rsync saw. `changes`: rsync's own lines on what it has changed, or would change."""

    files: int
    bytes: int
    changes: list[str]


def mark_of(token: str) -> str:
    """The file on a GPU machine by which it is known as the one that is mirrored."""
    return f"{_MARKS}/mirrored-{token}"


async def mark(machine: Machine, token: str) -> None:
    """Makes a machine known as the one that is mirrored."""
    await _check(machine, await machine.run('mkdir -p "${1%/*}" && touch -- "$1"', mark_of(token)))


async def mark_serving(machine: Machine, *, serving: bool) -> None:
    """Notes on a standby whether its workspace is the one that counts, and since when."""
    script = 'mkdir -p "$1" && date +%s.%N >"$1/serving"' if serving else 'rm -f -- "$1/serving"'
    await _check(machine, await machine.run(script, _MARKS))


async def mirror_down(machine: Machine, copy: Path, token: str, *, excludes: Sequence[str] = EXCLUDES) -> Copied:
    """Brings the workspace of the GPU machine that bears the mark of `token` into a folder here, with low priority.

    On any other machine nothing is touched, here or there.
    """
    guard = _GUARD.format(mark=mark_of(token), rsync=_POLITE)

    async def look(since: float) -> process.Finished:
        return await machine.run(
            f'nice -n 10 bash -c {shlex.quote(_TOUCHED_SINCE)} find "$@"', WORKSPACE, f"{since:.9f}"
        )

    async def copy_it(how: Sequence[str], names: bytes = b"") -> Copied:
        return await _pull(machine, copy, _POLITE, guard, excludes, how=how, names=names)

    return await _mirror(("down", copy), machine.name, look, copy_it, excludes)


async def mirror_up(copy: Path, machine: Machine, *, excludes: Sequence[str] = EXCLUDES) -> Copied:
    """Brings a folder here into the workspace of a standby, with low priority."""

    async def look(since: float) -> process.Finished:
        return await process.run(["bash", "-c", _TOUCHED_SINCE, "find", str(copy), f"{since:.9f}"])

    async def copy_it(how: Sequence[str], names: bytes = b"") -> Copied:
        return await _push(copy, machine, _POLITE, excludes, how=how, names=names)

    return await _mirror(("up", copy), machine.name, look, copy_it, excludes)


async def _mirror(
    way: tuple[str, Path],
    machine: str,
    look: Callable[[float], Awaitable[process.Finished]],
    copy_it: Callable[..., Awaitable[Copied]],
    excludes: Sequence[str],
) -> Copied:
    """Copies what differs, even where size and times do not tell that it does.

    rsync takes a file of the same size and time for the same file. So what was touched since the last copy is copied
    however it looks; and where nobody knows what that was (a new machine, a new process), all bytes are compared.
    """
    known = _listed.get(way)
    since = known[1] if known and known[0] == machine else None
    listed = await look(_NEVER if since is None else since)
    if listed.code:
        raise SyncError(502, f"{machine}: {listed.words}")
    moment, _, names = listed.stdout.partition(b"\n")
    touched = [name for name in names.split(b"\0") if name and not _is_left_out(name, excludes)]
    if since is None:
        copied = await copy_it(["--checksum"])
    else:
        first = await copy_it(_THESE_FILES, b"\0".join(touched)) if touched else None
        copied = await copy_it([])
        if first:
            copied.changes.extend(first.changes)
    _listed[way] = (machine, float(moment) - _LATE)
    return copied


async def pull(machine: Machine, copy: Path, *, excludes: Sequence[str] = EXCLUDES, thorough: bool = False) -> Copied:
    """Brings the workspace of a machine into a folder here: somebody is waiting for it.

    `thorough` compares all bytes; else files of the same size and time are taken for the same.
    """
    _listed.pop(("down", copy), None)
    return await _pull(machine, copy, _URGENT, _URGENT, excludes, how=_how(thorough))


async def push(copy: Path, machine: Machine, *, excludes: Sequence[str] = EXCLUDES, thorough: bool = False) -> Copied:
    """Brings a folder here into the workspace of a machine: somebody is waiting for it. `thorough` as for `pull`."""
    return await _push(copy, machine, _URGENT, excludes, how=_how(thorough))


async def differences(
    machine: Machine, copy: Path, *, from_machine: bool, excludes: Sequence[str] = EXCLUDES
) -> list[str]:
    """Reads all of both sides and returns what a copy in the given direction would still have to change."""
    sides = [f"{_host(machine)}:{WORKSPACE}/", f"{copy}/"]
    options = ["--checksum", "--dry-run", *_over(machine)]
    return (await _rsync(machine, _URGENT, [*options, *(sides if from_machine else reversed(sides))], excludes)).changes


def is_excluded(path: PurePosixPath) -> bool:
    return _matches(path, EXCLUDES)


def _is_left_out(name: bytes, excludes: Sequence[str]) -> bool:
    return bool(excludes) and _matches(PurePosixPath(os.fsdecode(name)), excludes)


def _matches(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    return any(fnmatch(part, pattern) for part in path.parts for pattern in patterns)


def _how(thorough: bool) -> list[str]:
    return ["--checksum"] if thorough else []


async def _pull(
    machine: Machine, copy: Path, rsync: str, remote: str, excludes: Sequence[str], *, how: Sequence[str],
    names: bytes = b"",
) -> Copied:  # fmt: skip
    await asyncio.to_thread(copy.mkdir, mode=0o700, parents=True, exist_ok=True)
    there = [*how, f"--rsync-path={remote}", *_over(machine), f"{_host(machine)}:{WORKSPACE}/"]
    return await _rsync(machine, rsync, [*there, f"{copy}/"], excludes, names)


async def _push(
    copy: Path, machine: Machine, rsync: str, excludes: Sequence[str], *, how: Sequence[str], names: bytes = b""
) -> Copied:
    there = [*how, f"--rsync-path={rsync}", *_over(machine)]
    return await _rsync(machine, rsync, [*there, f"{copy}/", f"{_host(machine)}:{WORKSPACE}/"], excludes, names)


def _host(machine: Machine) -> str:
    return machine.options[-1]


def _over(machine: Machine) -> list[str]:
    """rsync adds the host itself."""
    return ["-e", shlex.join(["ssh", *machine.options[:-1]])]


async def _rsync(
    machine: Machine, rsync: str, arguments: Sequence[str], excludes: Sequence[str], names: bytes = b""
) -> Copied:
    # Whole files: between machines as near as these, looking for differences costs more than it saves.
    # Deletions come last, and rsync leaves them out when it could not read everything.
    keep = ["--recursive", "--links", "--perms", "--times", "--specials", "--hard-links", "--modify-window=-1"]
    keep += ["--owner", "--group", "--numeric-ids"] if os.getuid() == 0 else []
    without = [f"--exclude={pattern}" for pattern in excludes]
    how = ["--whole-file", f"--timeout={SILENT_FOR}", *([] if names else ["--delete-delay"])]
    tell = ["--stats", "--no-human-readable", f"--out-format={_CHANGE}%i %n%L"]
    command = [*rsync.split(), *keep, *without, *how, *tell, *arguments]
    try:
        done = await process.run(command, payload=names, within=HOP_WITHIN)
    except TimeoutError:
        raise SyncError(504, f"{machine.name}: rsync did not end within {HOP_WITHIN:g} s") from None
    if done.code not in (0, VANISHED):
        raise SyncError(502, f"{machine.name}: {_reason(done)}")
    output = done.stdout.decode(errors="replace")
    changes = [line.removeprefix(_CHANGE) for line in output.splitlines() if line.startswith(_CHANGE)]
    return Copied(_figure(r"reg: (\d+)", output), _figure(r"Total file size: (\d+)", output), changes)


def _figure(pattern: str, output: str) -> int:
    """A number of rsync's statistics; what there is none of, it leaves out."""
    found = re.search(pattern, output)
    return int(found[1]) if found else 0


def _reason(done: process.Finished) -> str:
    """The first words of what went wrong; what rsync says after them tells where in its source it noticed."""
    if "HOST IDENTIFICATION HAS CHANGED" in done.words or "Host key verification failed" in done.words:
        return "its host key is not the one seen at first contact; nothing is copied"
    lines = [line for line in done.words.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("rsync error:", "rsync: connection unexpect"))] or lines
    return f"rsync failed (exit code {done.code}): {'; '.join(told[:2]) or 'it says nothing'}"


async def _check(machine: Machine, done: process.Finished) -> None:
    if done.code:
        raise SyncError(502, f"{machine.name}: {done.words}")
