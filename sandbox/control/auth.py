"""Who may call: one account, a JWT in the Authorization header or in a cookie."""

from __future__ import annotations

import hmac
import time
from typing import Annotated
from urllib.parse import urlsplit

import jwt
from fastapi import Depends, Request, Response
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
        return self._token(email)

    def demo(self) -> str:
        """A token of the one account there is, for a visitor who needs no password."""
        return self._token(self._secrets.dumont_email)

    def _token(self, email: str) -> str:
        now = int(time.time())
        return jwt.encode({"sub": email, "iat": now, "exp": now + LIFETIME}, self._secrets.jwt_secret, "HS256")

    def whose(self, token: str | None) -> str | None:
        """The e-mail in a token; None when it is no good (any more)."""
        try:
            claims = jwt.decode(
                token or "",
                self._secrets.jwt_secret,
                ["HS256"],
                # A clock that is put back must not shut everybody out until it has caught up.
                options={"require": ["exp", "sub"], "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"])

    def user(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
        cookie: Annotated[str | None, Depends(APIKeyCookie(name=COOKIE, auto_error=False))],
    ) -> str:
        if bearer is None and cookie and _comes_from_elsewhere(request):
            raise ApiError(403, "A page of another address may not act with this session")
        email = self.whose(bearer.credentials if bearer else cookie)
        if email is None:
            raise ApiError(401, "Not authenticated")
        return email


def remember(response: Response, token: str) -> None:
    """Lets the browser keep the session, where no script can read it."""
    response.set_cookie(COOKIE, token, max_age=LIFETIME, httponly=True, samesite="strict")


def _comes_from_elsewhere(request: Request) -> bool:
    """Whether a page of another address sent this. To a browser all ports of one host are one site for its cookies."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")
