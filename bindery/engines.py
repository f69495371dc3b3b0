"""The engine that the settings name, put together: who builds, who runs sessions, who has the images."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from bindery.settings import Settings
from builder.engines.base import EnvironmentBuilder
from builder.engines.process import ProcessEngine
from launcher.spawners.base import Spawner
from launcher.spawners.process import ProcessSpawner
from registry.directory import DirectoryStore
from registry.retention import Holding, Inventory


class Stock(Protocol):
    """What an engine's image store holds, and how to make room in it."""

    async def inventory(self) -> Inventory:
        """Everything that is stored; `used_at` is when it was made, as far as the store knows."""
        ...

    async def remove_image(self, reference: str) -> None:
        """Remove an image; one that is not there is no error."""
        ...

    async def remove_environment(self, key: str) -> None:
        """Remove an environment that no image stands on; one that is not there is no error."""
        ...


@dataclass(frozen=True)
class DirectoryStock:
    """The stock of the process engine."""

    store: DirectoryStore

    async def inventory(self) -> Inventory:
        """See `Stock`."""
        return await asyncio.to_thread(self._inventory)

    def _inventory(self) -> Inventory:
        images = [
            Holding(image.reference, image.environment_key, image.size_bytes, image.created_at)
            for image in self.store.list_images()
        ]
        return Inventory(images, {found.key: found.size_bytes for found in self.store.list_environments()})

    async def remove_image(self, reference: str) -> None:
        """See `Stock`."""
        await asyncio.to_thread(self.store.remove_image, reference)

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        await asyncio.to_thread(self.store.remove_environment, key)


NO_ISOLATION = "This service runs notebooks as processes of this machine: only launch repositories that you trust."


@dataclass(frozen=True)
class Engine:
    """Where environments are built and sessions run, and whether an image is there. `notice` is for visitors."""

    builder: EnvironmentBuilder
    spawner: Spawner
    image_exists: Callable[[str], Awaitable[bool]]
    stock: Stock
    notice: str = ""


@contextlib.asynccontextmanager
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    """The engine, ready for use; leaving the block ends the sessions that cannot outlive the service."""
    async with _process(settings) as found:
        yield found


def stock(settings: Settings) -> Stock:
    """The engine's stock alone, for looking at it from outside of the service."""
    return DirectoryStock(DirectoryStore(settings.data_dir))


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
        yield Engine(builder, spawner, image_exists, DirectoryStock(store), NO_ISOLATION)
