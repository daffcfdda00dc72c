"""The door to /_sandbox: what a person may do to the cloud from outside. Product code never passes it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import Header, HTTPException

PREFIX = "/_sandbox"


def admin_only(admin_token: str) -> Callable[..., None]:
    """A FastAPI dependency that lets in who sends `Authorization: Bearer <admin token>`, and answers 401 to others."""
    expected = f"Bearer {admin_token}".encode()

    def check(authorization: Annotated[str, Header()] = "") -> None:
        if not secrets.compare_digest(authorization.encode(), expected):
            raise HTTPException(
                401, "This route needs the sandbox's admin token: SANDBOX_CONTROL_TOKEN of `python -m sandbox env`."
            )

    return check
