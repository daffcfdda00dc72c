"""Hashing files whose pieces come in any order."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.errors import Unknown
from rekindle.file_hashes import FileHashes

pieces = st.binary(min_size=1, max_size=8)


def name(piece: bytes) -> str:
    return hashlib.sha256(piece).hexdigest()


@given(
    files=st.lists(st.lists(pieces, max_size=6), max_size=5),
    others=st.lists(pieces, max_size=3),
    order=st.randoms(use_true_random=False),
)
def test_the_order_of_the_pieces_does_not_matter(
    files: list[list[bytes]], others: list[bytes], order: random.Random
) -> None:
    """Pieces may be shared between files, come twice in one, and be of no file at all."""
    contents = {f"file {number}": tuple(map(name, file)) for number, file in enumerate(files)}
    arriving = list({*others, *(piece for file in files for piece in file)})
    order.shuffle(arriving)
    with FileHashes(contents) as hashes:
        for piece in arriving:
            hashes.add(name(piece), piece)
        for number, file in enumerate(files):
            assert hashes.of(f"file {number}") == name(b"".join(file))


def test_many_threads_may_bring_pieces() -> None:
    chunks = [bytes([number % 256]) * 1000 + str(number).encode() for number in range(400)]
    with FileHashes({"file": tuple(map(name, chunks))}) as hashes, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda chunk: hashes.add(name(chunk), chunk), reversed(chunks)))
        assert hashes.of("file") == name(b"".join(chunks))


def test_a_file_with_a_lost_piece_is_unknown() -> None:
    with FileHashes({"file": (name(b"one"), name(b"two"))}) as hashes:
        hashes.add(name(b"two"), b"two")
        with pytest.raises(Unknown, match=f"file could not be hashed: blob {name(b'one')} was not read"):
            hashes.of("file")
