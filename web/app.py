"""The application: the protocol's routes, with the pages beside them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bindery.errors import BinderyError, InternalError, NetworkBanned, NotFound, RequestRefused
from db.documents import DocumentStore
from db.rates import Rate
from web import documents, doorkeeper, pages
from web.api import Api, api_router, problems
from web.api.routes import PREFIX
from web.browser import browser_of
from web.doorkeeper import Doorkeeper
from web.event_stream import Emit, EventStream
from web.health import Health
from web.intake import Visit
from web.launches import Launches, failed
from web.metrics import Metrics
from web.pages import Pages
from web.visitor import accepts, client_ip, is_operator, launch_host, raw_tail

log = structlog.get_logger(__name__)

_EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Site:
    """What the application is made of. `base_url` begins and ends with a slash."""

    base_url: str
    launches: Launches
    health: Health
    metrics: Metrics
    #: Everything that `/versions` says; equal on all replicas of one version.
    versions: Mapping[str, Any]
    pages: Pages
    documents: DocumentStore
    api: Api
    doorkeeper: Doorkeeper
    operator_token: str
    cors_allow_origin: str = ""
    #: Further pages, each with its own routes.
    routers: Sequence[APIRouter] = ()


def create_app(site: Site) -> ASGIApp:
    """The ASGI application."""
    prefix = site.base_url + PREFIX
    app = FastAPI(
        title="Bindery",
        version=site.api.version,
        description="Builds, logs, sessions and images of this service as records. POST creates, GET only reads.",
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{prefix}openapi.json",
    )
    app.include_router(api_router(site.api), prefix=site.base_url.rstrip("/"))
    app.add_exception_handler(BinderyError, problems.on_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.include_router(_protocol(site), prefix=site.base_url.rstrip("/"), include_in_schema=False)
    app.include_router(documents.router(site.pages, site.documents))
    for router in site.routers:
        app.include_router(router)
    app.include_router(pages.router(site.pages))
    app.add_exception_handler(404, lambda request, error: _not_found(site, request))
    app.add_exception_handler(Exception, lambda request, error: _broken(site, request, error))
    return _Cors(_Ban(app, site), site.cors_allow_origin)


def _not_found(site: Site, request: Request) -> Response:
    if request.url.path.startswith(site.base_url + PREFIX):
        return problems.answer(NotFound("The API has no such address.", hint="See openapi.json."))
    return pages.not_found(site.pages, request)


def _broken(site: Site, request: Request, error: Exception) -> Response:
    incident = secrets.token_hex(4)
    log.error("request.internal_error", path=request.url.path, incident=incident, exc_info=error)
    told = InternalError(f"Something went wrong in Bindery itself (id {incident}).")
    if request.url.path.startswith(site.base_url + PREFIX):
        return problems.answer(told)
    return pages.error_page(site.pages, request, told)


def _protocol(site: Site) -> APIRouter:
    router = APIRouter()

    async def build(request: Request) -> ASGIApp:
        # HEAD comes with GET; whoever only looks at a link must not get a session.
        if request.method != "GET":
            return Response(status_code=405, headers={"Allow": "GET, OPTIONS"})
        visit = _visit(site, request)
        if visit.last_event_id and await site.launches.over(visit):
            return Response(status_code=204)
        refusal, rate = await _admitted(site, request, visit)
        return EventStream(lambda emit: _stream(site, visit, refusal, emit), doorkeeper.headers(rate))

    # A plain route: an event stream is an ASGI application, not one of the framework's responses.
    router.add_route("/build/{provider}/{spec:path}", build, methods=["GET"])  # type: ignore[arg-type]

    @router.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        return JSONResponse(site.health.report(), 200 if site.health.ok else 503)

    @router.get("/versions")
    async def versions() -> Response:
        allowed = {} if site.cors_allow_origin else {"Access-Control-Allow-Origin": "*"}
        return JSONResponse(dict(site.versions), headers=allowed)

    @router.get("/metrics")
    async def metrics() -> Response:
        return Response(site.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/api/repoproviders")
    async def repoproviders() -> Response:
        return JSONResponse([dict(provider.display) for provider in site.launches.intake.resolver.providers.values()])

    return router


def _visit(site: Site, request: Request) -> Visit:
    provider, _, spec = raw_tail(request, f"{site.base_url}build/").partition("/")
    return Visit(
        provider=provider,
        spec=spec.rstrip("/"),
        launch_host=launch_host(request, site.base_url),
        client_ip=client_ip(request),
        operator=is_operator(request, site.operator_token),
        build_only=request.query_params.get("build_only", "").lower() == "true",
        last_event_id=request.headers.get("last-event-id", ""),
        about=request.query_params.get("about", "").lower() == "true",
        opens=request.query_params.get("opens", ""),
        browser=browser_of(request),
    )


async def _admitted(site: Site, request: Request, visit: Visit) -> tuple[BinderyError | None, Rate | None]:
    """Why the visit is refused, if it is, and the client's account, if it is counted."""
    rate = None
    try:
        _check_accept(request)
        if not await site.launches.resumes(visit):
            rate = await site.doorkeeper.admit(request, visit)
        site.doorkeeper.refuse_if_exceeded(rate)
    except BinderyError as error:
        return error, rate
    return None, rate


async def _stream(site: Site, visit: Visit, refusal: BinderyError | None, emit: Emit) -> None:
    if refusal is not None:
        await emit(failed(refusal))
        return
    log.info("launch.requested", request=visit.request, client=visit.client_ip, resumed=bool(visit.last_event_id))
    await site.launches.stream(visit, emit)


def _check_accept(request: Request) -> None:
    if not accepts(request, _EVENT_STREAM):
        raise RequestRefused(f"Missing Accept header: {_EVENT_STREAM}", hint=f"Send the header Accept: {_EVENT_STREAM}")


#: What even banned networks get, below the service's address: what monitors ask, and what error pages show.
_FOR_ALL = ("health", "versions", "static/", "badge", "assets/", "favicon", "logo_social.png")


class _Ban:
    """Refuses clients of banned networks before anything else, in the form that each route answers in."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self._app = app
        self._site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._app
        if scope["type"] == "http" and self._site.doorkeeper.banned:
            answer = self._refusal(Request(scope)) or answer
        await answer(scope, receive, send)

    def _refusal(self, request: Request) -> ASGIApp | None:
        path = request.url.path.removeprefix(self._site.base_url)
        if path.startswith(_FOR_ALL):
            return None
        try:
            self._site.doorkeeper.check_network(client_ip(request))
        except NetworkBanned as error:
            event = failed(error)
            if path.startswith("build/"):
                return EventStream(lambda emit: emit(event), {})
            if path.startswith(PREFIX):
                return problems.answer(error)
            return pages.error_page(self._site.pages, request, error)
        return None


class _Cors:
    """Cross-origin headers on everything that the application itself answers (protocol page 1)."""

    def __init__(self, app: ASGIApp, allow_origin: str) -> None:
        self._app = app
        self._headers = [(b"access-control-allow-headers", b"cache-control, last-event-id")]
        if allow_origin:
            self._headers.append((b"access-control-allow-origin", allow_origin.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: ASGIApp = self._app
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            answer = Response()

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        await answer(scope, receive, with_headers)
