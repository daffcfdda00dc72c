"""restic itself, run here, as a second witness of what lies in a bucket."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.http import PROXY_VARIABLES
from rekindle.objects import ObjectStore
from rekindle.wording import counted

TIMEOUT = 120.0
# What a program needs to find its way out of here. No credential is among it.
_ENVIRONMENT = ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", *PROXY_VARIABLES)


class ResticWitness:
    """Asks restic for one snapshot, or for the repository, beside whatever else is done meanwhile.

    Use it in a `with` statement.

    The credentials reach it in files that only we can read. It takes no lock and keeps no cache.

    Args:
        store: the bucket.
        prefix: where in it the repository lies.
        password: the repository's.
        snapshot_id: the snapshot, or the first digits of its id; None only opens the repository.

    Raises:
        Misconfigured: restic is missing here.
    """

    def __init__(self, store: ObjectStore, prefix: str, password: str, snapshot_id: str | None) -> None:
        self._bucket = store.bucket
        self._snapshot_id = snapshot_id
        self._asked_for = f"Snapshot {snapshot_id}" if snapshot_id else "The repository"
        self._home = tempfile.TemporaryDirectory(prefix="rekindle-restic-")
        keys = f"aws_access_key_id = {store.key_id}\naws_secret_access_key = {store.secret}"
        question = ["cat", "config"] if snapshot_id is None else ["snapshots", "--", snapshot_id]
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [
                    "restic",
                    *("--repo", f"s3:{store.endpoint}/{store.bucket}/{prefix}"),
                    *("--password-file", self._private("password", password)),
                    *("--no-cache", "--no-lock", "--json", *question),
                ],
                env=kept
                | {
                    "HOME": self._home.name,
                    "AWS_SHARED_CREDENTIALS_FILE": self._private("credentials", f"[default]\n{keys}\n"),
                },
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            self._home.cleanup()
            raise Misconfigured(
                "restic is not installed here, so it cannot witness the snapshot: apt-get install restic, or decline "
                "this witness."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends restic, which goes on trying for a quarter of an hour when the store is down."""
        with self._process as process:
            process.kill()
        self._home.cleanup()

    def opens(self) -> None:
        """Check that restic opens the repository.

        Raises:
            Misconfigured: the password is wrong.
            Unknown: restic fails otherwise, or gives no answer in time.
        """
        self._answer()

    def tree(self) -> str:
        """Return the id of the snapshot's tree.

        Raises:
            Mismatch: restic does not find the snapshot.
            Misconfigured, Unknown: as for `opens`.
        """
        answer = self._answer()
        try:
            trees = [row["tree"] for row in json.loads(answer) or []]
        except (ValueError, KeyError, TypeError):
            raise self._unknown(f"gave an answer that cannot be understood: {answer[:200]!r}") from None
        if len(trees) != 1:
            raise Mismatch(
                f"Snapshot {self._snapshot_id} cannot be restored with restic: restic, run here, does not find it in "
                f"bucket {self._bucket}.",
                expected="1 snapshot",
                actual=counted(len(trees), "snapshot"),
            )
        return str(trees[0])

    def _answer(self) -> str:
        try:
            answer, complaint = self._process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise self._unknown(f"gave no answer within {TIMEOUT:g} s.") from None
        if re.search("wrong password|no key found", complaint):
            raise Misconfigured(
                f"{self._asked_for} cannot be read: restic, run here, cannot open the repository with this password: "
                "check RESTIC_PASSWORD."
            )
        if code := self._process.returncode:
            raise self._unknown(f"failed with exit code {code}: {complaint.strip()[-500:]}")
        return answer

    def _unknown(self, reason: str) -> Unknown:
        asked_for = self._asked_for
        return Unknown(
            f"It is not known whether {asked_for[0].lower()}{asked_for[1:]} can be restored: restic, run here, {reason}"
        )

    def _private(self, name: str, text: str) -> str:
        path = Path(self._home.name, name)
        path.touch(mode=0o600)
        path.write_text(text)
        return str(path)
