"""A key file for the restic repository that opens at once.

A key file holds the repository's master key, locked by a password through scrypt. restic has scrypt take half a second,
as a burden on those who try passwords that people think of. The password of this repository is random and as long as a
key: nobody can try them all, at whatever price. So the half second, which every call of restic pays, buys nothing.

https://restic.readthedocs.io/en/stable/100_references.html#keys-encryption-and-mac describes the format.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from typing import Any, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

_QUICK = {"N": 16, "r": 1, "p": 1}
_SALT = 64  # bytes, as restic wants it
_NONCE = _MAC = 16


class _WrongPassword(Exception):
    """The key file is locked by another password."""


class KeyFiles(Protocol):
    """The folder `keys` of a repository."""

    def names(self) -> list[str]: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes) -> None: ...
    def remove(self, name: str) -> None: ...


def make_quick(files: KeyFiles, password: str) -> None:
    """Sees to it that the password's only key file is a quick one.

    It may be cut short anywhere, and called again: there is always a file that the password opens. Files of other
    passwords stay. Does nothing where the password opens none.
    """
    ours = {}
    for name in files.names():
        file = json.loads(files.read(name))
        try:
            ours[name] = (file, _unlocked(file, password))
        except _WrongPassword:
            continue
    slow = [name for name, (file, _) in ours.items() if not _is_quick(file)]
    if slow and len(slow) == len(ours):
        file, master = ours[slow[0]]
        quick = json.dumps(_locked(file, master, password)).encode()
        name = hashlib.sha256(quick).hexdigest()
        files.write(name, quick)
        if files.read(name) != quick:
            raise OSError(f"the key file {name} was written, and reads otherwise")  # the old key stays
    for name in slow:
        files.remove(name)


def _is_quick(file: dict[str, Any]) -> bool:
    return {name: file[name] for name in _QUICK} == _QUICK


def _unlocked(file: dict[str, Any], password: str) -> bytes:
    """The master key, as the JSON that restic makes of it."""
    data = base64.b64decode(file["data"])
    nonce, encrypted, code = data[:_NONCE], data[_NONCE:-_MAC], data[-_MAC:]
    encryption, authentication = _derived(file, password, nonce)
    try:
        Poly1305.verify_tag(authentication, encrypted, code)
    except InvalidSignature:
        raise _WrongPassword from None
    return Cipher(algorithms.AES(encryption), modes.CTR(nonce)).decryptor().update(encrypted)


def _locked(file: dict[str, Any], master: bytes, password: str) -> dict[str, Any]:
    """A key file like another one, but quick."""
    quick = {**file, **_QUICK, "salt": base64.b64encode(os.urandom(_SALT)).decode()}
    nonce = os.urandom(_NONCE)
    encryption, authentication = _derived(quick, password, nonce)
    encrypted = Cipher(algorithms.AES(encryption), modes.CTR(nonce)).encryptor().update(master)
    code = Poly1305.generate_tag(authentication, encrypted)
    return {**quick, "data": base64.b64encode(nonce + encrypted + code).decode()}


def _derived(file: dict[str, Any], password: str, nonce: bytes) -> tuple[bytes, bytes]:
    """The key that encrypts, and the one that authenticates under this nonce."""
    cost, block, lanes = (file[name] for name in _QUICK)
    derived = hashlib.scrypt(
        password.encode(), salt=base64.b64decode(file["salt"]), n=cost, r=block, p=lanes, dklen=64,
        maxmem=128 * block * (cost + lanes + 2),
    )  # fmt: skip
    encryption, mac_k, mac_r = derived[:32], derived[32:48], derived[48:]
    # A single block in ECB mode is AES itself, which Poly1305-AES asks for.
    return encryption, mac_r + Cipher(algorithms.AES(mac_k), modes.ECB()).encryptor().update(nonce)  # noqa: S305
