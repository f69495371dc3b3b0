"""`bindery link`: the launch link and the badge of whatever address one has."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from yarl import URL

from bindery.data_dir import announced
from bindery.errors import InvalidSpec, RequestRefused
from bindery.settings import Settings
from bindery.terminal import marked
from bindery.wiring import base_url, guard
from builder.guard import GuardedClient
from builder.providers import providers
from web.api.link_routes import Link, made
from web.links import Target
from web.pasted import recognise

_LOOPBACK = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True)
class Share:
    """What was typed. `ref` and `path` win over those of the address; `open_as` is as in `web.links.Target`."""

    address: str
    ref: str
    path: str
    open_as: str
    service: str
    settings: Settings


async def link(share: Share, only: str, as_json: bool, output: Console, errors: Console) -> None:
    """Print it: all, or `only` the link or one kind of badge.

    Raises `InvalidSpec` for an address that names no repository, `PathRefused` for a path that leads out of it.
    """
    service = service_url(share)
    found, title = _made(share, service)
    if as_json:
        output.out(found.model_dump_json(indent=2))
    elif only:
        output.out(found.link if only == "link" else found.badges[only])
    else:
        _print(found, title, output)
    if URL(service).host in _LOOPBACK and not as_json:
        note = f"{service} can be reached from this machine only. For readers elsewhere, name your service: --service"
        errors.print(f"[dim]Note: {note} https://...[/dim]", soft_wrap=True)


def service_url(share: Share) -> str:
    """The address that links begin with: the one given, else of the service that runs, else of one that would."""
    if not share.service:
        known, settings = announced(share.settings.data_dir), share.settings
        return known.url if known else f"http://{settings.host}:{settings.port}{base_url(settings)}"
    text = share.service if "://" in share.service else f"https://{share.service}"
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise RequestRefused(
            f"{share.service} is not the address of a service.", hint="It looks like https://bindery.example.org/"
        )
    return str(url).rstrip("/") + "/"


def _made(share: Share, service: str) -> tuple[Link, str]:
    known = providers(share.settings.providers, GuardedClient(guard(share.settings)))
    target = _target(share, recognise(_no_folder(share.address), [provider.display for provider in known.values()]))
    provider = known[target.provider]
    return made(target, provider, share.address, service), str(provider.display["displayName"])


def _target(share: Share, target: Target) -> Target:
    target = replace(target, ref=share.ref or target.ref)
    return replace(target, path=share.path, open_as=share.open_as) if share.path else target


def _no_folder(address: str) -> str:
    if address.startswith((".", "/", "~")) or Path(address).is_dir():
        raise InvalidSpec(
            f"{address} is a folder of this machine, which no link can lead to.",
            hint="Push it to a Git server, and give its address there. bindery launch opens folders.",
        )
    return address


def _print(found: Link, title: str, output: Console) -> None:
    version = f", version {found.ref}" if found.ref else ""
    opens = f", opens {found.opens}" if found.opens else ""
    output.print(f"[dim]{marked(f'{title}: {found.repo}{version}{opens}')}[/dim]", soft_wrap=True)
    names = {"link": "Link", "markdown": "Markdown", "rst": "reStructuredText", "html": "HTML", "asciidoc": "AsciiDoc"}
    for kind, text in {"link": found.link, **found.badges}.items():
        output.print(f"[bold]{names[kind]}[/bold]")
        output.out(text, highlight=False)
