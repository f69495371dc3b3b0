"""The shell of every page: what pages know of the service, their common head and policy, and the pages of errors."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bindery.errors import BinderyError
from web import assets, links

FAVICONS = ("building", "success", "fail")

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Recent:
    """A repository that was launched here lately; `path` is its link below the service's address."""

    title: str
    path: str


@dataclass(frozen=True)
class Pages:
    """What the pages need to know of the service.

    `providers` are the display configurations of `/api/repoproviders`. `public_url` is the address that shared links
    and badges begin with (empty: as the request came). `homes` maps a provider's id to the address that the names of
    its repositories are appended to. `build_token` makes the token of one `<provider>/<spec>`.
    """

    providers: Sequence[links.Provider]
    base_url: str = "/"
    version: str = ""
    public_url: str = ""
    notice: str = ""
    homes: Mapping[str, str] = field(default_factory=dict)
    recent: Callable[[], Sequence[Recent]] = tuple
    build_token: Callable[[Request, str], str] | None = None
    refusal: Callable[[str, str], BinderyError | None] = lambda provider, spec: None
    files: Mapping[str, assets.Asset] = field(default_factory=assets.load)

    def provider(self, name: str) -> links.Provider | None:
        """The display configuration of a link's prefix."""
        return next((provider for provider in self.providers if provider["id"] == name), None)

    def static(self, name: str) -> str:
        """The address of a static file, with its content's hash."""
        return f"{self.base_url}static/{name}?v={self.files[name].digest}"

    def public(self, request: Request) -> str:
        """The absolute address of the service, with a final slash; only its path where the request names no host."""
        host = f"{request.url.scheme}://{request.url.netloc}" if request.url.netloc else ""
        return self.public_url or host + self.base_url


# --- rendering ----------------------------------------------------------------------------------------------


def template(name: str) -> Template:
    """One of our templates."""
    return _ENVIRONMENT.get_template(name)


def render(
    pages: Pages,
    request: Request,
    name: str,
    *,
    status: int = 200,
    config: Mapping[str, Any] | None = None,
    scripts: bool = True,
    **context: Any,
) -> Response:
    """A page from a template, under a policy that runs only our own scripts."""
    nonce = secrets.token_urlsafe(16) if scripts else ""
    text = template(name).render(
        pages=pages,
        nonce=nonce,
        public=pages.public(request),
        config={**_config(pages, request), **(config or {})},
        modules=_modules(pages),
        **context,
    )
    return HTMLResponse(text, status_code=status, headers=_headers(nonce))


def _config(pages: Pages, request: Request) -> dict[str, Any]:
    """What clients of the wire protocol read as `window.pageConfig`, and what our own scripts need."""
    public = pages.public(request)
    return {
        "baseUrl": pages.base_url,
        "badgeBaseUrl": public,
        "publicBaseUrl": public,
        "logoUrl": pages.static("logo.svg"),
        "logoWidth": "320px",
        "repoProviders": list(pages.providers),
        "aboutMessage": "",
        "bannerHtml": "",
        "binderVersion": pages.version,
        "badgeTexts": dict(links.BADGE_TEXTS),
        "favicons": {state: pages.static(f"favicon_{state}.svg") for state in FAVICONS},
    }


def _modules(pages: Pages) -> dict[str, dict[str, str]]:
    """The import map: each script's plain address to the one with its hash."""
    scripts = [name for name in pages.files if name.endswith(".js")]
    return {"imports": {f"{pages.base_url}static/{name}": pages.static(name) for name in scripts}}


def _headers(nonce: str) -> dict[str, str]:
    policy = (
        "default-src 'self'",
        f"script-src 'self' 'nonce-{nonce}'" if nonce else "script-src 'none'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


#: The headers of a page without scripts, for whoever sends the body of `gone_page` in an answer of its own.
SCRIPTLESS: Mapping[str, str] = _headers("")


# --- errors -------------------------------------------------------------------------------------------------

_TITLES: Mapping[int, str] = {
    400: "That link does not work",
    403: "That is not allowed here",
    404: "There is nothing here",
    424: "This session has ended",
    429: "One moment, please",
    503: "The service is busy",
}


def error_page(
    pages: Pages,
    request: Request,
    error: BinderyError,
    *,
    actions: Mapping[str, str] | None = None,
    title: str = "",
) -> Response:
    """The page of an error, with its status. `actions` are links by their text, below the service's address."""
    page = render(
        pages,
        request,
        "error.html",
        status=error.status,
        title=title or _TITLES.get(error.status, "That did not work"),
        error=error,
        code=error.code,
        actions=dict(actions or {}),
    )
    if error.retry_after_seconds is not None:
        page.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return page


def not_found(pages: Pages, request: Request) -> Response:
    """The page of an address that does not exist."""
    error = BinderyError("This address leads to no page.", hint="It may be mistyped, or the page may have moved.")
    return render(
        pages, request, "error.html", status=404, title=_TITLES[404], error=error, code="not_found", actions={}
    )


def gone_page(pages: Pages, request: Request, *, relaunch: str = "", reason: str = "") -> Response:
    """The page of a session that has ended. `relaunch` is its link, such as `v2/gh/owner/name/HEAD?labpath=a.ipynb`."""
    return render(pages, request, "gone.html", status=424, scripts=False, relaunch=relaunch, reason=reason)
