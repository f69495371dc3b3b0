"""The API's routes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from bindery.errors import NotAllowed, NotFound
from db.builds import Build
from db.sessions import Session
from web.api.link_routes import add_links
from web.api.models import BuildRecord, Diagnosis, Image, PlanRecord, Problem, SessionRecord, Status, Wish
from web.browser import CLIENT_HEADER, client_of
from web.diagnoses import Diagnoses, report_url
from web.doorkeeper import Doorkeeper
from web.event_stream import EventStream
from web.health import Health
from web.intake import Visit
from web.launches import Launches
from web.preview import Understood
from web.service_report import Reporter
from web.visitor import client_ip, is_operator, launch_host, origins

PREFIX = "api/v1/"

#: How many sessions of one client are listed.
MOST_LISTED = 100
_CLIENT = "a secret of your own, 32 to 64 letters, digits, - and _, that was sent when the sessions were created"

_PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}


@dataclass(frozen=True)
class Api:
    """What the API works on. `base_url` begins and ends with a slash."""

    base_url: str
    launches: Launches
    health: Health
    version: str
    operator_token: str
    doorkeeper: Doorkeeper
    diagnoses: Diagnoses
    reporter: Reporter
    understood: Callable[[Request, Visit], Awaitable[Understood]]

    def address(self, request: Request) -> str:
        """The API's own address, as the client wrote it."""
        return launch_host(request, self.base_url) + PREFIX

    async def counted(self, request: Request, wish: Wish) -> Visit:
        """The wish, counted like a request for the event stream. Raises `RateLimitExceeded`."""
        visit = self.visit(request, wish)
        self.doorkeeper.refuse_if_exceeded(await self.doorkeeper.admit(request, visit))
        return visit

    def visit(self, request: Request, wish: Wish) -> Visit:
        """The wish as a request for the event stream would say it."""
        return Visit(
            provider=wish.provider,
            spec=wish.spec.rstrip("/"),
            launch_host=launch_host(request, self.base_url),
            client_ip=client_ip(request),
            operator=is_operator(request, self.operator_token),
            origins=origins(request),
            browser=client_of(request),
        )

    def only_operator(self, request: Request) -> None:
        """Raise `NotAllowed` for everybody else."""
        if not is_operator(request, self.operator_token):
            raise NotAllowed("Only the operator of this service may do that.")


def api_router(api: Api) -> APIRouter:
    """All routes, below the service's prefix."""
    router = APIRouter(prefix="/" + PREFIX.rstrip("/"), responses=_PROBLEMS)
    _builds(router, api)
    _sessions(router, api)
    _plans(router, api)
    _service(router, api)
    add_links(router, api.base_url, api.launches.intake.resolver.providers)
    return router


def _builds(router: APIRouter, api: Api) -> None:
    launches = api.launches

    @router.post("/builds", status_code=201, tags=["builds"])
    async def create_build(request: Request, wish: Wish, response: Response) -> BuildRecord:
        """Ask for an image: begins its build, or finds the one that runs or made it."""
        build = await launches.intake.request_build(await api.counted(request, wish))
        record = BuildRecord.of(build, api.address(request))
        response.headers["Location"] = f"{api.address(request)}builds/{build.id}"
        return record

    @router.get("/builds/{build_id}", tags=["builds"])
    async def read_build(request: Request, build_id: str) -> BuildRecord:
        """A build's record; it is kept after the build has ended."""
        return BuildRecord.of(await _build(api, build_id), api.address(request))

    @router.post("/builds/{build_id}/cancel", status_code=202, tags=["builds"])
    async def cancel_build(request: Request, build_id: str) -> BuildRecord:
        """Cancel a build for everybody who waits for it; for the operator. Visitors end their own session instead."""
        api.only_operator(request)
        build = await _build(api, build_id)
        await launches.builds.cancel(build.id)
        return BuildRecord.of(await _build(api, build_id), api.address(request))

    @router.get("/builds/{build_id}/diagnosis", tags=["builds"])
    async def read_diagnosis(request: Request, build_id: str) -> Diagnosis:
        """Why a build failed, in plain words: the lines of its log that matter, and what helps."""
        build = await _build(api, build_id)
        if (failure := build.failure) is None:
            raise NotFound("This build has not failed.", hint="Its record says what it does.")
        found = await api.diagnoses.of(build, failure)
        service = launch_host(request, api.base_url)
        link, log_page = f"{service}v2/{build.provider}/{build.spec}", f"{service}builds/{build.id}"
        return Diagnosis.of(found, report_url(build, failure, found, link, log_page))

    @router.get("/builds/{build_id}/log", tags=["builds"], response_class=Response)
    async def read_log(build_id: str, after: Annotated[int, Query(ge=0, le=10**9)] = 0) -> Response:
        """A build's log as text, from event number `after` + 1 on, as far as it has come."""
        build = await _build(api, build_id)
        return StreamingResponse(_text(api, build, after), media_type="text/plain; charset=utf-8")

    async def read_events(request: Request) -> ASGIApp:
        build = await _build(api, request.path_params["build_id"])
        last = request.headers.get("last-event-id", "")
        return EventStream(lambda emit: launches.watch_build(build, last, emit), {})

    events = f"{router.prefix}/builds/{{build_id}}/events"
    router.add_route(events, read_events, methods=["GET"], include_in_schema=False)  # type: ignore[arg-type]


