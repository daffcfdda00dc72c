"""JSON documents in the output directory: each is written completely or not at all, and never over another one."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

from rekindle.redaction import KNOWN

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


def write_document(folder: Path, name: str, document: Json) -> Path:
    """Write `<name>_<epoch>.json`, whole or not at all, and never over another one.

    Its mode is what the umask leaves of 0666, so that whoever may read the log may read the report.

    Raises:
        OSError: the folder cannot be written, or the disk is full; nothing is left behind then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = KNOWN.redact(json.dumps(document, indent=2, ensure_ascii=False)).text
    written = folder / f".{name}_{secrets.token_hex(8)}"
    try:
        with written.open("x", encoding="utf-8") as stream:
            stream.write(text + "\n")
        return _link_to_free_name(written, folder / f"{name}_", int(time.time()))
    finally:
        written.unlink(missing_ok=True)


def _link_to_free_name(written: Path, stem: Path, epoch: int) -> Path:
    # Two processes may end a test of the same name in the same second: the later one takes the next free second.
    while True:
        path = stem.with_name(f"{stem.name}{epoch}.json")
        try:
            path.hardlink_to(written)
        except FileExistsError:
            epoch += 1
        else:
            return path
