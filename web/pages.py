"""The pages: form, launch page, about, errors, and the files they show."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from bindery.errors import InvalidSpec, PathRefused, UnknownProvider
from web import assets, badges, browser, links, pasted
from web.languages import language_of
from web.shell import ELSEWHERE, FAVICONS, SCRIPTLESS, Ended, Pages, error_page, gone_page, not_found, render
from web.showcase import Lists
from web.told import Said

__all__ = ["ELSEWHERE", "SCRIPTLESS", "Ended", "Pages", "error_page", "gone_page", "not_found", "router"]

#: Longer texts, and those with characters that cannot be typed, are no repository's name.
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,2000}")
_BADGE_CACHE = "public, max-age=86400"
_RAW = "%/:@!$&'()*+,;=~-._[]|^?"

Handler = Callable[[Pages, Request], Response | Awaitable[Response]]


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
        "site_logo": logo,
        "badge_logo.svg": _badge(mark=True),
        "badge.svg": _badge(mark=False),
        "assets/images/badge.svg": _badge(mark=False),
        "favicon.ico": _file("favicon.ico"),
        "logo_social.png": _file("logo_social.png"),
        **{f"favicon_{state}.ico": _file(f"favicon_{state}.ico") for state in FAVICONS},
    }
    for path, handler in table.items():
        routes.add_route(pages.base_url + path, _endpoint(pages, handler), methods=["GET"])
    return routes


def _endpoint(pages: Pages, handler: Handler) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        answer = handler(pages, request)
        return answer if isinstance(answer, Response) else await answer

    return endpoint


# --- the form -----------------------------------------------------------------------------------------------


async def home(pages: Pages, request: Request) -> Response:
    """The form, filled in from the address's query if there is one."""
    return await _form(pages, request)


async def launch(pages: Pages, request: Request) -> Response:
    """Where the form goes: on to the link of what was typed."""
    _ = language_of(request).gettext
    typed = {name: request.query_params.get(name, "").strip() for name in ("repo", "ref", "path", "open", "provider")}
    if not typed["repo"]:
        return await _form(pages, request, problem=_("Please name a repository first."))
    if not all(_NAME.fullmatch(text) for text in typed.values() if text):
        return await _form(pages, request, problem=_("That is not a repository's address or an owner/name."))
    target = pasted.recognise(typed["repo"], pages.providers, typed["provider"])
    path, open_as = (typed["path"], typed["open"]) if typed["path"] else (target.path, target.open_as)
    target = links.Target(target.provider, target.repo, typed["ref"] or target.ref, path, open_as)
    provider = pages.provider(target.provider)
    link = links.launch_path(target, provider) if provider else ""
    spec = link.partition("?")[0].split("/", 2)[-1]
    if provider is None or not re.fullmatch(provider["spec"]["validateRegex"], spec):
        problem = _("“{typed}” is not a repository's address or an owner/name.").format(typed=typed["repo"])
        return await _form(pages, request, problem=problem)
    return RedirectResponse(pages.base_url + link, status_code=303)


async def _form(pages: Pages, request: Request, *, problem: str = "") -> Response:
    names = ("repo", "ref", "path", "open", "provider")
    return render(
        pages,
        request,
        "form.html",
        status=400 if problem else 200,
        typed={name: request.query_params.get(name, "") for name in names},
        problem=problem,
        lists=await pages.showcase() if pages.showcase is not None else Lists(),
        badge_texts=links.BADGE_TEXTS,
        config={"pasted": pasted.RULES},
    )


def about(pages: Pages, request: Request) -> Response:
    """What this is, and which version."""
    return render(pages, request, "about.html", engine=pages.engine, limits=pages.limits)


# --- the launch page ----------------------------------------------------------------------------------------


async def launch_page(pages: Pages, request: Request) -> Response:
    """The page that follows a launch. The spec is taken as it stands in the address, still percent-encoded."""
    name, _, spec = _raw_path(pages, request, "v2").partition("/")
    spec = spec.rstrip("/")
    provider = pages.provider(name)
    if provider is None:
        return error_page(pages, request, _unknown_provider(pages, request, name))
    clean = links.without_login(spec, provider)
    if clean != spec:
        return RedirectResponse(f"{pages.base_url}v2/{name}/{clean}{_query(request)}", status_code=302)
    if not re.fullmatch(provider["spec"]["validateRegex"], spec):
        return _invalid(pages, request, provider, spec)
    if refusal := pages.refusal(name, spec):
        return error_page(pages, request, refusal)
    if pages.preview is not None and "preview" in request.query_params:
        return await pages.preview(request, provider, spec)
    try:
        path = links.open_path(request.query_params)
    except PathRefused as refused:
        again = {language_of(request).gettext("Launch it without a path"): f"v2/{name}/{spec}"}
        return error_page(pages, request, refused, actions=again)
    return browser.remember(request, _launching(pages, request, provider, spec, path), pages.base_url)


