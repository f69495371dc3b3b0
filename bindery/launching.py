"""`bindery launch` and `bindery build`: what the pages do, in a terminal."""

from __future__ import annotations

import asyncio
import webbrowser
from dataclasses import dataclass
from urllib.parse import parse_qsl

from rich.console import Console

from bindery import client
from bindery.engines import chosen
from bindery.errors import EngineCannotServe, RequestRefused
from bindery.reach import reach
from bindery.repository import read, spec
from bindery.settings import EngineName, Settings
from bindery.showing import show
from bindery.wiring import guard
from builder.engines.docker_cli import find_docker
from builder.guard import GuardedClient
from builder.providers import providers
from web.links import Target, join_session, open_path, path_query

#: How long pushing an image may take, in seconds.
PUSH_SECONDS = 3600.0


@dataclass(frozen=True)
class Wish:
    """What was typed. `service` is the URL of a service to use; empty: the data directory's own, or a new one."""

    repository: str
    ref: str
    service: str
    settings: Settings

    def target(self, path: str = "") -> tuple[Target, str]:
        """What it names, and its spec."""
        known = providers(self.settings.providers, GuardedClient(guard(self.settings)))
        displays = [provider.display for provider in known.values()]
        target = read(self.repository, self.ref, path, displays)
        return target, spec(target, displays)


async def launch(wish: Wish, path: str, browser: bool, output: Console) -> None:
    """Launch and show progress; when the service is our own, keep it until Ctrl-C.

    Raises the `BinderyError` that ended the launch.
    """
    target, text = wish.target(path)
    inside = open_path(dict(parse_qsl(path_query(target.path, target.open_as).lstrip("?"))))
    async with reach(wish.settings, wish.service, output) as reached:
        ready = await show(client.launch(reached.service, target.provider, text), output)
        url = join_session(ready["url"], ready["token"], inside)
        output.print(f"[green]Ready:[/green] {url}", soft_wrap=True)
        if browser:
            await asyncio.to_thread(webbrowser.open, url)
        if reached.process:
            output.print("[dim]The session runs until you press Ctrl-C.[/dim]")
            await reached.process.wait()


async def build(wish: Wish, tag: str, push: bool, output: Console) -> None:
    """Build the image and show progress; give it another name, and push that. Raises what ended the build."""
    settings = await chosen(wish.settings)
    if (tag or push) and settings.engine is not EngineName.DOCKER:
        raise EngineCannotServe("Only the docker engine has images to name and push.", hint="Add --engine docker.")
    if push and not tag:
        raise RequestRefused("There is no name to push the image to.", hint="Give one with --tag HOST/NAME:TAG.")
    target, text = wish.target()
    async with reach(settings, wish.service, output) as reached:
        record = await client.post(reached.service, "builds", {"provider": target.provider, "spec": text})
        ready = await show(client.follow(reached.service, record["events_url"]), output)
        image = ready["image"]
    if tag:
        await _name(image, tag, push, output)
    output.print(f"[green]Built:[/green] {tag or image}", soft_wrap=True)


async def _name(image: str, tag: str, push: bool, output: Console) -> None:
    docker = await find_docker()
    words: list[tuple[str, ...]] = [("tag", image, tag)]
    if push:
        words.append(("push", tag))
    for each in words:
        ended = await docker.run(*each, timeout_seconds=PUSH_SECONDS)
        if ended.returncode != 0:
            said = ended.stderr.decode(errors="replace").strip()
            raise RequestRefused(f"docker {each[0]} failed: {said[-500:]}", hint="Check the name, and docker login.")
