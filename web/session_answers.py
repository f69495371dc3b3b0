"""What visitors of a session read when its server does not answer: that it has ended, never was, or is busy."""

from __future__ import annotations

import json
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from bindery.errors import BinderyError, NotFound, SessionGone, SessionUnavailable
from web.languages import N_
from web.session_routes import SessionRoutes
from web.shell import Ended, Pages, error_page, gone_page


@dataclass(frozen=True)
class SessionAnswers:
    """The traffic's pages. `languages` is the Accept-Language header of whoever wants HTML; others get JSON."""

    pages: Pages
    routes: SessionRoutes

    def gone(self, name: str, languages: str | None) -> tuple[str, bytes]:
        """The session has ended."""
        if languages is None:
            return _json(SessionGone("The session has ended."))
        return _html(gone_page(self.pages, _request(languages), self.routes.gone.get(name, Ended())))

    def unknown(self, name: str, languages: str | None) -> tuple[str, bytes]:
        """There never was such a session, or it is forgotten."""
        error = NotFound(
            N_("There is no session of this name."),
            hint=N_("It may have ended long ago. Its repository's link starts a new one."),
        )
        return self._error(error, languages)

    def unavailable(self, name: str, languages: str | None) -> tuple[str, bytes]:
        """The session runs, and its server does not answer at the moment."""
        error = SessionUnavailable(
            N_("The session's server does not answer at the moment."), hint=N_("Try again in a few seconds.")
        )
        return self._error(error, languages)

    def _error(self, error: BinderyError, languages: str | None) -> tuple[str, bytes]:
        if languages is None:
            return _json(error)
        return _html(error_page(self.pages, _request(languages), error, scripts=False))


def _request(languages: str) -> Request:
    """As much of a request as these pages look at: its language."""
    headers = [(b"accept-language", languages.encode("latin-1", errors="replace"))]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers})


def _json(error: BinderyError) -> tuple[str, bytes]:
    return "application/json", json.dumps({"code": error.code, "message": error.message}).encode()


def _html(page: Response) -> tuple[str, bytes]:
    return "text/html; charset=utf-8", bytes(page.body)