def _sessions(router: APIRouter, api: Api) -> None:
    launches = api.launches

    @router.post("/sessions", status_code=201, tags=["sessions"])
    async def create_session(
        request: Request,
        wish: Wish,
        response: Response,
        client: Annotated[str | None, Header(alias=CLIENT_HEADER, description=_CLIENT)] = None,
    ) -> SessionRecord:
        """Ask for a session; its image is built first if need be. Ask again for the record until it is ready."""
        session = await launches.intake.request_session(await api.counted(request, wish))
        response.headers["Location"] = f"{api.address(request)}sessions/{session.id}"
        return SessionRecord.of(session)

    @router.get("/sessions", tags=["sessions"])
    async def list_sessions(
        request: Request,
        client: Annotated[str | None, Header(alias=CLIENT_HEADER, description=_CLIENT)] = None,
    ) -> list[SessionRecord]:
        """Your sessions that have not ended, the newest first; all of them for the operator, without their tokens."""
        if mine := client_of(request):
            rows = await launches.sessions.of_browser(mine, MOST_LISTED)
            return [SessionRecord.of(row) for row in rows if not row.ended]
        if not is_operator(request, api.operator_token):
            raise NotAllowed("Whose sessions to list is not said.", hint=f"Send the header {CLIENT_HEADER}: {_CLIENT}")
        rows = (await launches.sessions.unfinished())[::-1]
        return [SessionRecord.of(row).model_copy(update={"token": None}) for row in rows]

    @router.get("/sessions/{session_id}", tags=["sessions"])
    async def read_session(session_id: str) -> SessionRecord:
        """A session's record. Asking counts as waiting: a session that nobody waits for is not started."""
        session = await _session(api, session_id)
        if not session.ended:
            await launches.sessions.watched([session.id], launches.clock())
        return SessionRecord.of(session)

    @router.delete("/sessions/{session_id}", status_code=202, tags=["sessions"])
    async def stop_session(session_id: str) -> SessionRecord:
        """End a session. A build that nobody else waits for is cancelled."""
        await launches.stop(await _session(api, session_id), "It was ended by its visitor.")
        return SessionRecord.of(await _session(api, session_id))


def _plans(router: APIRouter, api: Api) -> None:
    pending: dict[int | str, dict[str, Any]] = {
        202: {"model": PlanRecord, "description": "The plan is being made: ask again."}
    }

    @router.post("/plans", tags=["plans"], responses=pending)
    async def read_plan(request: Request, wish: Wish, response: Response) -> PlanRecord:
        """What a build would do, without building. After 202 ask again: the plan of a new commit takes a moment."""
        found = await api.understood(request, api.visit(request, wish))
        if found.plan is None and found.failure is None:
            response.status_code = 202
            response.headers["Retry-After"] = "3"
        return PlanRecord.of(found)


def _service(router: APIRouter, api: Api) -> None:
    @router.get("/images", tags=["service"])
    async def list_images(request: Request) -> list[Image]:
        """All images, the last used first; for the operator."""
        api.only_operator(request)
        return [Image.of(record) for record in await api.launches.intake.images.all()]

    @router.get("/status", tags=["service"])
    async def read_status() -> Status:
        """The service at a glance, at most a few seconds old."""
        report = await api.reporter.report()
        return Status(version=api.version, **report.to_dict(api.reporter.settings))


async def _text(api: Api, build: Build, after: int) -> AsyncIterator[str]:
    while rows := await api.launches.builds.events(build.id, after):
        after = rows[-1].seq
        yield "".join(json.loads(row.payload).get("message", "") for row in rows)


async def _build(api: Api, build_id: str) -> Build:
    build = await api.launches.builds.get(build_id)
    if build is None:
        raise NotFound("There is no such build.")
    return build


async def _session(api: Api, session_id: str) -> Session:
    session = await api.launches.sessions.get(session_id)
    if session is None:
        raise NotFound("There is no such session.")
    return session
