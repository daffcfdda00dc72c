"""restic's format, versions 1 and 2: how its files are locked, packed and spelled.

https://restic.readthedocs.io/en/stable/100_references.html describes it. Files and blobs are encrypted with AES-256-CTR
and carry a Poly1305-AES code. The key to them lies in a key file, locked by a password through scrypt.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import zstandard
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from rekindle.manifest import Kind

_NONCE = _MAC = 16
_LENGTH_OF_HEADER = 4
_HEADER_ENTRY, _HEADER_ENTRY_COMPRESSED = 37, 41
_ZSTD = 2

_KINDS: dict[str, Kind] = {
    "file": "file",
    "dir": "directory",
    "symlink": "link",
    "fifo": "fifo",
    "dev": "block device",
    "chardev": "character device",
}
# Bits of Go's os.FileMode, and what they are in Unix.
_SPECIAL_BITS = {1 << 23: 0o4000, 1 << 22: 0o2000, 1 << 20: 0o1000}
_GO_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8})|(.))")
_GO_LETTERS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_GO_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


class ForgedError(Exception):
    """The message code does not fit: the bytes were changed, or the key is another one."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Where a blob lies: bytes `offset` to `offset + length` of a pack. The id is the SHA-256 of its content.

    `uncompressed_length` is that of the content when it was compressed, else None.
    """

    id: str
    pack: str
    offset: int
    length: int
    uncompressed_length: int | None


@dataclass(frozen=True, repr=False)
class Keys:
    """The keys of a repository, or those that a password gives: one to encrypt, two for message codes."""

    encrypt: bytes
    mac_k: bytes
    mac_r: bytes


class Opener:
    """Decrypts one piece after another, with what is dear to set up. Not for two threads at once."""

    def __init__(self, keys: Keys) -> None:
        self._mac_r = keys.mac_r
        # One block in ECB mode is AES itself, which makes the one-time key of a message code from the nonce.
        self._aes = Cipher(algorithms.AES(keys.mac_k), modes.ECB()).encryptor()  # noqa: S305
        self._decryptor = Cipher(algorithms.AES(keys.encrypt), modes.CTR(bytes(_NONCE))).decryptor()
        self._zstd = zstandard.ZstdDecompressor()

    def decrypt(self, data: bytes) -> bytes:
        """The plain bytes of `nonce | encrypted | code`. Raises ForgedError."""
        nonce, encrypted, code = data[:_NONCE], data[_NONCE:-_MAC], data[-_MAC:]
        if len(data) < _NONCE + _MAC:
            raise ForgedError
        try:
            Poly1305.verify_tag(self._mac_r + self._aes.update(nonce), encrypted, code)
        except InvalidSignature:
            raise ForgedError from None
        self._decryptor.reset_nonce(nonce)
        return self._decryptor.update(encrypted)

    def document(self, data: bytes) -> Any:
        """The JSON of a snapshot or index file, which version 2 may have compressed. Raises ForgedError."""
        plain = self.decrypt(data)
        if plain[:1] == bytes([_ZSTD]):
            plain = self._zstd.decompressobj().decompress(plain[1:])
        return json.loads(plain)

    def blob(self, blob: Blob, stored: bytes) -> bytes:
        """The content of a blob from its bytes in the pack. Raises ForgedError when it is not what the id names."""
        plain = self.decrypt(stored)
        if blob.uncompressed_length is not None:
            try:
                plain = self._zstd.decompress(plain, max_output_size=blob.uncompressed_length)
            except zstandard.ZstdError:
                raise ForgedError from None
        if hashlib.sha256(plain).hexdigest() != blob.id:
            raise ForgedError
        return plain


@lru_cache(16)
def unlock(key_file: bytes, password: str) -> Keys:
    """The repository's keys from one of its key files; half a second of work by design, so it is done once.

    Raises ForgedError when the password is not this file's.
    """
    key = json.loads(key_file)
    cost, block, lanes = key["N"], key["r"], key["p"]
    derived = hashlib.scrypt(
        password.encode(),
        salt=base64.b64decode(key["salt"]),
        n=cost,
        r=block,
        p=lanes,
        maxmem=128 * block * (cost + lanes + 2),
        dklen=64,
    )
    own = Keys(derived[:32], derived[32:48], derived[48:])
    master = json.loads(Opener(own).decrypt(base64.b64decode(key["data"])))
    return Keys(*map(base64.b64decode, (master["encrypt"], master["mac"]["k"], master["mac"]["r"])))


def blobs_of_pack(row: dict[str, Any]) -> tuple[list[Blob], int]:
    """The blobs of a pack as an index file lists them, and the size in bytes that the pack must have with them."""
    blobs = [
        Blob(blob["id"], row["id"], blob["offset"], blob["length"], blob.get("uncompressed_length"))
        for blob in row["blobs"]
    ]
    header = sum(_HEADER_ENTRY if blob.uncompressed_length is None else _HEADER_ENTRY_COMPRESSED for blob in blobs)
    return blobs, sum(blob.length for blob in blobs) + _NONCE + header + _MAC + _LENGTH_OF_HEADER


@dataclass(frozen=True, slots=True)
class Node:
    """An entry of a snapshot's tree, with the same units as a manifest's.

    `content` names the data blobs of a file, in order; `subtree` the tree blob of a directory.
    """

    path: str
    kind: Kind
    size: int
    mode: int
    mtime_ns: int
    link_target: str | None
    content: tuple[str, ...]
    subtree: str | None
    uid: int | None
    gid: int | None


def nodes_of_tree(tree: bytes, folder: str) -> list[Node]:
    """The entries of a tree blob, their paths beginning with `folder`. Sockets are left out."""
    return [_node(folder, row) for row in json.loads(tree)["nodes"] if row["type"] in _KINDS]


def _node(folder: str, row: dict[str, Any]) -> Node:
    kind, mode = _KINDS[row["type"]], row.get("mode", 0)
    link_target = None
    if kind == "link":
        raw = row.get("linktarget_raw")
        link_target = _text(base64.b64decode(raw)) if raw else row["linktarget"]
    return Node(
        path=folder + _unquoted(row["name"]),
        kind=kind,
        size=row.get("size", 0) if kind == "file" else 0,
        mode=mode & 0o777 | sum(unix for go, unix in _SPECIAL_BITS.items() if mode & go),
        mtime_ns=_nanoseconds(row["mtime"]),
        link_target=link_target,
        content=tuple(row.get("content") or ()),
        subtree=row.get("subtree"),
        uid=row.get("uid"),
        gid=row.get("gid"),
    )


def _unquoted(name: str) -> str:
    """A name without the escapes of Go's strconv.Quote, which is how restic spells whatever is not printable."""
    if "\\" not in name:
        return name

    def character(match: re.Match[str]) -> str:
        byte, short, long, letter = match.groups()
        if byte:
            return chr(0xDC00 + int(byte, 16)) if int(byte, 16) > 0x7F else chr(int(byte, 16))
        return _GO_LETTERS.get(letter, letter) if letter else chr(int(short or long, 16))

    return _text(_GO_ESCAPE.sub(character, name).encode("utf-8", "surrogateescape"))


def _nanoseconds(time: str) -> int:
    match = _GO_TIME.fullmatch(time)
    if not match:
        raise ValueError(f"{time!r} is not a time")
    seconds, fraction, zone = match.groups()
    return int(datetime.fromisoformat(seconds + zone).timestamp()) * 10**9 + int((fraction or "").ljust(9, "0"))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
