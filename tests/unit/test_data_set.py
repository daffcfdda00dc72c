"""The many small files: as many as were asked for, and of every sort that restores lose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rekindle.data_set import create_data_set, small_files
from rekindle.errors import Misconfigured
from rekindle.manifest import take_manifest
from tests.unit.local_machine import LocalMachine

MACHINE = LocalMachine()


def test_writes_exactly_what_it_says(tmp_path: Path) -> None:
    written = create_data_set(MACHINE, str(tmp_path), "n1", 1234)
    manifest = take_manifest(MACHINE, str(tmp_path))
    assert (manifest.files, manifest.bytes, manifest.count("link")) == (1234, written, 4)


@given(st.integers(1, 3000))
def test_there_are_as_many_paths_as_files(files: int) -> None:
    assert len({file.path for file in small_files("n1", files)}) == files


def test_has_every_sort_that_restores_lose() -> None:
    files = list(small_files("n1", 10_000))
    assert {file.mode for file in files} == {0o644, 0o755, 0o444}
    assert any(not file.data for file in files)
    assert any(PurePosixPath(file.path).name.startswith(".") for file in files)
    assert any(file.path.startswith(".") for file in files)
    assert max(len(PurePosixPath(file.path).parts) for file in files) >= 8
    assert max(Counter(str(PurePosixPath(file.path).parent) for file in files).values()) <= 500


def test_no_two_files_hold_the_same_bytes_and_none_those_of_another_run() -> None:
    first, other = ([file.data for file in small_files(nonce, 5000) if file.data] for nonce in ("n1", "n2"))
    assert len(set(first)) == len(first)
    assert set(first).isdisjoint(other)


@pytest.mark.parametrize("files", [0, -1])
def test_no_files_are_refused(tmp_path: Path, files: int) -> None:
    with pytest.raises(Misconfigured, match=rf"^files must be a whole number of files from 1 to .*; it is {files}\.$"):
        create_data_set(MACHINE, str(tmp_path), "n1", files)
    assert not list(tmp_path.iterdir())
