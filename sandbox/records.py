"""Durable records: pydantic models in one SQLite table, written before anything acts on them."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)


class Records:
    """Keeps models by kind (their class name) and key. A put that has returned survives kill -9.

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
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS record "
                "(kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key)) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise type(error)(f"{path} cannot be used: {error}") from error

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
