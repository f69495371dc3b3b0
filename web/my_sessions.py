"""The sessions of the browser that asks: how long they have left, the way back, and their end."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bindery.errors import NotAllowed, RequestRefused
from bindery.settings import SessionSettings
from db.sessions import Session, SessionStore
from db.states import SessionState
from launcher.decisions import ends_at, oldest_at
from web import browser, links
from web.languages import N_
from web.launches import Launches
from web.shell import Pages, error_page, render
from web.wording import short_address

#: How many sessions of one browser are listed.
MOST = 30
_LONGEST_FORM = 1000


_REFUSAL = NotAllowed(
    N_("Only your own browser may see and end your sessions."),
    hint=N_("Open the page by its link, in the browser that launched them."),
)


@dataclass(frozen=True)
class Listed:
    """A session as its visitor sees it. `ends_at` is when it will be ended unless it is used; `proof` lets it stop."""

    row: Session
    title: str
    relaunch: str
    url: str
    ends_at: float | None
    at_last: float | None
    proof: str


@dataclass(frozen=True)
class MySessions:
    """What the page works with."""

    pages: Pages
    sessions: SessionStore
    launches: Launches
    limits: SessionSettings

    async def show(self, request: Request) -> Response:
        """The list. A session's own scripts, which share this origin, do not get it: it has the sessions' tokens."""
        if request.headers.get("sec-fetch-dest", "document") != "document":
            return error_page(self.pages, request, _REFUSAL)
        mine = browser.browser_of(request)
        rows = await self.sessions.of_browser(mine, MOST) if mine else []
        secret = browser.secret_of(request)
        listed = [self._listed(row, secret) for row in rows]
        return render(
            self.pages,
            request,
            "sessions.html",
            running=[each for each in listed if not each.row.ended],
            ended=[each for each in listed if each.row.ended],
            limits=self.limits,
            now=self.launches.clock(),
            stopped=request.query_params.get("stopped", ""),
        )

    async def stop(self, request: Request) -> Response:
        """End a session that the list showed."""
        form = await _form(request)
        name, given = form.get("session", ""), form.get("proof", "")
        own = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
        if not own or not browser.proven(browser.secret_of(request), name, given):
            return error_page(self.pages, request, _REFUSAL)
        row = await self.sessions.named(name)
        if row is not None and not row.ended:
            await self.launches.stop(row, "It was ended by its visitor.")
        return RedirectResponse(f"{self.pages.base_url}sessions?stopped=1", status_code=303)

    def _listed(self, row: Session, secret: str) -> Listed:
        ready = row.state is SessionState.READY
        return Listed(
            row=row,
            title=short_address(row.request.get("repo_url", "")) or row.name,
            relaunch=row.request.get("binder_request", ""),
            url=links.join_session(row.url, row.token, "") if ready else "",
            ends_at=ends_at(row, self.limits) if ready else None,
            at_last=oldest_at(row, self.limits) if ready else None,
            proof=browser.proof(secret, row.name),
        )


def router(page: MySessions) -> APIRouter:
    """The page's routes."""
    routes = APIRouter()
    routes.add_route(f"{page.pages.base_url}sessions", page.show, methods=["GET"])
    routes.add_route(f"{page.pages.base_url}sessions/stop", page.stop, methods=["POST"])
    return routes


async def _form(request: Request) -> dict[str, str]:
    """A small form's fields; a larger one is none of ours."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            raise RequestRefused("The form is too long.")
    fields = parse_qs(body.decode("utf-8", errors="replace"))
    return {name: values[0] for name, values in fields.items()}
