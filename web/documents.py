"""Documents on a page of their own, which the launch page frames: boxed in, as strangers wrote them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from db.documents import DocumentStore
from web.languages import language_of
from web.shell import Pages, not_found, template

#: A document runs nothing, asks for nothing, and is of no origin; its links open in windows of their own.
_POLICY = (
    "default-src 'none'",
    "style-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
    "sandbox allow-popups allow-popups-to-escape-sandbox",
)
_HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex, nofollow",
    # A document is of one commit's file: it never changes.
    "Cache-Control": "private, max-age=86400",
}


def router(pages: Pages, store: DocumentStore) -> APIRouter:
    """The route of documents, below the pages' base address."""
    routes = APIRouter()

    async def document(request: Request) -> Response:
        found = await store.get(request.path_params["key"])
        if found is None:
            return not_found(pages, request)
        text = template("document.html", language_of(request)).render(pages=pages, path=found.path, html=found.html)
        return HTMLResponse(text, headers=_HEADERS)

    routes.add_route(f"{pages.base_url}documents/{{key}}", document, methods=["GET"])
    return routes
