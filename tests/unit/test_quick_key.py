"""The quick key file: restic and our own reader open it, and no step that is cut short locks them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rekindle import restic_format
from sandbox.control.quick_key import make_quick
from tests.unit.local_restic import PASSWORD, KeyFolder, LocalRestic


class Cut(Exception):
    """The process was killed here."""


class Keys(KeyFolder):
    """The key files of a local repository. Dies at the call that `cut_at` names."""

    def __init__(self, repository: Path, cut_at: str = "") -> None:
        super().__init__(repository)
        self.cut_at = cut_at

    def write(self, name: str, data: bytes) -> None:
        self.step("write")
        super().write(name, data)
        self.step("after write")

    def remove(self, name: str) -> None:
        self.step("remove")
        super().remove(name)

    def step(self, name: str) -> None:
        if name == self.cut_at:
            raise Cut(name)

    def costs(self) -> list[int]:
        return sorted(json.loads(self.read(name))["N"] for name in self.names())

    def master(self) -> set[restic_format.Keys]:
        return {restic_format.unlock(self.read(name), PASSWORD) for name in self.names()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LocalRestic:
    restic = LocalRestic(tmp_path_factory.mktemp("restic"), quick=False)
    (restic.bucket / "file").write_text("content")
    restic.backup(str(restic.bucket / "file"))
    return restic


@pytest.fixture
def restic(made: LocalRestic) -> LocalRestic:
    """The same repository for each test, with its first, slow key."""
    if not (made.bucket / "first").exists():
        shutil.copytree(made.repository / "keys", made.bucket / "first")
    shutil.rmtree(made.repository / "keys")
    shutil.copytree(made.bucket / "first", made.repository / "keys")
    return made


def test_the_quick_key_takes_the_place_of_the_slow_one(restic: LocalRestic) -> None:
    keys = Keys(restic.repository)
    (slow,), master = keys.names(), keys.master()
    make_quick(keys, PASSWORD)
    (quick,) = keys.names()
    assert quick != slow
    assert keys.costs() == [16]
    assert keys.master() == master
    (listed,) = json.loads(restic.run("key", "list", "--json"))
    assert listed["current"]
    assert quick.startswith(listed["id"])
    restic.run("check", "--read-data")
    restic.backup(str(restic.bucket / "file"))
    make_quick(keys, PASSWORD)
    assert keys.names() == [quick]


@pytest.mark.parametrize("cut_at", ["write", "after write", "remove"])
def test_whenever_it_is_cut_short_the_next_call_ends_it(restic: LocalRestic, cut_at: str) -> None:
    with pytest.raises(Cut):
        make_quick(Keys(restic.repository, cut_at), PASSWORD)
    restic.run("cat", "config")
    keys = Keys(restic.repository)
    make_quick(keys, PASSWORD)
    assert keys.costs() == [16]
    restic.run("cat", "config")


def test_a_store_that_loses_the_new_file_keeps_the_old_one(restic: LocalRestic) -> None:
    class Forgetful(Keys):
        def read(self, name: str) -> bytes:
            return super().read(name) if json.loads(super().read(name))["N"] > 16 else b"something else"

    with pytest.raises(OSError, match="reads otherwise"):
        make_quick(Forgetful(restic.repository), PASSWORD)
    restic.run("cat", "config")


def test_keys_of_other_passwords_stay(restic: LocalRestic) -> None:
    other = restic.bucket / "other-password"
    other.write_text("another one")
    keys = Keys(restic.repository)
    mine = set(keys.names())
    restic.run("key", "add", "--new-password-file", str(other))
    (theirs,) = set(keys.names()) - mine
    make_quick(keys, PASSWORD)
    assert theirs in keys.names()
    assert len(keys.costs()) == 2
    make_quick(keys, "a password of nobody")
    assert len(keys.costs()) == 2
