"""Durable records: what they hold open."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

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


class Note(BaseModel):
    text: str


def test_records_change_on_a_disk_without_a_free_byte(tmp_path: Path) -> None:
    """A real file system of 8 MB. What is written is far more than the reserve, so that its log begins anew."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from sandbox.records import Records; from tests.unit.test_records import Note\n"
        "folder = Path(sys.argv[1])\n"
        "records = Records(folder / 'records.db')\n"
        "for number in range(100): records.put(number, Note(text='before'))\n"
        "file = (folder / 'filling').open('wb', buffering=0)\n"
        "try:\n"
        "    while file.write(bytes(512)): pass\n"
        "except OSError: pass\n"
        "for turn in range(30):\n"
        "    for number in range(100): records.put(number, Note(text='x' * 300))\n"
        "for number in range(60): records.delete(Note, number)\n"
        "print(len(list(records.all(Note))), os.statvfs(folder).f_bavail)\n"
    )
    disk = ["bwrap", "--dev-bind", "/", "/", "--size", "8000000", "--tmpfs", str(tmp_path)]
    done = subprocess.run(
        [*disk, sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("40 0\n", "")


def test_the_reserve_is_renewed_when_records_have_used_it(tmp_path: Path) -> None:
    records = Records(tmp_path / "records.db")
    for number in range(2000):
        records.put(number, Note(text="x" * 400))
    records.renew_reserve()
    assert records._db.execute("PRAGMA freelist_count").fetchone()[0] * 4096 >= 1 << 20
    assert records._db.execute("SELECT COUNT(*) FROM reserve").fetchone()[0] == 0
