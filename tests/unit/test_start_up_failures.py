"""A part that does not start: its own last words come first, then how it ended, then the end of its log."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.leases import Leases
from sandbox.parts import Part
from sandbox.state import StateDir
from sandbox.supervisor import PartFailed, Supervisor


@pytest.fixture
def failure(tmp_path: Path) -> Callable[..., str]:
    state = StateDir(tmp_path / "cloud")
    state.create()

    def fail(*command: str) -> str:
        """Returns why a cloud does not start of which this command is the store."""
        parts = [
            Part("control", ["sleep", "60"], "http://here", state.logs / "control.log", lambda: None),
            Part("store", list(command), "http://here", state.logs / "store.log", lambda: "nothing answers"),
        ]
        leases = Leases(state.root / "leases")
        leases.add(None)
        with pytest.raises(PartFailed) as raised:
            Supervisor(state, parts, leases, lambda _: None).run(ready=lambda: None)
        return str(raised.value)

    return fail


@pytest.mark.parametrize(
    ("script", "cause", "end"),
    [
        ("echo begun; echo 'no configuration'; exit 1", "store: no configuration", "exit code 1"),
        ("echo 'weed: not found'; exit 127", "store: weed: not found", "exit code 127: a program was not found"),
        ("echo 'cannot'; exit 255", "store: cannot", "exit code 255"),
        ("echo 'panic: bad data'; kill -SEGV $$", "store: panic: bad data", "killed by SIGSEGV"),
        ("echo 'panic: bad data'; kill -42 $$", "store: panic: bad data", "killed by signal 42"),
    ],
)
def test_its_own_words_come_first(failure: Callable[..., str], script: str, cause: str, end: str) -> None:
    first, second, third, *tail = failure("bash", "-c", script).splitlines()
    assert first == cause
    assert second.startswith(f"The store has died ({end}), ")
    assert third.endswith("store.log, ends:")
    assert tail[-1] == f"    {cause.removeprefix('store: ')}"


def test_a_program_that_is_missing(failure: Callable[..., str]) -> None:
    first, second, *_ = failure("/no/such/program").splitlines()
    assert first == "store: setpriv: failed to execute /no/such/program: No such file or directory"
    assert second.startswith("The store has died (exit code 127: a program was not found)")


def test_a_part_without_words(failure: Callable[..., str]) -> None:
    first, second = failure("bash", "-c", "kill -KILL $$").splitlines()
    assert first.startswith("The store has died (killed by SIGKILL), ")
    assert second.endswith("store.log, is empty.")


def test_a_key_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\necho 'no room' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    state = StateDir(tmp_path / "cloud")
    with pytest.raises(OSError, match=rf"^ssh-keygen did not make the key {state.control_key}: no room$"):
        state.create()
