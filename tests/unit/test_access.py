"""Checks of addresses and credentials: each failure names the variable to correct."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rekindle.access import public_key_of
from rekindle.errors import Misconfigured


def make_key(path: Path, kind: str, passphrase: str = "") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "", "-f", str(path)], check=True)
    return path


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_the_public_half_of_a_key(tmp_path: Path, kind: str) -> None:
    key = make_key(tmp_path / "key", kind)
    assert public_key_of(key).split()[:2] == (tmp_path / "key.pub").read_text().split()[:2]


def test_a_file_that_is_no_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch(mode=0o600)
    file.write_text("not a key\n")
    with pytest.raises(Misconfigured, match=rf"^SSH_KEY_PATH: {file} cannot be read as a private SSH key without"):
        public_key_of(file)


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", "ed25519", "secret")
    with pytest.raises(Misconfigured, match=r"^SSH_KEY_PATH: .* without passphrase: "):
        public_key_of(key)
