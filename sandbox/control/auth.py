"""Who may call: one account, a JWT in the Authorization header or in a cookie."""

from __future__ import annotations

import hmac
import time
from typing import Annotated

import jwt
from fastapi import Depends
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from sandbox.control.errors import ApiError
from sandbox.state import Secrets

LIFETIME = 45 * 24 * 3600  # seconds
COOKIE = "dumont_session"


class Accounts:
    """Checks passwords and tokens. `user` is a FastAPI dependency that returns the e-mail or answers 401."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def login(self, email: str, password: str) -> str:
        """Returns a token of 45 days, or raises 401."""
        right_email = hmac.compare_digest(email.encode(), self._secrets.dumont_email.encode())
        right_password = hmac.compare_digest(password.encode(), self._secrets.dumont_password.encode())
        if not (right_email and right_password):
            raise ApiError(401, "Invalid email or password")
        now = int(time.time())
        return jwt.encode({"sub": email, "iat": now, "exp": now + LIFETIME}, self._secrets.jwt_secret, "HS256")

    def user(
        self,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
        cookie: Annotated[str | None, Depends(APIKeyCookie(name=COOKIE, auto_error=False))],
    ) -> str:
        token = bearer.credentials if bearer else cookie or ""
        try:
            claims = jwt.decode(token, self._secrets.jwt_secret, ["HS256"], options={"require": ["exp", "sub"]})
        except jwt.InvalidTokenError:
            raise ApiError(401, "Not authenticated") from None
        return str(claims["sub"])
