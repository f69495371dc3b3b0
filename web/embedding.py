"""What other sites show of this one: the button's script, the page in a frame, and oEmbed (oembed.com)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bindery.errors import BinderyError, FormatNotOffered, NotFound, PathRefused, RequestRefused
from web import links
from web.api import problems
from web.pasted import matches
from web.shell import Pages, not_found, render
from web.visitor import raw_tail

#: Size of the frame and of the badge, in pixels.
FRAME = (600, 260)
BADGE = (115, 20)
_CACHE_SECONDS = 3600
_SIZE = re.compile(r"[1-9][0-9]{0,5}")
#: Anybody may read what is public anyway.
_OPEN = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


@dataclass(frozen=True)
class Embedding:
    """What the routes need. `frame_ancestors` are the sites that may show frames of ours."""

    pages: Pages
    frame_ancestors: Sequence[str] = ()

    async def script(self, request: Request) -> Response:
        """`embed.js`."""
        answer = self.pages.files["embed.js"].answer(request, f"public, max-age={_CACHE_SECONDS}")
        answer.headers.update(_OPEN)
        return answer

    async def frame(self, request: Request) -> Response:
        """The button alone on a page, for frames."""
        tail = raw_tail(request, f"{self.pages.base_url}embed/")
        link = f"{self.pages.public(request)}v2/{tail}" + (f"?{request.url.query}" if request.url.query else "")
        found = self._named(request, link)
        if found is None:
            return not_found(self.pages, request)
        answer = render(self.pages, request, "embed.html", link=link, repo=found.repo)
        policy = answer.headers["Content-Security-Policy"]
        ancestors = " ".join(["'self'", *self.frame_ancestors])
        answer.headers["Content-Security-Policy"] = re.sub(
            r"frame-ancestors [^;]*", f"frame-ancestors {ancestors}", policy
        )
        return answer

    async def oembed(self, request: Request) -> Response:
        """How a link of ours is shown by a site that somebody pastes it into."""
        try:
            answer = self._described(request)
        except BinderyError as error:
            refused = problems.answer(error)
            refused.headers.update(_OPEN)
            return refused
        return JSONResponse(answer, headers={**_OPEN, "Cache-Control": f"public, max-age={_CACHE_SECONDS}"})

    def _described(self, request: Request) -> dict[str, Any]:
        query = request.query_params
        if query.get("format", "json") != "json":
            raise FormatNotOffered("This service describes its links as JSON only.", hint="Leave format out.")
        limits = _limit(query, "maxwidth"), _limit(query, "maxheight")
        if not query.get("url"):
            raise RequestRefused("The address to describe is missing.", hint="Give it as url=...")
        found = self._named(request, query["url"])
        if found is None:
            raise NotFound(
                "That is no launch link of this service.", hint=f"They begin with {self.pages.public(request)}v2/"
            )
        return self._answer(request, found, limits)

    def _answer(self, request: Request, found: _Named, limits: tuple[int | None, int | None]) -> dict[str, Any]:
        public = self.pages.public(request)
        size = FRAME if self.frame_ancestors else BADGE
        width, height = (min(own, limit or own) for own, limit in zip(size, limits, strict=True))
        title = f"Run {found.repo}" if found.repo else "Run this repository"
        html = _frame(public, found, title) if self.frame_ancestors else _badge(public, found, title)
        return {
            "version": "1.0",
            "type": "rich",
            "title": title,
            "provider_name": self.pages.presentation.name,
            "provider_url": public,
            "cache_age": _CACHE_SECONDS,
            "thumbnail_url": f"{public}logo_social.png",
            "thumbnail_width": 1200,
            "thumbnail_height": 630,
            "html": html.format(width=width, height=height),
            "width": width,
            "height": height,
        }

    def _named(self, request: Request, url: str) -> _Named | None:
        """What a link of this service names; None for any other address, and for links that could not be launched."""
        start = re.sub(r"^https?", "https?", re.escape(self.pages.public(request)) + "v2/")
        found = re.fullmatch(
            rf"{start}(?P<tail>(?P<id>[^/?#]+)/(?P<spec>[^?#]+?)/*(?:\?(?P<query>[^#]*))?)(?:#.*)?", url
        )
        provider = self.pages.provider(found["id"]) if found else None
        if not found or provider is None or not matches(provider["spec"]["validateRegex"], found["spec"]):
            return None
        try:
            links.open_path(dict(parse_qsl(found["query"] or "")))
        except PathRefused:
            return None
        return _Named(found["tail"], links.shown(found["spec"], provider)[0])


@dataclass(frozen=True)
class _Named:
    #: What follows `v2/`, query and all.
    tail: str
    repo: str


def _frame(public: str, found: _Named, title: str) -> str:
    address = _literal(f"{public}embed/{found.tail}")
    return (
        f'<iframe src="{address}" width="{{width}}" height="{{height}}" title="{_literal(title)}"'
        ' loading="lazy" style="border:0;max-width:100%"></iframe>'
    )


def _badge(public: str, found: _Named, title: str) -> str:
    picture = (
        f'<img src="{_literal(public)}badge_logo.svg" alt="{_literal(title)}" width="{{width}}" height="{{height}}">'
    )
    return f'<a href="{_literal(f"{public}v2/{found.tail}")}" target="_blank" rel="noopener">{picture}</a>'


def _literal(text: str) -> str:
    """The text in an attribute of a template for `str.format`."""
    return escape(text).replace("{", "{{").replace("}", "}}")


def _limit(query: Mapping[str, str], name: str) -> int | None:
    given = query.get(name)
    if given is None:
        return None
    if not _SIZE.fullmatch(given):
        raise RequestRefused(f"{name} is not a number of pixels: {given[:40]}", hint=f"Leave {name} out, or give one.")
    return int(given)


def router(embedding: Embedding) -> APIRouter:
    """The routes."""
    base = embedding.pages.base_url
    routes = APIRouter()
    routes.add_route(f"{base}embed.js", embedding.script, methods=["GET"])
    routes.add_route(f"{base}embed/{{provider}}/{{spec:path}}", embedding.frame, methods=["GET"])
    routes.add_route(f"{base}oembed", embedding.oembed, methods=["GET"])
    return routes
