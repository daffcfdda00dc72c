"""What the HTTP APIs of the cloud answer when the disk of the state directory is full: 507, and whose disk it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

from sandbox.disk_space import DiskFull, full, is_full

INSUFFICIENT_STORAGE = 507
_REMEDY = "Free space there, or use a cloud in another directory (STATE_DIR)."


def install(app: FastAPI, folder: Path, answer: Callable[[str], Response]) -> None:
    """Answer requests that fail because the disk is full with 507, in the API's own form.

    Args:
        app: the API.
        folder: the state directory.
        answer: makes the answer of a sentence.
    """

    async def explain(_: Request, error: Exception) -> Response:
        if not is_full(error):
            raise error
        return answer(f"{error if isinstance(error, DiskFull) else full(folder)}. {_REMEDY}")

    for kind in (sqlite3.Error, OSError):
        app.add_exception_handler(kind, explain)
