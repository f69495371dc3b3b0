"""The route of event streams, `/build/<provider>/<spec>`: who may have one, and its headers."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from bindery.errors import BinderyError, InternalError, RequestRefused
from db.rates import Rate
from web import doorkeeper
from web.browser import browser_of
from web.cross_origin import CrossOrigin
from web.doorkeeper import Doorkeeper
from web.event_stream import Emit, EventStream
from web.intake import Visit
from web.launches import Launches, failed
from web.turns import Turn, Turns
from web.visitor import accepts, client_ip, is_operator, launch_host, origins, raw_tail

log = structlog.get_logger(__name__)

_EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Streams:
    """Answers requests for event streams. Refusals are events too: a browser shows nothing else of a stream."""

    base_url: str
    launches: Launches
    doorkeeper: Doorkeeper
    operator_token: str
    cross_origin: CrossOrigin = field(default_factory=CrossOrigin)
    turns: Turns = field(default_factory=Turns)

    def asked_for(self, request: Request) -> bool:
        """Whether a request's path is a stream's."""
        provider, _, spec = raw_tail(request, f"{self.base_url}build/").partition("/")
        return bool(provider and spec)

    async def answer(self, request: Request) -> ASGIApp:
        """The answer to a request whose path is a stream's."""
        headers = self.cross_origin.headers(request)
        # Whoever only looks at a link must not get a session.
        if request.method != "GET":
            return Response(status_code=405, headers={"Allow": "GET, OPTIONS", **headers})
        visit = self._visit(request)
        turn = await self.turns.take()
        if visit.last_event_id and await self.launches.over(visit):
            return Response(status_code=204, headers=dict(headers))
        refusal, rate = await self._admitted(request, visit)
        headers = {**headers, **doorkeeper.headers(rate)}
        if refusal is None:
            return EventStream(lambda emit: self._stream(visit, turn, emit), headers)
        return refused(refusal, headers)

    def _visit(self, request: Request) -> Visit:
        provider, _, spec = raw_tail(request, f"{self.base_url}build/").partition("/")
        return Visit(
            provider=provider,
            spec=spec.rstrip("/"),
            launch_host=launch_host(request, self.base_url),
            client_ip=client_ip(request),
            operator=is_operator(request, self.operator_token),
            build_only=request.query_params.get("build_only", "").lower() == "true",
            last_event_id=request.headers.get("last-event-id", ""),
            about=request.query_params.get("about", "").lower() == "true",
            opens=request.query_params.get("opens", ""),
            browser=browser_of(request),
            origins=origins(request),
        )

    async def _admitted(self, request: Request, visit: Visit) -> tuple[BinderyError | None, Rate | None]:
        """Why the visit is refused, if it is, and the client's account, if it is counted."""
        rate = None
        try:
            _check_accept(request)
            if not await self.launches.resumes(visit):
                rate = await self.doorkeeper.admit(request, visit)
            self.doorkeeper.refuse_if_exceeded(rate)
        except BinderyError as error:
            return error, rate
        except Exception:
            incident = secrets.token_hex(4)
            log.exception("launch.internal_error", incident=incident)
            return InternalError(f"Something went wrong in Bindery itself (id {incident})."), rate
        return None, rate

    async def _stream(self, visit: Visit, turn: Turn, emit: Emit) -> None:
        async def emit_in_turn(chunk: bytes) -> None:
            turn.end()
            await emit(chunk)

        log.info("launch.requested", request=visit.request, client=visit.client_ip, resumed=bool(visit.last_event_id))
        await self.launches.stream(visit, emit_in_turn)


def refused(error: BinderyError, headers: Mapping[str, str]) -> ASGIApp:
    """A stream of one event that says why there is no more."""
    event = failed(error)
    after = error.retry_after_seconds
    retry = {} if after is None else {"retry-after": str(math.ceil(after))}
    return EventStream(lambda emit: emit(event), {**headers, **retry})


def _check_accept(request: Request) -> None:
    if not accepts(request, _EVENT_STREAM):
        raise RequestRefused(f"Missing Accept header: {_EVENT_STREAM}", hint=f"Send the header Accept: {_EVENT_STREAM}")
