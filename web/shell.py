"""The shell of every page: what pages know of the service, their common head and policy, and the pages of errors."""

from __future__ import annotations

import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bindery.errors import BinderyError, NotFound
from bindery.settings import SessionSettings
from web import assets, languages, links
from web.languages import N_, Language, language_of
from web.presentation import Presentation
from web.showcase import Lists
from web.told import told
from web.wording import Wording

FAVICONS = ("building", "success", "fail")


@dataclass(frozen=True)
class Pages:
    """What the pages need to know of the service.

    `providers` are the display configurations of `/api/repoproviders`. `public_url` is the address that shared links
    and badges begin with (empty: as the request came). `maintenance` says why nobody may launch anything now, if so.
    `homes` maps a provider's id to the address that the names of its repositories are appended to. `build_token` makes
    the token of one `<provider>/<spec>`.
    """

    providers: Sequence[links.Provider]
    base_url: str = "/"
    version: str = ""
    public_url: str = ""
    notice: str = ""
    maintenance: str = ""
    presentation: Presentation = field(default_factory=Presentation)
    engine: str = ""
    limits: SessionSettings | None = None
    homes: Mapping[str, str] = field(default_factory=dict)
    showcase: Callable[[], Awaitable[Lists]] | None = None
    build_token: Callable[[Request, str], str] | None = None
    refusal: Callable[[str, str], BinderyError | None] = lambda provider, spec: None
    preview: Callable[[Request, links.Provider, str], Awaitable[Response]] | None = None
    files: Mapping[str, assets.Asset] = field(default_factory=assets.load)

    def provider(self, name: str) -> links.Provider | None:
        """The display configuration of a link's prefix."""
        return next((provider for provider in self.providers if provider["id"] == name), None)

    def static(self, name: str) -> str:
        """The address of a static file, with its content's hash."""
        return f"{self.base_url}static/{name}?v={self.files[name].digest}"

    @property
    def logo(self) -> str:
        """The address of the picture in every page's head."""
        own = self.presentation.logo
        return f"{self.base_url}site_logo?v={own.digest}" if own else self.static("logo.svg")

    def public(self, request: Request) -> str:
        """The absolute address of the service, with a final slash; only its path where the request names no host."""
        host = f"{request.url.scheme}://{request.url.netloc}" if request.url.netloc else ""
        return self.public_url or host + self.base_url


# --- rendering ----------------------------------------------------------------------------------------------


@cache
def _environment(code: str) -> Environment:
    """The templates in one language."""
    language = languages.languages()[code]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(language.gettext, language.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update(Wording(language).filters)
    environment.filters["told"] = lambda text: told(text, language)
    return environment


def template(name: str, language: Language) -> Template:
    """One of our templates."""
    return _environment(language.code).get_template(name)


def render(
    pages: Pages,
    request: Request,
    name: str,
    *,
    status: int = 200,
    config: Mapping[str, Any] | None = None,
    scripts: bool = True,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> Response:
    """A page from a template, in the reader's language, under a policy that runs only our own scripts."""
    nonce = secrets.token_urlsafe(16) if scripts else ""
    language = language_of(request)
    text = template(name, language).render(
        pages=pages,
        site=pages.presentation,
        lang=language.code,
        nonce=nonce,
        public=pages.public(request),
        config={**_config(pages, request, language), **(config or {})},
        modules=_modules(pages),
        **context,
    )
    return HTMLResponse(text, status_code=status, headers={**_headers(nonce), **(headers or {})})


def _config(pages: Pages, request: Request, language: Language) -> dict[str, Any]:
    """What clients of the wire protocol read as `window.pageConfig`, and what our own scripts need."""
    public = pages.public(request)
    return {
        "baseUrl": pages.base_url,
        "badgeBaseUrl": public,
        "publicBaseUrl": public,
        "logoUrl": pages.logo,
        "logoWidth": "320px",
        "repoProviders": list(pages.providers),
        "aboutMessage": str(pages.presentation.about),
        "bannerHtml": str(pages.presentation.banner),
        "binderVersion": pages.version,
        "badgeTexts": dict(links.BADGE_TEXTS),
        "favicons": {state: pages.static(f"favicon_{state}.svg") for state in FAVICONS},
        "siteName": pages.presentation.name,
        "texts": dict(language.script_texts()),
    }


def _modules(pages: Pages) -> dict[str, dict[str, str]]:
    """The import map: each script's plain address to the one with its hash."""
    scripts = [name for name in pages.files if name.endswith(".js") and name != "embed.js"]
    return {"imports": {f"{pages.base_url}static/{name}": pages.static(name) for name in scripts}}


def _headers(nonce: str, looks: str = "'self'") -> dict[str, str]:
    policy = (
        "default-src 'self'",
        f"script-src 'self' 'nonce-{nonce}'" if nonce else "script-src 'none'",
        f"style-src {looks}",
        f"img-src {looks} data:",
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
        "Vary": "Accept-Language",
    }


#: The headers of a page without scripts, for whoever sends the body of `gone_page` in an answer of its own; and those
#: of one at a session's host, which has its looks from the service's.
SCRIPTLESS: Mapping[str, str] = _headers("")
ELSEWHERE: Mapping[str, str] = _headers("", looks="*")


# --- errors -------------------------------------------------------------------------------------------------

_TITLES: Mapping[int, str] = {
    400: N_("That link does not work"),
    403: N_("That is not allowed here"),
    404: N_("There is nothing here"),
    405: N_("That is not done here"),
    413: N_("That is too much"),
    422: N_("This repository cannot be used as it is"),
    424: N_("This session has ended"),
    429: N_("One moment, please"),
    500: N_("Something went wrong in Bindery itself"),
    502: N_("The repository's host does not answer"),
    503: N_("The service is busy"),
}
#: Where the status does not say it well.
_TITLES_BY_CODE: Mapping[str, str] = {"under_maintenance": N_("No launches right now")}


def error_page(
    pages: Pages,
    request: Request,
    error: BinderyError,
    *,
    actions: Mapping[str, str] | None = None,
    title: str = "",
    scripts: bool = True,
) -> Response:
    """The page of an error, with its status. `actions` are links by their text, below the service's address."""
    after = error.retry_after_seconds
    return render(
        pages,
        request,
        "error.html",
        status=error.status,
        scripts=scripts,
        headers={} if after is None else {"Retry-After": str(math.ceil(after))},
        title=title or language_of(request).gettext(_title(error)),
        error=error,
        code=error.code,
        actions=dict(actions or {}),
    )


def _title(error: BinderyError) -> str:
    return _TITLES_BY_CODE.get(error.code) or _TITLES.get(error.status, N_("That did not work"))


def not_found(pages: Pages, request: Request) -> Response:
    """The page of an address that does not exist."""
    error = NotFound(N_("This address leads to no page."), hint=N_("It may be mistyped, or the page may have moved."))
    return error_page(pages, request, error)


@dataclass(frozen=True)
class Ended:
    """A session that has ended: its link, its repository, when and why; empty where that is not known.

    `home` is the address of the service for a session that had a host of its own.
    """

    relaunch: str = ""
    repository: str = ""
    ended_at: float | None = None
    reason: str = ""
    lost: bool = False
    home: str = ""


def gone_page(pages: Pages, request: Request, ended: Ended) -> Response:
    """The page of a session that has ended."""
    pages = replace(pages, base_url=ended.home or pages.base_url)
    return render(pages, request, "gone.html", status=424, scripts=False, ended=ended)
