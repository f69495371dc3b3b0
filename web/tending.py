"""What whoever tends a process asks it: health and metrics, the same for every role."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from web.health import Health
from web.metrics import Metrics


def tending_router(health: Health, metrics: Metrics) -> APIRouter:
    """The routes, without the service's prefix."""
    router = APIRouter()

    @router.api_route("/health", methods=["GET", "HEAD"])
    async def answer_health() -> Response:
        return answer(health)

    @router.api_route("/health/live", methods=["GET", "HEAD"])
    async def answer_live() -> Response:
        # Whoever can say so lives. A database that is away is no reason to end processes.
        return JSONResponse({"ok": True})

    @router.api_route("/health/ready", methods=["GET", "HEAD"])
    async def answer_ready() -> Response:
        return JSONResponse({**health.report(), "ok": health.ready}, 200 if health.ready else 503)

    @router.get("/metrics")
    async def answer_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return router


def answer(health: Health) -> Response:
    """The answer of `/health`."""
    return JSONResponse(health.report(), 200 if health.ok else 503)


def tending_app(base_url: str, health: Health, metrics: Metrics) -> ASGIApp:
    """The application of a process that has no pages."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(tending_router(health, metrics), prefix=base_url.rstrip("/"))

    async def not_found(request: Request, error: Exception) -> Response:
        return PlainTextResponse("Nothing is served here.\n", 404)

    app.add_exception_handler(404, not_found)
    return app
