"""The pages: form, launch page, about, errors, and the files they show."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bindery.errors import BinderyError, InvalidSpec, PathRefused, UnknownProvider
from web import assets, badges, links

_ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_BADGE_CACHE = "public, max-age=86400"
_RAW = "%/:@!$&'()*+,;=~-._[]|^?"
_FAVICONS = ("building", "success", "fail")

Handler = Callable[["Pages", Request], Response]


@dataclass(frozen=True)
class Recent:
    """A repository that was launched here lately; `path` is its link below the service's address."""

    title: str
    path: str


@dataclass(frozen=True)
class Pages:
    """What the pages need to know of the service.

    `providers` are the display configurations of `/api/repoproviders`. `public_url` is the address that shared links
    and badges begin with (empty: as the request came). `homes` maps a provider's id to the address that its repositories'
    names are appended to. `build_token` makes the token of one `<provider>/<spec>`.
    """

    providers: Sequence[links.Provider]
    base_url: str = "/"
    version: str = ""
    public_url: str = ""
    notice: str = ""
    homes: Mapping[str, str] = field(default_factory=dict)
    recent: Callable[[], Sequence[Recent]] = tuple
    build_token: Callable[[Request, str], str] | None = None
    files: Mapping[str, assets.Asset] = field(default_factory=assets.load)

    def provider(self, name: str) -> links.Provider | None:
        """The display configuration of a link's prefix."""
        return next((provider for provider in self.providers if provider["id"] == name), None)

    def static(self, name: str) -> str:
        """The address of a static file, with its content's hash."""
        return f"{self.base_url}static/{name}?v={self.files[name].digest}"

    def public(self, request: Request) -> str:
        """The absolute address of the service, with a slash at its end."""
        return self.public_url or f"{request.url.scheme}://{request.url.netloc}{self.base_url}"


def router(pages: Pages) -> APIRouter:
    """Every page's route, below `pages.base_url`. Unknown addresses are left to `not_found`."""
    routes = APIRouter()
    table: Mapping[str, Handler] = {
        "": home,
        "about": about,
        "launch": launch,
        "v2/{provider}/{spec:path}": launch_page,
        "repo/{user}/{repo}": legacy,
        "repo/{user}/{repo}/{rest:path}": legacy,
        "static/{name}": static,
        "badge_logo.svg": _badge(mark=True),
        "badge.svg": _badge(mark=False),
        "assets/images/badge.svg": _badge(mark=False),
        "favicon.ico": _file("favicon.ico"),
        "logo_social.png": _file("logo_social.png"),
        **{f"favicon_{state}.ico": _file(f"favicon_{state}.ico") for state in _FAVICONS},
    }
    for path, handler in table.items():
        routes.add_route(pages.base_url + path, _endpoint(pages, handler), methods=["GET"])
    return routes


def _endpoint(pages: Pages, handler: Handler) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return handler(pages, request)

    return endpoint


# --- the form -----------------------------------------------------------------------------------------------


def home(pages: Pages, request: Request) -> Response:
    """The form, filled in from the address's query if there is one."""
    return _form(pages, request)


def launch(pages: Pages, request: Request) -> Response:
    """Where the form goes: on to the link of what was typed."""
    typed = {name: request.query_params.get(name, "").strip() for name in ("repo", "ref", "path", "open", "provider")}
    if not typed["repo"]:
        return _form(pages, request, problem="Please name a repository first.")
    target = links.recognise(typed["repo"], pages.providers, typed["provider"])
    path, open_as = (typed["path"], typed["open"]) if typed["path"] else (target.path, target.open_as)
    target = links.Target(target.provider, target.repo, typed["ref"] or target.ref, path, open_as)
    provider = pages.provider(target.provider)
    link = links.launch_path(target, provider) if provider else ""
    spec = link.partition("?")[0].split("/", 2)[-1]
    if provider is None or not re.fullmatch(provider["spec"]["validateRegex"], spec):
        return _form(pages, request, problem=f"“{typed['repo']}” is not a repository's address or an owner/name.")
    return RedirectResponse(pages.base_url + link, status_code=303)


def _form(pages: Pages, request: Request, *, problem: str = "") -> Response:
    names = ("repo", "ref", "path", "open", "provider")
    return render(
        pages,
        request,
        "form.html",
        status=400 if problem else 200,
        typed={name: request.query_params.get(name, "") for name in names},
        problem=problem,
        recent=list(pages.recent()),
        badge_texts=links.BADGE_TEXTS,
    )


def about(pages: Pages, request: Request) -> Response:
    """What this is, and which version."""
    return render(pages, request, "about.html")


# --- the launch page ----------------------------------------------------------------------------------------


def launch_page(pages: Pages, request: Request) -> Response:
    """The page that follows a launch. The spec is taken as it stands in the address, still percent-encoded."""
    name, _, spec = _raw_path(pages, request, "v2").partition("/")
    spec = spec.rstrip("/")
    provider = pages.provider(name)
    if provider is None:
        known = ", ".join(each["id"] for each in pages.providers)
        return error_page(
            pages, request, UnknownProvider(f"No provider found for prefix {name}", hint=f"Links begin with: {known}.")
        )
    clean = links.without_login(spec, provider)
    if clean != spec:
        return RedirectResponse(f"{pages.base_url}v2/{name}/{clean}{_query(request)}", status_code=302)
    if not re.fullmatch(provider["spec"]["validateRegex"], spec):
        return _invalid(pages, request, provider, spec)
    try:
        path = links.open_path(request.query_params)
    except PathRefused as refused:
        again = {"Launch it without a path": f"v2/{name}/{spec}"}
        return error_page(pages, request, refused, actions=again)
    return _launching(pages, request, provider, spec, path)


