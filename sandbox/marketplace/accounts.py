"""The account's SSH keys. A machine lets in the keys that the account has when the machine is rented."""

from __future__ import annotations

import re
import time
from typing import Any

from pydantic import BaseModel

from sandbox.records import Records

_PUBLIC_KEY = re.compile(r"(ssh|ecdsa|sk-ssh|sk-ecdsa)-[\w@.-]+ [A-Za-z0-9+/]+=*( [^\n\r]*)?")


class SshKey(BaseModel):
    """A registered public key."""

    id: int
    public_key: str
    created_at: float

    def row(self) -> dict[str, Any]:
        return {"id": self.id, "user_id": 1, "key": self.public_key, "created_at": self.created_at, "deleted_at": None}


class InvalidKey(ValueError):
    """The text is not the one line of a public key."""


def checked_public_key(text: str) -> str:
    """The key without the blanks around it. Nothing else may get into a machine's list of keys."""
    key = text.strip()
    if not _PUBLIC_KEY.fullmatch(key):
        raise InvalidKey("Invalid SSH key: expected one line like `ssh-ed25519 AAAA… name`.")
    return key


class SshKeys:
    """The keys that are registered, on disk."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def all(self) -> list[SshKey]:
        return sorted(self._records.all(SshKey), key=lambda key: key.id)

    def register(self, text: str) -> SshKey:
        """Adds a key, or finds the same one registered before."""
        public_key = checked_public_key(text)
        known = self.all()
        for key in known:
            if key.public_key == public_key:
                return key
        key = SshKey(id=max((key.id for key in known), default=0) + 1, public_key=public_key, created_at=time.time())
        self._records.put(key.id, key)
        return key

    def remove(self, key_id: int) -> bool:
        known = self._records.get(SshKey, key_id) is not None
        self._records.delete(SshKey, key_id)
        return known
