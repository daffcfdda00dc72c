"""The troubles of a bucket, made with the store's own means. They survive a restart of the store.

read-only   a policy of the bucket denies all writing and deleting: 403 AccessDenied
full        the mark that SeaweedFS puts on a bucket over its quota: writing fails with 500, deleting is allowed
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Literal, get_args

from sandbox.state import CloudConfig, Secrets, StateDir, write_private
from sandbox.store import seaweed
from sandbox.store.signed import send

Trouble = Literal["read-only", "full"]
SHELL_WITHIN = 30.0  # seconds; it takes a third of one


class StoreRefused(Exception):
    """The store did not do what it was told; the message carries its words."""


def trouble(state: StateDir) -> Trouble | None:
    """What was done to the bucket of the snapshots, or perhaps done, if it was interrupted."""
    file = _note(state)
    noted = file.read_text() if file.exists() else None
    return next((known for known in get_args(Trouble) if known == noted), None)


def set_trouble(state: StateDir, config: CloudConfig, keys: Secrets, wanted: Trouble | None) -> None:
    """Gives the bucket of the snapshots one trouble in place of another; None mends it.

    Raises:
        StoreRefused: with the store's own words.
        OSError: the store does not answer.
    """
    if trouble(state) == "read-only":
        _policy("DELETE", config, keys, b"")
    if trouble(state) == "full":
        _mark(state, keys, "-delete", full=False)
    _note(state).unlink(missing_ok=True)
    if wanted:
        write_private(_note(state), wanted)  # first, so that whoever comes after an interruption knows what to mend
    if wanted == "read-only":
        denied = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["s3:PutObject", "s3:DeleteObject"],
            "Resource": f"arn:aws:s3:::{keys.b2_bucket}/*",
        }
        _policy("PUT", config, keys, json.dumps({"Version": "2012-10-17", "Statement": [denied]}).encode())
    if wanted == "full":
        _mark(state, keys, "-readOnly", full=True)


def _policy(method: str, config: CloudConfig, keys: Secrets, body: bytes) -> None:
    admin = (keys.store_admin_key_id, keys.store_admin_key)
    status, words = send(config.store_url, method, f"/{keys.b2_bucket}", "policy=", body, *admin)
    if status not in (200, 204) and "NoSuchBucketPolicy" not in words:  # an interruption came before there was one
        raise StoreRefused(f"The store answers HTTP {status} to {method} of the bucket's policy: {words}")


def _mark(state: StateDir, keys: Secrets, change: str, *, full: bool) -> None:
    """Sets or removes the mark with the store's own shell, whose exit code says nothing."""
    done = subprocess.run(
        seaweed.shell(state),
        cwd=state.store,  # where it finds the keys to the store's servers
        env={"PATH": os.defpath, "HOME": str(state.store), "TMPDIR": str(state.store / "tmp")},
        input=f"fs.configure -locationPrefix=/buckets/{keys.b2_bucket}/ {change} -apply\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=SHELL_WITHIN,
    )
    if '"locations"' not in done.stdout or ('"readOnly":  true' in done.stdout) != full:
        raise StoreRefused(f"The store's shell did not mark the bucket: {(done.stdout + done.stderr).strip()}")


def _note(state: StateDir) -> Path:
    return state.store / "bucket-trouble"
