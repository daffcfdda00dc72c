"""The files that a workspace is given before it is snapshotted: the mixture in which restores lose things."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from rekindle.ssh import Machine
from rekindle.unpacking import OTHERS, ROOT, Archive, write
from rekindle.variable_checks import check_argument

# 2017-07-14. Old and uneven, so that a restore that sets the time of the day, or drops the nanoseconds, is noticed.
_FIRST_MTIME_NS = 1_500_000_000_123_456_789
_MTIME_STEP_NS = 86_399_987_654_321
_MODES = (0o644, 0o600, 0o755, 0o640, 0o444)
_OWNERS = (ROOT, *OTHERS)

# Incompressible and the same for the same key where the machine has openssl, and written and hashed in one pass.
_LARGE = r"""
need head tee md5sum touch
# `head -c` with a negative number never ends.
[[ $3 =~ ^[0-9]{1,15}$ ]] || { echo "not a size in bytes: $3" >&2; exit 24; }
noise() {
    if command -v openssl >/dev/null; then
        openssl enc -aes-128-ctr -nosalt -K "$1" -iv "$1" -bufsize 1048576 -in /dev/zero 2>/dev/null || true
    else
        cat /dev/urandom 2>/dev/null || true
    fi
}
cd -- "$1" && noise "$4" | head -c "$3" | tee -- "$2" | md5sum && touch -d "@$5" -- "$2" || failed "$1"
"""


@dataclass(frozen=True)
class WorkspacePlan:
    """What to create. Text files and a hidden one lie in the root itself, everything else in the folder
    `<prefix>-more`."""

    prefix: str = "auto-hibernation-test"
    text_files: int = 5
    small_files: int = 1000
    large_bytes: int = 64_000_000


@dataclass(frozen=True)
class CreatedFile:
    """A file that was written: its absolute path on the machine, its size in bytes, its MD5 in hexadecimal."""

    path: str
    size: int
    md5: str


def create_test_files(
    machine: Machine, root: str, nonce: str, plan: WorkspacePlan = WorkspacePlan()
) -> list[CreatedFile]:
    """Writes text files, hidden files, an empty file, an empty directory, a link, odd names, many small files and a
    large one.

    Their bytes follow from the plan and the nonce, so that another run's files cannot be taken for these. Two round
    trips, whatever the plan.

    Returns:
        Every regular file, the text files first.

    Raises:
        Misconfigured: a number is out of bounds, the root is missing, or the disk is full.
        Unknown: a tool is missing on the machine.
        RekindleError: it could not be written for another reason, or the machine does not answer.
    """
    check_argument("small_files", "SMALL_FILES", plan.small_files)
    check_argument("large_bytes", "LARGE_FILE_BYTES", plan.large_bytes)
    more = f"{plan.prefix}-more"
    created: list[CreatedFile] = []
    with Archive() as archive:
        for number, (path, data) in enumerate(_small_files(plan, more, nonce)):
            mode, owner = _MODES[number % len(_MODES)], _OWNERS[number % len(_OWNERS)]
            archive.add_file(path, data, mode, _mtime_ns(number), owner)
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            created.append(CreatedFile(f"{root}/{path}", len(data), digest))
        archive.add_directory(f"{more}/empty directory", 0o750, _mtime_ns(1), OTHERS[0])
        archive.add_link(f"{more}/link", f"../{plan.prefix}-1.txt", _mtime_ns(2), OTHERS[0])
        archive.unpack(machine, root)
    large = f"{more}/large.bin"
    key = hashlib.sha256(nonce.encode()).hexdigest()[:32]
    seconds, fraction = divmod(_mtime_ns(3), 10**9)
    answer = write(machine, _LARGE, root, large, str(plan.large_bytes), key, f"{seconds}.{fraction:09}")
    created.append(CreatedFile(f"{root}/{large}", plan.large_bytes, answer.text.split()[0]))
    return created


def _small_files(plan: WorkspacePlan, more: str, nonce: str) -> Iterator[tuple[str, bytes]]:
    for number in range(1, plan.text_files + 1):
        lines = [f"{plan.prefix}, file {number} of {plan.text_files}", f"nonce {nonce}"]
        lines += [
            f"line {line} of file {number}: {hashlib.sha256(f'{nonce} {number} {line}'.encode()).hexdigest()}"
            for line in range(1, 2 + number)
        ]
        yield f"{plan.prefix}-{number}.txt", "".join(f"{line}\n" for line in lines).encode()
    # No name that a standby leaves out, as it does `.git`, `.cache` and the like.
    yield f".{plan.prefix}", f"hidden file, nonce {nonce}\n".encode()
    yield f"{more}/.config/settings.json", f'{{"in": "a hidden directory", "nonce": "{nonce}"}}\n'.encode()
    yield f"{more}/empty.txt", b""
    yield f"{more}/two  spaces, maçã, 漢字 and a\nnew line.txt", f"odd name, nonce {nonce}\n".encode()
    yield f"{more}/-n --help", f"leading dash, nonce {nonce}\n".encode()
    yield f"{more}/latin-1 caf\udce9.txt", f"a name that is not UTF-8, nonce {nonce}\n".encode()
    for number in range(1, plan.small_files + 1):
        yield f"{more}/small/{number:06}.txt", f"small file {number}, nonce {nonce}\n".encode() * (1 + number % 16)


def _mtime_ns(number: int) -> int:
    return _FIRST_MTIME_NS + number * _MTIME_STEP_NS
