"""`bindery launch`: the launch page, in a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from rich.console import Console

from bindery import client
from bindery.client import Service
from bindery.data_dir import announced
from bindery.errors import BinderyError, HostUnreachable
from bindery.process import end_group
from bindery.repository import read, spec
from bindery.settings import Settings
from bindery.terminal import plain
from bindery.wiring import guard
from builder.guard import GuardedClient
from builder.providers import providers
from web.links import join_session, open_path, path_query

#: How long a service that we start may take, in seconds.
START_SECONDS = 60.0

_STEPS = {
    "waiting": "Waiting",
    "fetching": "Fetching the repository",
    "building": "Building the environment",
    "pushing": "Storing the image",
    "built": "Image ready",
    "launching": "Starting the notebook server",
}


@dataclass(frozen=True)
class Wish:
    """What was typed."""

    repository: str
    ref: str
    path: str
    browser: bool
    service: str
    settings: Settings


class LaunchFailed(BinderyError):
    """The service said why in its last event."""

    code = "launch_failed"


async def launch(wish: Wish, output: Console) -> None:
    """Launch and show progress; when the service is our own, keep it until Ctrl-C.

    Raises the `BinderyError` that ended the launch.
    """
    known = providers(wish.settings.providers, GuardedClient(guard(wish.settings)))
    displays = [provider.display for provider in known.values()]
    target = read(wish.repository, wish.ref, wish.path, displays)
    query = dict(parse_qsl(path_query(target.path, target.open_as).lstrip("?")))
    inside = open_path(query)
    async with _service(wish, output) as (service, own):
        ready = await _follow(service, target.provider, spec(target, displays), output)
        url = join_session(ready["url"], ready["token"], inside)
        output.print(f"[green]Ready:[/green] {url}", soft_wrap=True)
        if wish.browser:
            await asyncio.to_thread(webbrowser.open, url)
        if own:
            output.print("[dim]The session runs until you press Ctrl-C.[/dim]")
            await own.wait()


async def _follow(service: Service, provider: str, text: str, output: Console) -> dict[str, Any]:
    """Show the stream; returns the `ready` event."""
    step = ""
    with output.status("Asking the service...") as status:
        async with aclosing(client.launch(service, provider, text)) as events:
            async for event in events:
                phase = event.get("phase", "").lower()
                if phase == "ready":
                    return event
                if phase == "failed":
                    raise _failure(event)
                if phase in _STEPS and phase != step:
                    step = phase
                    status.update(f"{_STEPS[phase]}...")
                    output.print(f"[bold]{_STEPS[phase]}[/bold]")
                message = plain(event.get("message", "")).rstrip("\n")
                output.print(f"  {message}", markup=False, soft_wrap=True, style="dim")
    raise HostUnreachable("The service ended the stream without an answer.")


def _failure(event: dict[str, Any]) -> LaunchFailed:
    error = LaunchFailed(str(event.get("message", "")).strip(), hint=str(event.get("hint", "")))
    # The instance carries the code of the service's own error.
    error.code = str(event.get("code", LaunchFailed.code))  # type: ignore[misc]
    return error


@contextlib.asynccontextmanager
async def _service(wish: Wish, output: Console) -> AsyncIterator[tuple[Service, asyncio.subprocess.Process | None]]:
    """The service to use, and its process when it is our own."""
    if found := await _running(wish):
        output.print(f"[dim]Using the service at {found.url}[/dim]")
        yield found, None
        return
    output.print("[dim]Starting a service...[/dim]")
    async with _started(wish.settings) as process:
        yield await _answering(wish.settings, process), process


async def _running(wish: Wish) -> Service | None:
    if wish.service:
        service = Service(wish.service.rstrip("/") + "/")
        if not await client.healthy(service):
            raise HostUnreachable(f"No service answers at {service.url}.", hint="Start it with: bindery serve")
        return service
    known = announced(wish.settings.data_dir)
    if known is None:
        return None
    service = Service(known.url, known.token)
    return service if await client.healthy(service) else None


@contextlib.asynccontextmanager
async def _started(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    options = ["--port", "0", "--data-dir", str(settings.data_dir)]
    if settings.build.allow_missing_apt:
        options.append("--allow-missing-apt")
    # In a session of its own: Ctrl-C is for us, and we end it in peace.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bindery", "serve", *options, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        await asyncio.shield(_ended(process))


async def _ended(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 20)
    await end_group(process)


async def _answering(settings: Settings, process: asyncio.subprocess.Process) -> Service:
    async with asyncio.timeout(START_SECONDS):
        while process.returncode is None:
            known = announced(settings.data_dir)
            if known is not None and known.pid == process.pid:
                return Service(known.url, known.token)
            await asyncio.sleep(0.05)
    raise HostUnreachable("The service did not start.", hint="Its own words stand above; try: bindery doctor")
