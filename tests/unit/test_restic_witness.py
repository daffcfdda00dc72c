"""restic as a witness: how it is asked, and what becomes of its answers."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.objects import ObjectStore
from rekindle.restic_witness import ResticWitness
from rekindle.waiting import wait_until

SECRET, PASSWORD = "s3cr3t-canary", "p4ssw0rd-canary"
STORE = ObjectStore("http://127.0.0.1:9", "bucket", "key-id-canary", SECRET)


@pytest.fixture
def restic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A restic that does what the test writes into it."""
    program = tmp_path / "bin" / "restic"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def ask() -> str:
    with ResticWitness(STORE, "some/where", PASSWORD, "1234abcd") as witness:
        return witness.tree()


def test_credentials_travel_in_private_files_only(
    restic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another canary")
    monkeypatch.setenv("RESTIC_PASSWORD", "another canary")
    restic.write_text(
        f"""#!/bin/bash
        cd {shlex.quote(str(tmp_path))}
        {{ echo "$@"; env; }} >seen
        while [ "$1" != --password-file ]; do shift; done
        cat "$2" "$AWS_SHARED_CREDENTIALS_FILE" >files
        stat -c %a "$2" "$AWS_SHARED_CREDENTIALS_FILE" "$HOME" >modes
        echo "$HOME" >home
        echo '[{{"id": "1234abcd", "tree": "cafe"}}]'
        """
    )
    assert ask() == "cafe"
    seen = (tmp_path / "seen").read_text()
    assert "--repo s3:http://127.0.0.1:9/bucket/some/where" in seen
    assert "--no-cache --no-lock" in seen
    assert "canary" not in seen
    files = (tmp_path / "files").read_text()
    assert files == PASSWORD + f"[default]\naws_access_key_id = key-id-canary\naws_secret_access_key = {SECRET}\n"
    assert (tmp_path / "modes").read_text().split() == ["600", "600", "700"]
    assert not Path((tmp_path / "home").read_text().strip()).exists()


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            "echo '[]'",
            Mismatch,
            r"^Snapshot 1234abcd cannot be restored with restic: restic, run here, does not find it in bucket bucket",
        ),
        ("echo null", Mismatch, r"does not find it in bucket"),
        ("echo 'Is there a repository?' >&2; exit 1", Unknown, r"failed with exit code 1: Is there a repository\?$"),
        ("echo 'Fatal: wrong password or no key found' >&2; exit 1", Misconfigured, "check RESTIC_PASSWORD"),
        ("echo '{'", Unknown, r"gave an answer that cannot be understood: '\{"),
        ("""echo '[{"id": "1234abcd"}]'""", Unknown, "cannot be understood"),
        ("echo '7'", Unknown, "cannot be understood"),
    ],
)
def test_every_other_answer_is_red(restic: Path, answer: str, kind: type[Exception], words: str) -> None:
    restic.write_text(f"#!/bin/bash\n{answer}\n")
    with pytest.raises(kind, match=words):
        ask()


def test_no_answer_is_unknown(restic: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rekindle.restic_witness.TIMEOUT", 0.2)
    restic.write_text("#!/bin/bash\nexec sleep 30\n")
    with pytest.raises(
        Unknown, match=r"^UNKNOWN: It is not known whether snapshot 1234abcd .* no answer within 0\.2 s"
    ):
        ask()


def test_an_answer_that_nobody_asks_for_is_not_waited_for(restic: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    pid_file.touch()
    restic.write_text(f"#!/bin/bash\necho $$ >{shlex.quote(str(pid_file))}; exec sleep 300\n")
    with ResticWitness(STORE, "some/where", PASSWORD, "1234abcd"):
        pid = wait_until("restic to run", pid_file.read_text, bool, timeout=10).value.strip()
        assert Path("/proc", pid).exists()
    assert not Path("/proc", pid).exists()


def test_a_missing_restic_is_said_to_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Misconfigured, match=r"^restic is not installed here, .*: apt-get install restic, or decline"):
        ask()
