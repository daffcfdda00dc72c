"""The errors of the API and the one envelope in which all of them leave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sandbox import disk_answers
from sandbox.disk_answers import INSUFFICIENT_STORAGE
from sandbox.disk_space import shortage


class ApiError(Exception):
    """A refusal or a failure in words for people, with the HTTP status that says the same to programs.

    `more`: what programs read besides, such as the id of what is in the way. `retry_after`: seconds after which it may
    go well, when somebody has said so.
    """

    def __init__(self, status: int, message: str, *, retry_after: float | None = None, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.more = more


def not_found(instance_id: int) -> ApiError:
    return ApiError(404, f"Instance {instance_id} not found")


def envelope(status: int, message: str, **more: str) -> JSONResponse:
    return JSONResponse({"error": message, "detail": message, **more}, status)


def install(app: FastAPI, state_dir: Path) -> None:
    """Makes every error of the app leave in the envelope.

    What fails while the disk of the state directory is full leaves as 507, which names that disk.
    """

    def failed(status: int, message: str, **more: str) -> JSONResponse:
        if status >= 500 and status != INSUFFICIENT_STORAGE and (words := shortage(state_dir)):
            return envelope(INSUFFICIENT_STORAGE, f"{words} {message}", **more)
        return envelope(status, message, **more)

    disk_answers.install(app, state_dir, lambda words: envelope(INSUFFICIENT_STORAGE, words))

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        answer = failed(error.status, error.message, **error.more)
        if error.retry_after is not None:
            answer.headers["Retry-After"] = f"{error.retry_after:g}"
        return answer

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404 and "endpoint" not in request.scope:  # no route took it
            if request.method not in ("GET", "HEAD"):
                return envelope(405, "Method Not Allowed")
            return envelope(404, f"API endpoint not found: {request.url.path}")
        return envelope(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        details = [_without_password(one) for one in jsonable_encoder(error.errors())]
        return JSONResponse({"error": "Validation error", "details": details}, 422)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        # The server logs the traceback; the caller gets the reason.
        return JSONResponse(
            {"error": "Internal server error", "detail": "Internal server error", "details": str(error)}, 500
        )


def _without_password(detail: dict[str, Any]) -> dict[str, Any]:
    """A validation detail repeats the input; what was typed as a password must not come back, and into logs."""
    value = detail.get("input")
    if "password" in detail["loc"]:
        return {**detail, "input": "<secret>"}
    if isinstance(value, dict) and "password" in value:
        return {**detail, "input": {**value, "password": "<secret>"}}
    return detail
