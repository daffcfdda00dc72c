"""Durable records: what they hold open."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sandbox.records import Records


def test_the_database_is_closed_with_the_last_reference(tmp_path: Path) -> None:
    """From Python 3.13 on, one that is left open warns, in whichever test runs then."""
    records = Records(tmp_path / "records.db")
    database = records._db
    del records
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        database.execute("SELECT 1")


def test_closing_twice_is_no_error(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    records.close()
    records.close()


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    path.write_text("not a database, and longer than its head of one hundred bytes" * 3)
    with pytest.raises(sqlite3.DatabaseError, match=rf"^{path} cannot be used: file is not a database$"):
        Records(path)
