"""One workspace brought from one place to another with rsync, over the pinned connections of the door.

What the copies keep: content, modes, times to the nanosecond, symbolic and hard links, and what is no longer there.
Owners only where this server may set them. What is not copied: the names in EXCLUDES, unless others are given.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from sandbox.control import process
from sandbox.control.errors import ApiError
from sandbox.control.quoting import remote_shell
from sandbox.control.ssh import Machine
from sandbox.endings import in_words

WORKSPACE = "/workspace"
EXCLUDES = (".git", "__pycache__", "*.pyc", ".cache", "node_modules", ".venv", "venv", "*.log", "*.tmp")
HOP_WITHIN = 3600.0  # seconds
SILENT_FOR = 60  # seconds after which a connection counts as lost
VANISHED = 24  # rsync's exit code when a file was deleted while it looked: so its absence is right
NAMES_TOLD = 5

_MARKS = "/root/.dumont"
# Prints the moment, then size, time and name of each file whose content may have changed since another. Not by its own
# time, which programs set as they like, but by that which the kernel keeps. Its clock ticks a little late.
_TOUCHED_SINCE = """
date +%s.%N && cd -- "$1" || exit
nice -n 10 find . -type f -newerct "@$2" -printf '%s %T@ %P\\0' || :  # what vanishes meanwhile need not be copied
"""
_LATE = 0.05  # seconds
_NEVER = 4e9
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
    known = _known.get(copy)
    if known is None or known.source != machine.name:
        known = _Known(machine.name)
    looked = await machine.run(_TOUCHED_SINCE, WORKSPACE, f"{known.since or _NEVER:.9f}")
    await _check(machine, looked)
    moment, _, listing = looked.stdout.partition(b"\n")
    alike = await asyncio.to_thread(_alike, listing, copy, excludes)
    guard = _GUARD.format(mark=mark_of(token), rsync=_POLITE)
    # When this is cut off, what is in the folder is not known any more; nor, then, what the standby lacks of it.
    target, known.target = known.target, None
    copied = await _copy(
        known.since is not None, alike, lambda how, names: _pull(machine, copy, _POLITE, guard, excludes, how, names)
    )
    known.since, known.target = float(moment) - _LATE, target
    known.alike |= alike
    _known[copy] = known
    return copied


async def mirror_up(copy: Path, machine: Machine, *, excludes: Sequence[str] = EXCLUDES) -> Copied:
    """Brings a folder here into the workspace of a standby, with low priority."""
    known = _known.get(copy) or _Known("")
    target, known.target = known.target, None
    copied = await _copy(
        target == machine.name, known.alike, lambda how, names: _push(copy, machine, _POLITE, excludes, how, names)
    )
    known.target = machine.name
    known.alike.clear()
    return copied


@dataclass
class _Known:
    """What is known of a folder through which a workspace is mirrored.

    rsync takes a file of the same size and time for the same file. So those are found that were touched since the last
    copy and still look the same; and where nobody knows (another machine, a new process), all bytes are compared.

    Attributes:
        source: the machine that it was last a whole copy of.
        since: when, by the clock of that machine; None: it never was.
        target: the machine that had all of it; None: nobody knows.
        alike: names of files in it that have changed, and that may look to the target as they did before.
    """

    source: str
    since: float | None = None
    target: str | None = None
    alike: set[bytes] = field(default_factory=set)


_known: dict[Path, _Known] = {}


def _alike(listing: bytes, copy: Path, excludes: Sequence[str]) -> set[bytes]:
    """Names out of a listing of files that look the same as those in a folder here."""
    found = set()
    for row in filter(None, listing.split(b"\0")):
        size, moment, name = row.split(b" ", 2)
        seconds, _, fraction = moment.partition(b".")
        try:
            here = (copy / os.fsdecode(name)).lstat()
        except OSError:
            continue
        looks_the_same = here.st_size == int(size) and here.st_mtime_ns == int(seconds + fraction[:9].ljust(9, b"0"))
        if looks_the_same and not _matches(PurePosixPath(os.fsdecode(name)), excludes):
            found.add(name)
    return found


async def _copy(
    in_step: bool, alike: Collection[bytes], copy_it: Callable[[Sequence[str], bytes], Awaitable[Copied]]
) -> Copied:
    """Copies what looks different, and what only looks the same; all that differs when it is not known what that is."""
    if not in_step:
        return await copy_it(["--checksum"], b"")
    first = await copy_it(_THESE_FILES, b"\0".join(alike)) if alike else None
    copied = await copy_it([], b"")
    return copied if first is None else replace(copied, changes=[*first.changes, *copied.changes])


async def pull(machine: Machine, copy: Path, *, excludes: Sequence[str] = EXCLUDES, thorough: bool = False) -> Copied:
    """Brings the workspace of a machine into a folder here: somebody is waiting for it.

    `thorough` compares all bytes; else files of the same size and time are taken for the same.
    """
    _known.pop(copy, None)
    return await _pull(machine, copy, _URGENT, _URGENT, excludes, _how(thorough))


async def push(copy: Path, machine: Machine, *, excludes: Sequence[str] = EXCLUDES, thorough: bool = False) -> Copied:
    """Brings a folder here into the workspace of a machine: somebody is waiting for it. `thorough` as for `pull`."""
    return await _push(copy, machine, _URGENT, excludes, _how(thorough))


async def differences(
    machine: Machine, copy: Path, *, from_machine: bool, excludes: Sequence[str] = EXCLUDES
) -> list[str]:
    """Reads all of both sides and returns what a copy in the given direction would still have to change."""
    sides = [f"{_host(machine)}:{WORKSPACE}/", f"{copy}/"]
    options = ["--checksum", "--dry-run", *_over(machine)]
    return (await _rsync(machine, _URGENT, [*options, *(sides if from_machine else reversed(sides))], excludes)).changes


def is_excluded(path: PurePosixPath) -> bool:
    return _matches(path, EXCLUDES)


def _matches(path: PurePosixPath, patterns: Sequence[str]) -> bool:
    return any(fnmatch(part, pattern) for part in path.parts for pattern in patterns)


def _how(thorough: bool) -> list[str]:
    return ["--checksum"] if thorough else []


async def _pull(
    machine: Machine, copy: Path, rsync: str, remote: str, excludes: Sequence[str], how: Sequence[str],
    names: bytes = b"",
) -> Copied:  # fmt: skip
    await asyncio.to_thread(copy.mkdir, mode=0o700, parents=True, exist_ok=True)
    there = [*how, f"--rsync-path={remote}", *_over(machine), f"{_host(machine)}:{WORKSPACE}/"]
    return await _rsync(machine, rsync, [*there, f"{copy}/"], excludes, names)


async def _push(
    copy: Path, machine: Machine, rsync: str, excludes: Sequence[str], how: Sequence[str], names: bytes = b""
) -> Copied:
    there = [*how, f"--rsync-path={rsync}", *_over(machine)]
    return await _rsync(machine, rsync, [*there, f"{copy}/", f"{_host(machine)}:{WORKSPACE}/"], excludes, names)


def _host(machine: Machine) -> str:
    return machine.options[-1]


def _over(machine: Machine) -> list[str]:
    """rsync adds the host itself."""
    return ["-e", remote_shell(["ssh", *machine.options[:-1]])]


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
    return f"rsync failed ({in_words(done.code)}): {'; '.join(told[:2]) or 'it says nothing'}"


async def _check(machine: Machine, done: process.Finished) -> None:
    if done.code:
        raise SyncError(502, f"{machine.name}: {done.words}")
