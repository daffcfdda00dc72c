"""restic itself, run here, as a second witness of what lies in a bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.objects import ObjectStore

TIMEOUT = 120.0
# What a program needs to find its way out of here. No credential is among it.
_ENVIRONMENT = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")


def tree_seen_by_restic(store: ObjectStore, prefix: str, password: str, snapshot_id: str) -> str:
    """Asks restic for a snapshot, and returns the id of its tree.

    The credentials reach it in files that only we can read. It takes no lock and keeps no cache.

    Raises:
        Mismatch: restic does not find the snapshot.
        Misconfigured: restic is missing here, or the password is wrong.
        Unknown: restic fails otherwise, or gives no answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="rekindle-restic-") as folder:
        home = Path(folder)
        credentials, password_file = home / "credentials", home / "password"
        for path in (credentials, password_file):
            path.touch(mode=0o600)
        credentials.write_text(
            f"[default]\naws_access_key_id = {store.key_id}\naws_secret_access_key = {store.secret}\n"
        )
        password_file.write_text(password)
        answer = _run(
            ["--repo", f"s3:{store.endpoint}/{store.bucket}/{prefix}", "--password-file", str(password_file)],
            snapshot_id,
            {"HOME": folder, "AWS_SHARED_CREDENTIALS_FILE": str(credentials)},
        )
    try:
        trees = [row["tree"] for row in json.loads(answer) or []]
    except (ValueError, KeyError, TypeError):
        raise Unknown(f"restic, run here, gave an answer that cannot be understood: {answer[:200]!r}") from None
    if len(trees) != 1:
        raise Mismatch(f"restic, run here, does not find snapshot {snapshot_id} in bucket {store.bucket}.")
    return str(trees[0])


def _run(options: list[str], snapshot_id: str, variables: dict[str, str]) -> str:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        done = subprocess.run(
            ["restic", *options, "--no-cache", "--no-lock", "--json", "snapshots", "--", snapshot_id],
            env=kept | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise Misconfigured(
            "restic is not installed here, so it cannot witness the snapshot: apt-get install restic, or decline this "
            "witness."
        ) from None
    except subprocess.TimeoutExpired:
        raise Unknown(f"restic, run here, gave no answer within {TIMEOUT:g} s.") from None
    if re.search("wrong password|no key found", done.stderr):
        raise Misconfigured("restic, run here, cannot open the repository with this password: check RESTIC_PASSWORD.")
    if done.returncode:
        raise Unknown(f"restic, run here, failed with exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout
