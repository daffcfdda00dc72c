"""The ledger: on disk before anything is rented, whatever dies; several processes at once; and clear when it cannot."""

from __future__ import annotations

import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rekindle.labels import Label, label_prefix, new_run_id
from rekindle.ledger import (
    Ledger,
    LedgerUnusable,
    Rent,
    State,
    is_alive,
    process_identity,
    uptime,
)

LABEL = "rekindle-run-1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger(path, "http://cloud")


def intend(ledger: Ledger, run: str = "run", label: str = LABEL) -> int:
    return ledger.intend(run, label, 1000012, 0.32, 30)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_intent_holds_all_that_is_needed_to_find_the_machine(ledger: Ledger) -> None:
    rent = ledger.rent(intend(ledger))
    assert rent.owner == process_identity(os.getpid())
    assert (rent.run_id, rent.target, rent.label, rent.offer_id, rent.price, rent.minutes) == (
        "run",
        "http://cloud",
        LABEL,
        1000012,
        0.32,
        30,
    )
    assert (rent.state, rent.instance_id, rent.created_at, rent.closed_at, rent.proof) == (
        State.INTENDED,
        None,
        None,
        None,
        None,
    )


def test_a_rent_goes_from_intended_over_created_to_destroyed(ledger: Ledger) -> None:
    intent = intend(ledger)
    ledger.created(intent, 29070001)
    assert [(rent.state, rent.instance_id) for rent in ledger.open_rents()] == [(State.CREATED, 29070001)]
    ledger.destroyed(intent, "absent")
    rent = ledger.rent(intent)
    assert (rent.state, rent.proof, ledger.open_rents()) == (State.DESTROYED, "absent", [])
    assert rent.created_at is not None
    assert rent.closed_at is not None
    assert rent.intended_at <= rent.created_at <= rent.closed_at


def test_the_first_proof_stays(ledger: Ledger) -> None:
    intent = intend(ledger)
    ledger.never_created(intent, "not listed")
    ledger.destroyed(intent, "somebody else's")
    rent = ledger.rent(intent)
    assert (rent.state, rent.proof) == (State.NEVER_CREATED, "not listed")


def test_open_rents_can_be_asked_for_one_run(ledger: Ledger) -> None:
    intend(ledger, "one", "rekindle-one-1")
    intend(ledger, "two", "rekindle-two-1")
    assert [rent.label for rent in ledger.open_rents("two")] == ["rekindle-two-1"]
    assert [rent.run_id for rent in ledger.open_rents()] == ["one", "two"]
    assert [rent.run_id for rent in ledger.rents("one")] == ["one"]


def test_a_machine_that_the_product_labelled_otherwise_is_found_by_that_label(ledger: Ledger) -> None:
    intent = intend(ledger)
    ledger.relabelled(intent, "woken")
    assert ledger.rent(intent).label == "woken"


@pytest.mark.parametrize("change", [Ledger.created, Ledger.destroyed, Ledger.never_created])
def test_an_unknown_intent_is_an_error(ledger: Ledger, change: Callable[..., None]) -> None:
    with pytest.raises(LedgerUnusable, match="it holds no intent 7"):
        change(ledger, 7, "x")


def test_only_its_user_can_read_it(ledger: Ledger) -> None:
    intend(ledger)
    with sqlite3.connect(ledger.path) as reader:  # holds the files beside the database in place
        reader.execute("SELECT * FROM rents").fetchall()
        modes = {file.name: oct(file.stat().st_mode & 0o777) for file in ledger.path.parent.iterdir()}
    reader.close()
    assert modes == {"ledger.db": "0o600", "ledger.db-journal": "0o600"}


def test_an_open_ledger_is_closed_to_others(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    Ledger(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_intent_survives_kill_9_right_after_it(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from rekindle.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1])).intend('run', 'rekindle-run-1', 7, 0.32, 30)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with python(code, path) as process:
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-signal.SIGKILL, "")
    (rent,) = Ledger(path).open_rents()
    assert rent.label == LABEL
    assert not is_alive(rent.owner)


def test_several_processes_write_at_once_and_none_is_lost(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rekindle.ledger import Ledger\n"
        "for number in range(20):\n"
        "    ledger = Ledger(Path(sys.argv[1]))\n"
        "    intent = ledger.intend(sys.argv[2], f'rekindle-{sys.argv[2]}-{number}', 7, 0.32, 30)\n"
        "    ledger.created(intent, number)"
    )
    processes = [python(code, path, number) for number in range(6)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    rents = Ledger(path).open_rents()
    assert len({rent.label for rent in rents}) == 120
    assert len({rent.intent for rent in rents}) == 120
    assert {rent.state for rent in rents} == {State.CREATED}


def test_a_corrupt_ledger_is_told_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 300)
    with pytest.raises(LedgerUnusable) as told:
        Ledger(path)
    assert str(told.value) == (
        f"The ledger of rented machines {path} cannot be used: file is not a database. Without it nothing is rented, "
        "because a machine could be forgotten. See that the file is readable, its disk has space and no other program "
        "holds it. If it is damaged, move it away and run `robot --include sweep suites`, which goes by the labels "
        "(`rekindle-…`) of the machines."
    )
    assert path.read_bytes().startswith(b"this is not")


