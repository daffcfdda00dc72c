"""Durable records: pydantic models in one SQLite table, written before anything acts on them."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)

# SQLite writes to the pages of a file that it has already, so a reserve in the database and in its log lets records
# be changed and deleted on a full disk: machines can still be destroyed there.
_RESERVE = 1 << 20  # bytes
_PAGES_IN_LOG = 200  # size at which the log is written back and begins anew; smaller than the reserve


class Records:
    """Keeps models by kind (their class name) and key. A put that has returned survives kill -9.

    Records can be changed and deleted, and some added, while the disk is full.

    The database is closed by `close`, or with the last reference to the records: from Python 3.13 on, a connection that
    is left open warns.
    """

    def __init__(self, path: Path) -> None:
        """Open the database, and create it if it is missing.

        Raises:
            sqlite3.Error: it cannot be opened, read or written; names it.
        """
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise type(error)(f"{path} cannot be used: {error}") from error
        self._close = weakref.finalize(self, self._db.close)
        self._close.atexit = False  # a process that ends may still be writing in other threads
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_PAGES_IN_LOG}")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS record "
                "(kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
            self._db.execute("CREATE TABLE IF NOT EXISTS reserve (filler BLOB)")
            self._fill_reserve()
        except sqlite3.Error as error:
            raise type(error)(f"{path} cannot be used: {error}") from error

    def renew_reserve(self) -> None:
        """Fill the reserve for a full disk if less than half of it is left.

        Raises:
            sqlite3.Error: the disk is full.
        """
        free, size = (self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size"))
        if free * size < _RESERVE / 2:
            self._fill_reserve()

    def _fill_reserve(self) -> None:
        self._db.execute("DELETE FROM reserve")  # left by a process that was killed here
        self._db.execute("INSERT INTO reserve VALUES (zeroblob(?))", (_RESERVE,))
        self._db.execute("DELETE FROM reserve")
        self._db.execute("PRAGMA wal_checkpoint(RESTART)")

    def put(self, key: object, model: BaseModel) -> None:
        self._db.execute(
            "INSERT INTO record VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
            (type(model).__name__, str(key), model.model_dump_json()),
        )

    def get(self, kind: type[Model], key: object) -> Model | None:
        row = self._db.execute(
            "SELECT body FROM record WHERE kind = ? AND key = ?", (kind.__name__, str(key))
        ).fetchone()
        return kind.model_validate_json(row[0]) if row else None

    def all(self, kind: type[Model]) -> Iterator[Model]:
        rows = self._db.execute("SELECT body FROM record WHERE kind = ? ORDER BY key", (kind.__name__,)).fetchall()
        for (body,) in rows:
            yield kind.model_validate_json(body)

    def delete(self, kind: type[BaseModel], key: object) -> None:
        self._db.execute("DELETE FROM record WHERE kind = ? AND key = ?", (kind.__name__, str(key)))

    def close(self) -> None:
        self._close()
