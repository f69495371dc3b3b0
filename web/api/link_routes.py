"""Links: what any address that people have becomes here, as the form and `bindery link` make it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from bindery.errors import InvalidSpec
from builder.providers.base import Provider
from web import links
from web.links import Target
from web.pasted import recognise
from web.visitor import launch_host

_HINT = "Give the address of a repository or of one of its pages, a DOI, or owner/name on GitHub."


class Link(BaseModel):
    """A launch link, how the address was understood, and the link's badge."""

    link: str = Field(description="The page that launches it.")
    provider: str
    spec: str = Field(description="What a build or a session is asked for with.")
    repo: str
    ref: str = Field(description="The branch, tag or commit; empty where the provider has none.")
    opens: str = Field(description="What is opened inside the session, relative to its address.")
    build_url: str = Field(description="The event stream that launches it.")
    badge_image: str
    badges: dict[str, str] = Field(description="The badge as readme files write it, by kind of document.")


def add_links(router: APIRouter, base_url: str, providers: Mapping[str, Provider]) -> None:
    """Add the route."""
    displays = [provider.display for provider in providers.values()]

    @router.get("/links", tags=["links"])
    async def read_link(
        request: Request,
        url: Annotated[str, Query(max_length=4096, description="Any address of a repository, a DOI, or owner/name.")],
        ref: Annotated[str, Query(max_length=250, description="Wins over the address's own.")] = "",
        path: Annotated[str, Query(max_length=2000, description="What to open; wins over the address's own.")] = "",
        open: Annotated[Literal["file", "url"], Query(description="What `path` is.")] = "file",  # noqa: A002
    ) -> Link:
        """The launch link and badge of an address from a browser, a clone command or a badge. Asks nobody else."""
        target = recognise(url, displays)
        target = replace(target, ref=ref or target.ref)
        if path:
            target = replace(target, path=path, open_as=open)
        return made(target, providers[target.provider], url, launch_host(request, base_url))


def made(target: Target, provider: Provider, address: str, service: str) -> Link:
    """The link of a target at a service. Raises `InvalidSpec`, `HostRefused` or `PathRefused`."""
    relative = links.launch_path(target, provider.display)
    spec, _, query = relative.removeprefix(f"v2/{target.provider}/").partition("?")
    opens = links.open_path(dict(parse_qsl(query)))
    try:
        provider.parse(spec)
    except InvalidSpec as error:
        message = f"“{address}” is not a repository's address or an owner/name."
        raise InvalidSpec(message, hint=_HINT) from error
    link, image = service + relative, f"{service}badge_logo.svg"
    facts: dict[str, Any] = {"provider": target.provider, "spec": spec, "repo": target.repo}
    return Link(
        link=link,
        ref=target.ref or provider.display["ref"].get("default", ""),
        opens=opens,
        build_url=f"{service}build/{target.provider}/{spec}",
        badge_image=image,
        badges={kind: links.badge_text(kind, image, link) for kind in links.BADGE_TEXTS},
        **facts,
    )
