"""The application: the protocol's routes, with the pages beside them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from bindery.errors import BinderyError, InternalError, MethodRefused, NotFound, RequestRefused
from db.documents import DocumentStore
from web import api_page, documents, pages
from web.api import Api, api_router, problems
from web.api.description import describe
from web.api.routes import PREFIX
from web.cross_origin import CrossOrigin
from web.doorkeeper import Doorkeeper
from web.front import Front
from web.health import Health
from web.launches import Launches
from web.metrics import Metrics
from web.pages import Pages
from web.streams import Streams
from web.tending import tending_router

log = structlog.get_logger(__name__)


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
    cross_origin: CrossOrigin
    #: Further pages, each with its own routes.
    routers: Sequence[APIRouter] = ()


def create_app(site: Site) -> ASGIApp:
    """The ASGI application."""
    prefix = site.base_url + PREFIX
    app = FastAPI(
        title="Bindery",
        version=site.api.version,
        docs_url=None,
        redoc_url=None,
        openapi_url=f"{prefix}openapi.json",
    )
    app.openapi = cache(lambda: describe(app, prefix))  # type: ignore[method-assign]
    app.include_router(api_router(site.api), prefix=site.base_url.rstrip("/"))
    app.add_exception_handler(BinderyError, problems.on_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.include_router(_protocol(site), prefix=site.base_url.rstrip("/"), include_in_schema=False)
    app.include_router(api_page.router(site.pages, prefix, app.openapi))
    app.include_router(documents.router(site.pages, site.documents))
    for router in site.routers:
        app.include_router(router)
    app.include_router(pages.router(site.pages))
    app.add_exception_handler(400, lambda request, error: _unreadable(site, request))
    app.add_exception_handler(404, lambda request, error: _not_found(site, request))
    app.add_exception_handler(405, lambda request, error: _refused(site, request, error))
    app.add_exception_handler(Exception, lambda request, error: _broken(site, request, error))
    streams = Streams(site.base_url, site.launches, site.doorkeeper, site.operator_token, site.cross_origin)
    return Front(app, streams, site.pages, site.health, site.cross_origin)


def _unreadable(site: Site, request: Request) -> Response:
    told = RequestRefused("The request cannot be read.", hint="Send text in UTF-8.")
    if request.url.path.startswith(site.base_url + PREFIX):
        return problems.answer(told)
    return pages.error_page(site.pages, request, told)


def _not_found(site: Site, request: Request) -> Response:
    if request.url.path.startswith(site.base_url + PREFIX):
        return problems.answer(NotFound("The API has no such address.", hint="See openapi.json."))
    return pages.not_found(site.pages, request)


def _refused(site: Site, request: Request, error: Exception) -> Response:
    told = MethodRefused("This address is not asked in this way.")
    if request.url.path.startswith(site.base_url + PREFIX):
        answer = problems.answer(told)
    else:
        answer = pages.error_page(site.pages, request, told)
    # Which ways there are.
    answer.headers.update(getattr(error, "headers", None) or {})
    return answer


def _broken(site: Site, request: Request, error: Exception) -> Response:
    incident = secrets.token_hex(4)
    log.error("request.internal_error", path=request.url.path, incident=incident, exc_info=error)
    told = InternalError(f"Something went wrong in Bindery itself (id {incident}).")
    if request.url.path.startswith(site.base_url + PREFIX):
        return problems.answer(told)
    return pages.error_page(site.pages, request, told)


def _protocol(site: Site) -> APIRouter:
    router = APIRouter()

    router.include_router(tending_router(site.health, site.metrics))

    @router.get("/versions")
    async def versions() -> Response:
        return JSONResponse(dict(site.versions), headers={"Access-Control-Allow-Origin": "*"})

    @router.get("/api/repoproviders")
    async def repoproviders() -> Response:
        return JSONResponse([dict(provider.display) for provider in site.launches.intake.resolver.providers.values()])

    return router
