"""Very many small files, as a data set and the virtual environment beside it: that is where restores lose things."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from rekindle.ssh import Machine
from rekindle.unpacking import OTHERS, ROOT, Archive
from rekindle.variable_checks import check_argument

# Of every five files three are images, one is a label and one belongs to the virtual environment; of this last sort
# there is a hidden one in each package, and one in a hidden directory of the root.
_SHARE = 5
_OWNERS = (ROOT, *OTHERS)
_CLASS = 500  # images in one folder
_PACKAGE = 40  # files in one package
_SITE = "venv/lib/python3.11/site-packages"
_LINKS = {
    "venv/lib64": "lib",
    "venv/bin/python": "python3",
    "venv/bin/python3": "/usr/bin/python3",
    "data-set/first": "train/class-0000",
}
# 2020-09-13, and uneven steps, so that times which were rounded or set to now are noticed.
_FIRST_MTIME_NS = 1_600_000_000_123_456_789
_MTIME_STEP_NS = 61_234_567_891


class SmallFile(NamedTuple):
    """A file to be written: its path below the root, its bytes, its permission bits."""

    path: str
    data: bytes
    mode: int = 0o644


def create_data_set(machine: Machine, root: str, nonce: str, files: int) -> int:
    """Writes exactly so many files, and some links, in one round trip. Their bytes follow from the nonce.

    Returns:
        The sizes of all files together, bytes.

    Raises:
        Misconfigured: the number of files is out of bounds, the root is missing, or the disk is full.
        Unknown: a tool is missing on the machine.
        RekindleError: it could not be written for another reason, or the machine does not answer.
    """
    check_argument("files", "MANY_FILES", files)
    written = 0
    with Archive() as archive:
        for number, file in enumerate(small_files(nonce, files)):
            archive.add_file(file.path, file.data, file.mode, _mtime_ns(number), _OWNERS[number % len(_OWNERS)])
            written += len(file.data)
        for number, (path, points_to) in enumerate(_LINKS.items()):
            archive.add_link(path, points_to, _mtime_ns(number))
        archive.unpack(machine, root)
    return written


def small_files(nonce: str, files: int) -> Iterator[SmallFile]:
    """The files themselves: 0.1 to 4 KB, most of them incompressible, some empty, no two with the same bytes."""
    for number in range(files):
        share, turn = divmod(number, _SHARE)
        if turn < 3:
            image = share * 3 + turn
            size = 100 + image * 7919 % 2000
            yield SmallFile(f"data-set/train/class-{image // _CLASS:04}/{image:07}.jpg", _noise(nonce, number, size))
        elif turn == 3:
            text = f'{{"image": {share}, "box": [{share % 640}, {share % 480}, 64, 64], "by": "{nonce}"}}\n'
            yield SmallFile(f"data-set/labels/{share // _CLASS:04}/{share:07}.json", text.encode(), 0o444)
        else:
            yield _part_of_package(nonce, number, *divmod(share, _PACKAGE))


def _part_of_package(nonce: str, number: int, package: int, part: int) -> SmallFile:
    folder = f"{_SITE}/package_{package:04}"
    if part == 0:
        return SmallFile(f"{folder}/__init__.py", b"")
    if part == 1:
        return SmallFile(f"{folder}/_speedups.cpython-311-x86_64-linux-gnu.so", _noise(nonce, number, 4000), 0o755)
    if part == 2:
        return SmallFile(f"{folder}/.gitignore", f"# Package {package}, {nonce}\n*\n".encode())
    if part == 3:
        notebook = f'{{"cells": [], "metadata": {{"package": {package}, "by": "{nonce}"}}}}\n'
        return SmallFile(f".ipynb_checkpoints/package_{package:04}-checkpoint.ipynb", notebook.encode())
    text = f'"""Part {part} of package {package}, {nonce}."""\n\n\ndef part() -> int:\n    return {number}\n'
    return SmallFile(f"{folder}/parts/group_{part % 4}/part_{part:02}.py", text.encode())


def _noise(nonce: str, number: int, size: int) -> bytes:
    return hashlib.shake_128(f"{nonce} {number}".encode()).digest(size)


def _mtime_ns(number: int) -> int:
    return _FIRST_MTIME_NS + number * _MTIME_STEP_NS