def _launching(pages: Pages, request: Request, provider: links.Provider, spec: str, path: str) -> Response:
    name = provider["id"]
    repo, ref = links.shown(spec, provider)
    token = pages.build_token(request, f"{name}/{spec}") if pages.build_token else ""
    build_url = f"{pages.base_url}build/{name}/{spec}" + (f"?build_token={quote(token, safe='')}" if token else "")
    home = pages.homes.get(name, "")
    opens = links.opened_file(path)
    link = f"{pages.public(request)}v2/{name}/{spec}{_query(request)}"
    image = f"{pages.public(request)}badge_logo.svg"
    return render(
        pages,
        request,
        "launch.html",
        config={
            "buildToken": token,
            "launch": {
                "title": repo,
                "provider": provider["displayName"],
                "buildUrl": build_url,
                "streamUrl": f"{build_url}{'&' if token else '?'}{urlencode({'about': 'true', 'opens': opens})}",
                "path": path,
                "opens": opens,
                "formUrl": f"{pages.base_url}?{urlencode(_typed(request, provider, repo, ref))}",
                "refUrl": f"{pages.base_url}v2/{name}/{links.with_ref(spec, provider)}{_query(request)}",
                "favicon": pages.static("favicon.svg"),
            },
        },
        provider=provider,
        repo=repo,
        ref=ref,
        opens=next(filter(None, (request.query_params.get(name, "") for name in links.PATH_NAMES)), ""),
        again=f"{pages.base_url}v2/{name}/{spec}{_query(request)}",
        repo_url=f"{home.rstrip('/')}/{repo}" if home else repo if re.match(r"https?://", repo) else "",
        build_url=build_url,
        link=link,
        image=image,
        badge=links.badge_text("markdown", image, link),
        social_title=f"{provider['displayName']}: {spec}",
    )


def _typed(request: Request, provider: links.Provider, repo: str, ref: str) -> dict[str, str]:
    """A launch as one would have typed it into the form."""
    given = next((name for name in links.PATH_NAMES if request.query_params.get(name)), "")
    path, open_as = request.query_params.get(given, ""), "url" if given == "urlpath" else "file"
    typed = {"repo": repo, "ref": ref, "path": path, "open": open_as if path else "", "provider": provider["id"]}
    return {name: text for name, text in typed.items() if text}


def _invalid(pages: Pages, request: Request, provider: links.Provider, spec: str) -> Response:
    better = links.suggestion(spec, provider)
    repo, _ = links.shown(spec, provider)
    _ = language_of(request).gettext
    values = {"name": repo, "provider": provider["displayName"], "better": better}
    if better:
        message = _("“%(name)s” is not complete: the link has to name the repository and a branch, tag or commit.")
        error = InvalidSpec(Said(message % values), hint=Said(_("Add one, such as %(better)s.") % values))
        actions = {_("Launch %(better)s") % values: f"v2/{provider['id']}/{better}"}
        return error_page(pages, request, error, actions=actions)
    message = _("“%(name)s” does not name a repository in the way that %(provider)s links do.")
    hint = _("Paste the repository's address into the form; it makes the link.")
    return error_page(pages, request, InvalidSpec(Said(message % values), hint=Said(hint)))


def _unknown_provider(pages: Pages, request: Request, name: str) -> UnknownProvider:
    _ = language_of(request).gettext
    message = _("No provider found for prefix %(name)s") % {"name": name}
    known = ", ".join(each["id"] for each in pages.providers)
    return UnknownProvider(Said(message), hint=Said(_("Links begin with: %(known)s.") % {"known": known}))


def legacy(pages: Pages, request: Request) -> Response:
    """Links of the very first Binder."""
    user, repo, *rest = _raw_path(pages, request, "repo").split("/", 2)
    path = "/" + unquote(rest[0]) if rest else ""
    query = f"?urlpath={quote(path, safe='')}" if path.strip("/") else ""
    return RedirectResponse(f"{pages.base_url}v2/gh/{user}/{repo}/master{query}", status_code=302)


def _raw_path(pages: Pages, request: Request, first: str) -> str:
    """What follows `<base><first>/` in the address, as it was sent."""
    raw = request.scope.get("raw_path") or quote(request.url.path).encode()
    sent = quote(raw.partition(b"?")[0], safe=_RAW)
    return sent.removeprefix(f"{pages.base_url}{first}/")


def _query(request: Request) -> str:
    return f"?{request.url.query}" if request.url.query else ""


# --- files --------------------------------------------------------------------------------------------------


def static(pages: Pages, request: Request) -> Response:
    """One static file."""
    found = pages.files.get(request.path_params["name"])
    if found is None:
        return not_found(pages, request)
    return found.answer(request, assets.cache_control(found, request.query_params.get("v")))


def logo(pages: Pages, request: Request) -> Response:
    """The operator's own picture."""
    found = pages.presentation.logo
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