def _launching(pages: Pages, request: Request, provider: links.Provider, spec: str, path: str) -> Response:
    name = provider["id"]
    repo, ref = links.shown(spec, provider)
    token = pages.build_token(request, f"{name}/{spec}") if pages.build_token else ""
    build_url = f"{pages.base_url}build/{name}/{spec}" + (f"?build_token={quote(token)}" if token else "")
    home = pages.homes.get(name, "")
    link = f"{pages.public(request)}v2/{name}/{spec}{_query(request)}"
    image = f"{pages.public(request)}badge_logo.svg"
    return render(
        pages,
        request,
        "launch.html",
        config={
            "buildToken": token,
            "launch": {"title": repo, "provider": provider["displayName"], "buildUrl": build_url, "path": path},
        },
        provider=provider,
        repo=repo,
        ref=ref,
        path=path,
        repo_url=home + repo if home else repo if re.match(r"https?://", repo) else "",
        build_url=build_url,
        link=link,
        image=image,
        badge=links.badge_text("markdown", image, link),
        social_title=f"{provider['displayName']}: {spec}",
    )


def _invalid(pages: Pages, request: Request, provider: links.Provider, spec: str) -> Response:
    better = links.suggestion(spec, provider)
    repo, _ = links.shown(spec, provider)
    error = InvalidSpec(
        f"“{repo}” is not complete: the link has to name the repository and a branch, tag or commit."
        if better
        else f"“{repo}” does not name a repository in the way that {provider['displayName']} links do.",
        hint=f"Did you mean {better}?"
        if better
        else "Paste the repository's address into the form; it makes the link.",
    )
    return error_page(
        pages, request, error, actions={f"Launch {better}": f"v2/{provider['id']}/{better}"} if better else {}
    )


def legacy(pages: Pages, request: Request) -> Response:
    """Links of the very first Binder."""
    user, repo, *rest = _raw_path(pages, request, "repo").split("/", 2)
    path = rest[0].strip("/") if rest else ""
    query = f"?urlpath={quote(path, safe='')}" if path else ""
    return RedirectResponse(f"{pages.base_url}v2/gh/{user}/{repo}/master{query}", status_code=302)


def _raw_path(pages: Pages, request: Request, first: str) -> str:
    """What follows `<base><first>/` in the address, as it was sent."""
    raw = request.scope.get("raw_path") or quote(request.url.path).encode()
    sent = quote(raw.partition(b"?")[0], safe=_RAW)
    return sent.removeprefix(f"{pages.base_url}{first}/")


def _query(request: Request) -> str:
    return f"?{request.url.query}" if request.url.query else ""


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
    return render(
        pages,
        request,
        "error.html",
        status=error.status,
        title=title or _TITLES.get(error.status, "That did not work"),
        error=error,
        code=error.code,
        actions=dict(actions or {}),
    )


def not_found(pages: Pages, request: Request) -> Response:
    """The page of an address that does not exist."""
    error = BinderyError("This address leads to no page.", hint="It may be mistyped, or the page may have moved.")
    return render(
        pages, request, "error.html", status=404, title=_TITLES[404], error=error, code="not_found", actions={}
    )


def gone_page(pages: Pages, request: Request, *, relaunch: str = "", reason: str = "") -> Response:
    """The page of a session that has ended. `relaunch` is its link, such as `v2/gh/owner/name/HEAD?labpath=a.ipynb`."""
    return render(pages, request, "gone.html", status=424, relaunch=relaunch, reason=reason)


# --- files --------------------------------------------------------------------------------------------------


def static(pages: Pages, request: Request) -> Response:
    """One static file."""
    found = pages.files.get(request.path_params["name"])
    if found is None:
        return not_found(pages, request)
    return found.answer(request, assets.cache_control(found, request.query_params.get("v")))


def _file(name: str) -> Handler:
    def handler(pages: Pages, request: Request) -> Response:
        return pages.files[name].answer(request, _BADGE_CACHE)

    return handler


def _badge(*, mark: bool) -> Handler:
    picture = assets.asset(badges.launch_badge(mark=mark).encode(), "image/svg+xml")

    def handler(pages: Pages, request: Request) -> Response:
        return picture.answer(request, _BADGE_CACHE)

    return handler


# --- rendering ----------------------------------------------------------------------------------------------


def render(
    pages: Pages,
    request: Request,
    template: str,
    *,
    status: int = 200,
    config: Mapping[str, Any] | None = None,
    **context: Any,
) -> Response:
    """A page from a template, under a policy that runs only our own scripts."""
    nonce = secrets.token_urlsafe(16)
    text = _ENVIRONMENT.get_template(template).render(
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
        "favicons": {state: pages.static(f"favicon_{state}.svg") for state in _FAVICONS},
    }


def _modules(pages: Pages) -> dict[str, dict[str, str]]:
    """The import map: each script's plain address to the one with its hash."""
    scripts = [name for name in pages.files if name.endswith(".js")]
    return {"imports": {f"{pages.base_url}static/{name}": pages.static(name) for name in scripts}}


def _headers(nonce: str) -> dict[str, str]:
    policy = (
        "default-src 'self'",
        f"script-src 'self' 'nonce-{nonce}'",
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
