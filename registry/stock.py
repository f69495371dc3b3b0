"""What an image store holds, and making room in it: one Protocol, and the directory store's side of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from registry.directory import DirectoryStore
from registry.retention import Holding, Inventory


class Stock(Protocol):
    """What an engine's image store holds, and how to make room in it."""

    async def inventory(self, recorded: Mapping[str, str]) -> Inventory:
        """Everything that is stored; `used_at` is when it was made, as far as the store knows.

        `recorded` are images that the rows know, with their environments' keys: those that only a registry has are
        looked for there.
        """
        ...

    async def has(self, reference: str) -> bool:
        """Whether an image is there, complete."""
        ...

    async def remove_image(self, reference: str) -> None:
        """Remove an image; one that is not there is no error."""
        ...

    async def remove_environment(self, key: str) -> None:
        """Remove an environment that no image stands on; one that is not there is no error."""
        ...

    async def remove_base(self, name: str) -> None:
        """Remove what no environment stands on any more; one that is not there is no error."""
        ...


@dataclass(frozen=True)
class DirectoryStock:
    """The stock of the process engine."""

    store: DirectoryStore

    async def inventory(self, recorded: Mapping[str, str]) -> Inventory:
        """See `Stock`."""
        return await asyncio.to_thread(self._inventory)

    def _inventory(self) -> Inventory:
        images = [
            Holding(image.reference, image.environment_key, image.size_bytes, image.created_at)
            for image in self.store.list_images()
        ]
        return Inventory(images, {found.key: found.size_bytes for found in self.store.list_environments()})

    async def has(self, reference: str) -> bool:
        """See `Stock`."""
        return await asyncio.to_thread(self.store.find, reference) is not None

    async def remove_image(self, reference: str) -> None:
        """See `Stock`."""
        await asyncio.to_thread(self.store.remove_image, reference)

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        await asyncio.to_thread(self.store.remove_environment, key)

    async def remove_base(self, name: str) -> None:
        """See `Stock`. There are none here."""
