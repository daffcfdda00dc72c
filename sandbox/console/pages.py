"""The pages and their files. What stands in them is fetched from the API by the page itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jinja2
from fastapi import APIRouter, Cookie, FastAPI
from fastapi import Request as Asked
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope

from sandbox.console.visitors import is_own_user
from sandbox.control.auth import COOKIE, Accounts, remember

HOME = "/app"
PAGES = {
    "/app": ("dashboard.html", "Dashboard"),
    "/app/machines": ("machines.html", "Minhas Máquinas"),
    "/app/failover-report": ("report.html", "Relatório de Failover"),
}
# Nothing from elsewhere, nothing inline, in no frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

Session = Annotated[str | None, Cookie(alias=COOKIE)]

_HERE = Path(__file__).parent
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI, accounts: Accounts) -> None:
    """Adds the pages to the app that serves the API: one address for both, so one session."""
    app.include_router(_router(accounts), include_in_schema=False)
    app.mount("/static", _Files(directory=_HERE / "static"))


def _router(accounts: Accounts) -> APIRouter:
    routes = APIRouter()

    @routes.get("/")
    async def root() -> Response:
        return RedirectResponse(HOME, 303)

    @routes.get("/login")
    async def login(
        asked: Asked, session: Session = None, auto_login: str = "", after: str = HOME, *, expired: bool = False
    ) -> Response:
        target = after if after.partition("#")[0] in PAGES else HOME
        if auto_login == "demo" and is_own_user(asked):
            response = RedirectResponse(target, 303)
            remember(response, accounts.demo())
            return response
        if accounts.whose(session):
            return RedirectResponse(target, 303)
        return _page("login.html", "Login", target=target, expired=expired, demo_refused=bool(auto_login))

    @routes.get("/app/{_:path}")
    @routes.get("/app")
    async def page(asked: Asked, session: Session = None) -> Response:
        path = asked.url.path.rstrip("/")
        if path not in PAGES:
            return _page("missing.html", "Página não encontrada", 404, path=path, user=accounts.whose(session))
        user = accounts.whose(session)
        if user is None:
            return RedirectResponse(f"/login?after={path}" + ("&expired=true" if session else ""), 303)
        template, title = PAGES[path]
        return _page(template, title, path=path, user=user)

    return routes


def _page(template: str, title: str, status: int = 200, **values: Any) -> Response:
    html = _templates.get_template(template).render(title=title, **values)
    return HTMLResponse(html, status, HEADERS)
