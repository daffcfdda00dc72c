"""Where the restic repository lies in the bucket, and what opens it, as the user's settings tell."""

from __future__ import annotations

from urllib.parse import urlsplit

from rekindle.errors import Misconfigured
from rekindle.settings import Settings


def repository_prefix(settings: Settings) -> str:
    """Return the folder of the repository in the bucket: `s3:http://host/bucket/restic` is `restic`.

    Raises:
        Misconfigured: RESTIC_REPOSITORY names another bucket than B2_BUCKET.
    """
    repository = settings.restic_repository or ""
    bucket, _, prefix = urlsplit(repository.removeprefix("s3:")).path.lstrip("/").partition("/")
    if not repository.startswith("s3:") or bucket != settings.b2_bucket:
        raise Misconfigured(
            f"RESTIC_REPOSITORY must be s3:https://<endpoint>/{settings.b2_bucket}/<folder>, in the bucket "
            f"that B2_BUCKET names; it is {repository}."
        )
    return prefix


def repository_password(settings: Settings) -> str:
    """Return what opens the repository; empty when it is not set."""
    return settings.restic_password.get_secret_value() if settings.restic_password else ""
