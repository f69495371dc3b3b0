"""What stands before all routes: cross-origin headers, banned networks, and the ways to event streams and health.

These do not go through the framework: its layers would wrap every chunk that each of thousands of viewers gets, and
keep monitors waiting meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bindery.errors import NetworkBanned
from web import pages, tending
from web.api import problems
from web.api.routes import PREFIX
from web.cross_origin import CrossOrigin
from web.health import Health
from web.pages import Pages
from web.streams import Streams, refused
from web.visitor import client_ip

#: What even banned networks get, below the service's address: what monitors ask, and what error pages show.
_FOR_ALL = ("health", "versions", "static/", "badge", "assets/", "favicon", "logo_social.png")

#: What only a preflight asks for: which methods, and for how many seconds the answer holds.
_PREFLIGHT = {"access-control-allow-methods": "GET, HEAD, POST, DELETE, OPTIONS", "access-control-max-age": "600"}


@dataclass(frozen=True)
class Front:
    """The outermost application."""

    app: ASGIApp
    streams: Streams
    pages: Pages
    health: Health
    cross_origin: CrossOrigin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        answer, complete = await self._answer(request)
        await answer(scope, receive, send if complete else _with_headers(send, self.cross_origin.headers(request)))

    async def _answer(self, request: Request) -> tuple[ASGIApp, bool]:
        """The application that answers, and whether its answer has all headers already."""
        if request.method == "OPTIONS":
            return Response(headers={**self.cross_origin.headers(request), **_PREFLIGHT}), True
        if request.method in ("GET", "HEAD") and request.url.path == f"{self.streams.base_url}health":
            return tending.answer(self.health), False
        if banned := self._banned(request):
            return banned, False
        if self.streams.asked_for(request):
            return await self.streams.answer(request), True
        return self.app, False

    def _banned(self, request: Request) -> ASGIApp | None:
        """The refusal of a client of a banned network, in the form in which each route answers."""
        path = request.url.path.removeprefix(self.streams.base_url)
        try:
            if not path.startswith(_FOR_ALL):
                self.streams.doorkeeper.check_network(client_ip(request))
        except NetworkBanned as error:
            if path.startswith("build/"):
                return refused(error, {})
            return problems.answer(error) if path.startswith(PREFIX) else pages.error_page(self.pages, request, error)
        return None


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Add the headers to an answer, apart from those that it has; who may read it can be its own to say."""

    async def with_headers(message: Any) -> None:
        if message["type"] == "http.response.start":
            # What an answer varies by adds up.
            own = {name for name, _ in message["headers"]} - {b"vary"}
            more = [(name.encode(), value.encode()) for name, value in headers.items()]
            message["headers"] = [*message["headers"], *(each for each in more if each[0] not in own)]
        await send(message)

    return with_headers
