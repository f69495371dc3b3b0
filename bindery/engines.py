"""The engine that the settings name, put together: who builds, who runs sessions, who has the images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from bindery.settings import Settings
from builder.engines.base import EnvironmentBuilder
from builder.engines.process import ProcessEngine
from launcher.spawners.base import Spawner
from launcher.spawners.process import ProcessSpawner
from registry.directory import DirectoryStore

NO_ISOLATION = "This service runs notebooks as processes of this machine: only launch repositories that you trust."


@dataclass(frozen=True)
class Engine:
    """Where environments are built and sessions run, and whether an image is there. `notice` is for visitors."""

    builder: EnvironmentBuilder
    spawner: Spawner
    image_exists: Callable[[str], Awaitable[bool]]
    notice: str = ""


@contextlib.asynccontextmanager
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine, ready for use; leaving the block ends the sessions that cannot outlive the service."""
    async with _process(settings) as found:
        yield found


@contextlib.asynccontextmanager
async def _process(settings: Settings) -> AsyncIterator[Engine]:
    builder = await ProcessEngine.open(settings)
    store = DirectoryStore(settings.data_dir)

    async def image_exists(reference: str) -> bool:
        return await asyncio.to_thread(store.find, reference) is not None

    async with ProcessSpawner(
        store,
        server=builder.server_environment,
        sandbox=builder.sandbox,
        allow_origin=settings.cors_allow_origin,
    ) as spawner:
        yield Engine(builder, spawner, image_exists, NO_ISOLATION)
