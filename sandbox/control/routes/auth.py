"""Logging in and out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field, model_validator

from sandbox.control.auth import COOKIE, Accounts, remember

EMAIL = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"


class Login(BaseModel):
    """The product's pages send `username`, its clients `email`: both are the e-mail address."""

    email: str = Field(pattern=EMAIL)
    password: str = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _either_name(cls, body: Any) -> Any:
        if isinstance(body, dict) and "email" not in body and "username" in body:
            return {**body, "email": body["username"]}
        return body


def router(accounts: Accounts) -> APIRouter:
    routes = APIRouter(prefix="/auth", tags=["auth"])

    @routes.post("/login")
    async def login(body: Login, response: Response) -> dict[str, Any]:
        token = accounts.login(body.email, body.password)
        remember(response, token)
        return {"success": True, "user": body.email, "token": token, "access_token": token}

    @routes.get("/me")
    async def me(user: str = Depends(accounts.user)) -> dict[str, Any]:
        return {"authenticated": True, "user": {"email": user, "username": user, "settings": {}}}

    @routes.post("/logout", dependencies=[Depends(accounts.user)])
    async def logout(response: Response) -> dict[str, Any]:
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return {"success": True, "message": "Logged out successfully"}

    return routes
