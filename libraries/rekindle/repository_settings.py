"""Where the restic repository lies in the bucket, and what opens it, as the user's settings tell."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from rekindle.errors import Misconfigured
from rekindle.settings import Settings


def repository_prefix(settings: Settings) -> str:
    """Return the folder of the repository in the bucket: `s3:http://host/bucket/restic` is `restic`.

    Raises:
        Misconfigured: RESTIC_REPOSITORY names another bucket than B2_BUCKET, or another store than B2_ENDPOINT.
    """
    repository = settings.restic_repository or ""
    address = repository.removeprefix("s3:")
    url = urlsplit(address if "://" in address else f"https://{address}")  # as restic reads it
    bucket, _, prefix = url.path.lstrip("/").partition("/")
    if not repository.startswith("s3:") or bucket != settings.b2_bucket:
        raise Misconfigured(
            f"RESTIC_REPOSITORY must be s3:https://<endpoint>/{settings.b2_bucket}/<folder>, in the bucket "
            f"that B2_BUCKET names; it is {repository}."
        )
    if _server(url) != _server(urlsplit(settings.b2_endpoint)):
        raise Misconfigured(
            f"RESTIC_REPOSITORY ({repository}) and B2_ENDPOINT ({settings.b2_endpoint}) must name the same object "
            "store: check which of them is wrong."
        )
    return prefix


def _server(url: SplitResult) -> tuple[str | None, int]:
    """Return host and port of an address."""
    return url.hostname, url.port or (80 if url.scheme == "http" else 443)


def repository_password(settings: Settings) -> str:
    """Return what opens the repository; empty when it is not set."""
    return settings.restic_password.get_secret_value() if settings.restic_password else ""
