"""Checks that an address and its credential work, made before a suite depends on them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from rekindle.errors import Misconfigured, Mismatch, Unknown
from rekindle.http import is_loopback
from rekindle.objects import ObjectStore
from rekindle.restic_repository import NoRepository, ResticRepository
from rekindle.restic_witness import ResticWitness
from rekindle.wording import counted

PAGE_TIMEOUT = 15.0  # seconds


def public_key_of(private_key: Path) -> str:
    """Return the public half of an SSH key, as one line.

    Raises:
        Misconfigured: the file is no private key, or a passphrase protects it.
    """
    done = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", str(private_key)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Misconfigured(
            f"SSH_KEY_PATH: {private_key} cannot be read as a private SSH key without passphrase: {done.stderr.strip()}"
        )
    return done.stdout.strip()


def check_page(url: str) -> None:
    """Check that a web page answers with HTML at its login address.

    Args:
        url: address of the page, without path.

    Raises:
        Misconfigured: nothing answers, or something else than a page.
    """
    advice = "Check DUMONT_CONSOLE_URL (DUMONT_API_URL where it is not set)."
    try:
        answer = httpx2.get(
            f"{url}/login",
            timeout=PAGE_TIMEOUT,
            follow_redirects=True,
            trust_env=not is_loopback(urlsplit(url).hostname or ""),
            verify=ssl.create_default_context(),
        )
    except httpx2.TransportError as error:
        raise Misconfigured(f"The web page at {url} cannot be reached ({error}). {advice}") from error
    kind = answer.headers.get("content-type", "without a type").partition(";")[0]
    if answer.is_error or kind != "text/html":
        raise Misconfigured(
            f"The web page at {url}/login is not there: expected HTML, got {answer.status_code} {kind}. {advice}"
        )


def check_repository(
    store: ObjectStore, prefix: str, password: str, *, snapshot_id: str | None, restic: bool
) -> str | None:
    """Check that the restic repository opens with its password, with our own reader and with restic.

    Args:
        store: bucket that holds the repository.
        prefix: where in the bucket the repository lies.
        password: password of the repository.
        snapshot_id: snapshot that the repository must hold; None checks the password only.
        restic: whether restic, run here, is asked as well.

    Returns:
        Number of snapshots in words; None if there is no repository yet and no snapshot is wanted.

    Raises:
        Misconfigured: the password or the place is wrong, the bucket refuses the keys, or restic is missing.
        Mismatch: the snapshot is missing.
        Unknown: the store cannot be reached.
    """
    try:
        snapshots = ResticRepository(store, prefix, password).snapshots()
    except NoRepository:
        if snapshot_id is None:
            return None
        raise
    if snapshot_id and not any(found.id.startswith(snapshot_id) for found in snapshots):
        raise Mismatch(
            f"Snapshot {snapshot_id}, just taken, is not in the repository {store.where(prefix)}: the product writes "
            "to another one. Check RESTIC_REPOSITORY."
        )
    if restic:
        with ResticWitness(store, prefix, password, None) as witness:
            witness.opens()
    return counted(len(snapshots), "snapshot")


def check_listed(store: ObjectStore, key: str) -> None:
    """Check that the bucket lists an object.

    Raises:
        Unknown: it does not.
    """
    if not any(found.key == key for found in store.list(key)):
        raise Unknown(
            f"{store.where(key)} was written but is not listed: the key may lack the right to list. Check B2_KEY_ID "
            "and B2_APPLICATION_KEY."
        )
