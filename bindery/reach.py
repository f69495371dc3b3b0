"""Reaching a service from the command line: the one that runs, or one started for the purpose."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from rich.console import Console

from bindery import client
from bindery.client import Service
from bindery.data_dir import announced
from bindery.errors import HostUnreachable
from bindery.process import end_group
from bindery.program import DEVNULL, Program
from bindery.settings import Settings

#: How long a service that we start may take, in seconds.
START_SECONDS = 60.0
#: How long it may take to end its sessions and builds, in seconds.
END_SECONDS = 20.0


@dataclass(frozen=True)
class Reached:
    """A service, and its process when it is our own."""

    service: Service
    process: Program | None = None


@contextlib.asynccontextmanager
async def reach(settings: Settings, url: str, output: Console) -> AsyncIterator[Reached]:
    """The service at `url`, else the one of the data directory, else one that runs while the block does.

    Raises `HostUnreachable` when none answers.
    """
    if found := await _running(settings, url):
        output.print(f"[dim]Using the service at {found.url}[/dim]")
        yield Reached(found)
        return
    output.print("[dim]Starting a service...[/dim]")
    async with _started(settings) as process:
        yield Reached(await _answering(settings, process), process)


async def _running(settings: Settings, url: str) -> Service | None:
    if url:
        service = Service(url.rstrip("/") + "/")
        if not await client.healthy(service):
            raise HostUnreachable(f"No service answers at {service.url}.", hint="Start it with: bindery serve")
        return service
    known = announced(settings.data_dir)
    if known is None:
        return None
    service = Service(known.url, known.token)
    return service if await client.healthy(service) else None


@contextlib.asynccontextmanager
async def _started(settings: Settings) -> AsyncIterator[Program]:
    options = ["--quiet", "--port", "0", "--data-dir", str(settings.data_dir), "--engine", settings.engine.value]
    if settings.build.allow_missing_apt:
        options.append("--allow-missing-apt")
    # In a session of its own: Ctrl-C is for us, and we end it in peace.
    argv = [sys.executable, "-m", "bindery", "serve", *options]
    process = await Program.start(argv, stdin=None, stdout=DEVNULL, stderr=None)
    try:
        yield process
    finally:
        await asyncio.shield(_ended(process))


async def _ended(process: Program) -> None:
    if process.returncode is None:
        process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
    await end_group(process)


async def _answering(settings: Settings, process: Program) -> Service:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None:
                known = announced(settings.data_dir)
                if known is not None and known.pid == process.pid:
                    return Service(known.url, known.token)
                await asyncio.sleep(0.05)
    raise HostUnreachable("The service did not start.", hint="Its own words stand above; try: bindery doctor")
