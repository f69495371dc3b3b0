"""The way to a session's server when memory does not know it, or no connection is open."""

from __future__ import annotations

import asyncio
import logging

from web.traffic.answers import Answer, plain
from web.traffic.routes import Gone, Route
from web.traffic.traffic import Traffic
from web.traffic.upstream import Upstream

log = logging.getLogger(__name__)


class Unreachable(Exception):
    """The session's server cannot be reached; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


async def reach(traffic: Traffic, name: str, route: Route | None, *, languages: str | None) -> Upstream:
    """A new connection to the session's server; raises `Unreachable`.

    A route that memory knows and that does not answer is asked for once more: the session may have ended, or moved.
    """
    if route is not None:
        upstream = await _connect(traffic, route)
        if upstream is not None:
            return upstream
    found = await _resolve(traffic, name)
    if isinstance(found, Route) and found != route:
        upstream = await _connect(traffic, found)
        if upstream is not None:
            return upstream
    raise Unreachable(_answer(traffic, name, found, languages=languages))


async def _connect(traffic: Traffic, route: Route) -> Upstream | None:
    try:
        return await traffic.pool.connect(route.address)
    except (OSError, TimeoutError) as error:
        log.info("session server refused at %s: %s", route.address, str(error) or type(error).__name__)
        return None


async def _resolve(traffic: Traffic, name: str) -> Route | Gone | None:
    try:
        async with asyncio.timeout(traffic.limits.connect_seconds):
            return await traffic.routes.resolve(name)
    except TimeoutError:
        raise Unreachable(plain(503)) from None
    except Exception:
        log.exception("cannot look up session %s", name)
        raise Unreachable(plain(503)) from None


def _answer(traffic: Traffic, name: str, found: Route | Gone | None, *, languages: str | None) -> Answer:
    if found is None:
        status, page = 404, traffic.unknown_page
    elif isinstance(found, Gone):
        status, page = 424, traffic.gone_page
    else:
        status, page = 503, traffic.unavailable_page
    content_type, body = page(name, languages)
    return Answer(status, content_type, body, traffic.page_headers)
