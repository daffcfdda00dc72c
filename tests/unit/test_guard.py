"""The guard's process: it starts or says why not, keeps its secrets, and cannot be talked out of its work."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rekindle.guard import Guard, GuardNotReady
from rekindle.ledger import Ledger
from rekindle.settings import Settings

CANARY = "canary-in-a-coal-mine"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def guard(tmp_path: Path, closed_port: int) -> Guard:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    settings = Settings.from_mapping(
        {
            "DUMONT_API_URL": f"http://127.0.0.1:{closed_port}",
            "DUMONT_EMAIL": "test@test.com",
            "DUMONT_PASSWORD": CANARY,
            "B2_KEY_ID": "id",
            "B2_APPLICATION_KEY": CANARY,
            "B2_BUCKET": "bucket",
            "B2_ENDPOINT": "endpoint",
            "SSH_KEY_PATH": str(key),
        }
    )
    return Guard(settings, Ledger(tmp_path / "ledger.db"), "r1")


def test_a_guard_that_cannot_reach_the_target_forbids_to_rent(guard: Guard, closed_port: int) -> None:
    with pytest.raises(GuardNotReady) as told:
        guard.ensure_ready()
    assert str(told.value) == (
        "Nothing is rented, because the guard that would clean up after a crash is not ready: Dumont API at "
        f"http://127.0.0.1:{closed_port} is not reachable: connection refused. Is it running? Is DUMONT_API_URL its "
        f"address? Its log is {guard.log}."
    )
    assert guard.pid is None


def test_its_log_is_private_and_holds_no_credential(guard: Guard) -> None:
    with pytest.raises(GuardNotReady):
        guard.ensure_ready()
    assert guard.log.stat().st_mode & 0o777 == 0o600
    assert "not ready" in guard.log.read_text()
    assert CANARY not in guard.log.read_text()


def test_its_log_says_when_the_kernel_may_kill_it_first(guard: Guard) -> None:
    """Only root may spare a process when memory runs out, and not in every container."""
    spare = ["bash", "-c", "echo -500 >/proc/self/oom_score_adj"]
    may_spare = subprocess.run(spare, capture_output=True, check=False).returncode == 0
    with pytest.raises(GuardNotReady):
        guard.ensure_ready()
    told = "when memory runs out, the kernel may kill this guard before others: [Errno 13] Permission denied"
    assert (told in guard.log.read_text()) == (not may_spare)


def test_a_log_that_cannot_be_written_forbids_to_rent(guard: Guard) -> None:
    guard.log.mkdir()
    with pytest.raises(GuardNotReady, match=r"because the guard's log cannot be written: .*Is a directory"):
        guard.ensure_ready()


def test_a_ledger_that_is_broken_forbids_to_rent(guard: Guard, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"broken" * 1000)
    with pytest.raises(GuardNotReady, match=r"is not ready: The ledger of rented machines .* cannot be used"):
        guard.ensure_ready()


def test_a_guard_that_was_never_needed_stands_down_at_once(guard: Guard) -> None:
    assert str(guard.stand_down()) == "nothing was left"
    assert not guard.log.exists()