def test_a_ledger_damaged_in_the_middle_is_told(ledger: Ledger) -> None:
    intend(ledger)
    with ledger.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(LedgerUnusable, match="malformed"):
        ledger.open_rents()


def test_a_ledger_of_another_version_is_not_touched(ledger: Ledger) -> None:
    database = sqlite3.connect(ledger.path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(LedgerUnusable, match=r"another version of Rekindle \(format 99\)"):
        Ledger(ledger.path)


def test_a_locked_ledger_is_told_after_the_patience(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rekindle.ledger.PATIENCE", 0.05)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnusable, match="database is locked"):
        intend(ledger)
    other.execute("ROLLBACK")
    other.close()
    assert intend(ledger)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnusable, match=r"Not a directory|File exists"):
        Ledger(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerUnusable, match="Is a directory"):
        Ledger(tmp_path)


def test_a_full_disk_is_told_and_the_ledger_stays_readable(path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from rekindle.ledger import Ledger, LedgerUnusable\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "intents = [ledger.intend('run', f'rekindle-run-{n}', 7, 0.32, 30) for n in range(3)]\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n"
        "    ledger.intend('run', 'rekindle-run-4', 7, 0.32, 30)\n"
        "except LedgerUnusable as error:\n"
        "    print(error)"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    with python(code, path) as process:
        told, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert "cannot be used: disk I/O error. Without it nothing is rented" in told
    assert len(Ledger(path).open_rents()) == 3


def test_on_a_full_disk_nothing_is_rented_and_what_is_rented_can_be_closed(path: Path) -> None:
    """A real disk of two megabytes, full to the last byte."""
    code = (
        "import sys; from pathlib import Path; from rekindle.ledger import Ledger, LedgerUnusable\n"
        "path = Path(sys.argv[1])\n"
        "ledger = Ledger(path)\n"
        "intents = [ledger.intend('run', f'rekindle-run-{n}', 7, 0.32, 30) for n in range(300)]\n"
        "file = open(sys.argv[1] + ' and all the rest', 'wb', buffering=0)\n"
        "try:\n"
        "    while file.write(b'x' * 512): pass\n"
        "except OSError: pass\n"
        "try: ledger.intend('run', 'rekindle-run-301', 7, 1, 30)\n"
        "except LedgerUnusable as error: print(error)\n"
        "for intent in intents:\n"
        "    Ledger(path).created(intent, 5)\n"
        "    Ledger(path).destroyed(intent, 'proof' * 30)\n"
        "print(len(ledger.rents('run')), len(ledger.open_rents()))\n"
    )
    path.parent.mkdir()
    disk = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--size", "2000000", "--tmpfs", str(path.parent)]
    done = subprocess.run([*disk, sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    refused, closed = done.stdout.splitlines()
    assert re.search(
        r"cannot be used: the disk of this computer that holds it is full \(0 bytes free of 1 000 000 needed\)\. "
        "Without it nothing is rented",
        refused,
    )
    assert closed == "300 0"


def test_an_empty_file_is_an_empty_ledger(path: Path) -> None:
    """What a computer leaves that lost its power when the ledger had just been made."""
    path.parent.mkdir()
    path.touch()
    ledger = Ledger(path)
    assert ledger.open_rents() == []
    assert intend(ledger)


def test_a_process_is_known_by_more_than_its_number() -> None:
    with python("import sys; print('up', flush=True); sys.stdin.read()") as process:
        identity = process_identity(process.pid)
        assert is_alive(process_identity(os.getpid()))
        place, pid, start = process_identity(os.getpid()).split("/")
        assert not is_alive(f"{place}/{pid}/{int(start) - 1}")  # the number was given to another process
        boot, space = place.split(".")
        assert not is_alive(f"another-boot.{space}/{pid}/{start}")  # the computer was switched off since
        assert is_alive(f"{boot}.{int(space) + 1}/{pid}/{start}")  # in another container: who can tell?
    assert not is_alive(identity)


def test_a_run_lives_as_long_as_one_of_its_processes(ledger: Ledger) -> None:
    assert ledger.lives("r1") is None
    code = (
        "import sys; from pathlib import Path; from rekindle.ledger import Ledger\n"
        "Ledger(Path(sys.argv[1])).intend('r1', 'rekindle-r1-1-30m', 7, 0.32, 30)\n"
        "import time; print('rented', flush=True); time.sleep(600)"
    )
    with python(code, ledger.path) as living:
        assert living.stdout
        assert living.stdout.readline() == "rented\n"
        assert ledger.lives("r1") is True
        living.kill()
    assert ledger.lives("r1") is False
    intend(ledger, "r1")
    assert ledger.lives("r1") is True


def test_labels_tell_whose_a_machine_is_and_for_how_long() -> None:
    run_id = new_run_id()
    label = Label(run_id, 12, 30)
    assert str(label) == f"rekindle-{run_id}-12-30m"
    assert str(label).startswith(label_prefix(run_id))
    assert Label.read(str(label)) == label


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "rekindle-mine",
        "rekindle-0311093015-5f2c9a-3",
        "rekindle-0311093015-5F2C9A-3-30m",
        "rekindle-0311093015-5f2c9a-3-30m2",
        "my rekindle-0311093015-5f2c9a-3-30m",
        "rekindle-0311093015-5f2c9a-3-30m\n",
    ],
)
def test_only_a_label_that_is_ours_letter_by_letter_is_read(text: str | None) -> None:
    assert Label.read(text) is None


def test_a_zombie_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert process_identity(pid) == ""
    os.waitpid(pid, 0)


@pytest.mark.parametrize("nonsense", ["", "x", "1/2", "boot/x/3"])
def test_nonsense_is_no_living_process(nonsense: str) -> None:
    assert not is_alive(nonsense)


def rent_of(label: str, instance_id: int | None) -> Rent:
    return Rent(1, "run", "", "", label, None, 0, 0, State.CREATED, instance_id, 0, None, None, None)


@pytest.mark.parametrize(
    ("rent", "listed", "ours"),
    [
        (rent_of(LABEL, 7), (LABEL, 7), True),
        (rent_of(LABEL, 7), (LABEL, 8), True),  # a second machine of one create call
        (rent_of(LABEL, None), (LABEL, 8), True),
        (rent_of(LABEL, 7), ("rekindle-run-11", 7), False),  # the id was given anew
        (rent_of(LABEL, 7), ("mine", 7), False),
        (rent_of(LABEL, 7), (None, 7), False),
        (rent_of("", 7), (None, 7), True),  # the product gave it no label
        (rent_of("", 7), ("", 7), True),
        (rent_of("", 7), (None, 8), False),
        (rent_of("", None), (None, 8), False),
        (rent_of("", 7), ("mine", 7), False),
    ],
)
def test_only_what_is_provably_ours_is_ours(rent: Rent, listed: tuple[str | None, int], ours: bool) -> None:
    assert rent.is_of(*listed) is ours


def test_the_label_of_a_run_does_not_begin_that_of_another() -> None:
    assert not "rekindle-run12-1".startswith(label_prefix("run1"))


def test_a_label_is_in_use_while_another_run_that_rented_it_lives(ledger: Ledger, path: Path) -> None:
    rent = "import sys; from pathlib import Path; from rekindle.ledger import Ledger\n"
    rent += "Ledger(Path(sys.argv[1]), 'http://cloud').intend('other', sys.argv[2], 1, 0.3, 30)\n"
    with python(rent, path, "rekindle-other-1") as dead:
        assert dead.wait() == 0
    intend(ledger, label="rekindle-own-1")
    code = rent + "print('rented', flush=True)\nimport time; time.sleep(600)"
    with python(code, path, "rekindle-other-2") as living:
        assert living.stdout
        assert living.stdout.readline() == "rented\n"
        labels = ("rekindle-own-1", "rekindle-other-1", "rekindle-other-2", "nobody's")
        assert [ledger.is_in_use(label) for label in labels] == [False, False, True, False]
        assert not ledger.is_in_use("rekindle-other-2", but_for="other")
        assert ledger.is_in_use("rekindle-other-2", but_for="own")
        living.kill()
    assert not ledger.is_in_use("rekindle-other-2")


def test_a_ledger_of_the_version_before_keeps_its_rents(ledger: Ledger) -> None:
    intent = intend(ledger)
    with closing(sqlite3.connect(ledger.path)) as database:
        database.execute("ALTER TABLE rents DROP COLUMN intended_uptime")
        database.execute("PRAGMA user_version = 1")
        database.commit()
    again = Ledger(ledger.path, ledger.target)
    assert [(rent.intent, rent.intended_uptime) for rent in again.open_rents()] == [(intent, None)]
    intend(again)
    assert again.open_rents()[-1].intended_uptime is not None


def test_how_old_an_intent_is_does_not_depend_on_the_date(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    rent = ledger.rent(intend(ledger))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 7200)
    assert rent.seconds_since_intent() < 60
    restarted = replace(rent, owner="another-boot.1/2/3")
    assert restarted.seconds_since_intent() == pytest.approx(uptime(), abs=5)
