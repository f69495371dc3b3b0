"""What a registry holds of ours, as far as the rows tell what to ask it for: registries list nothing by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from builder.engines.docker_registry import Shelf
from registry.names import Reference
from registry.retention import Holding, Inventory

_AT_ONCE = 8

T = TypeVar("T")


@dataclass(frozen=True)
class RegistryStock:
    """The stock of the kubernetes engine, and what the docker engine's has only in its registry.

    An environment is counted with the runtime below it, which it shares with others: more than the registry takes.
    """

    shelf: Shelf
    _sizes: dict[str, int] = field(default_factory=dict)

    async def inventory(self, recorded: Mapping[str, str]) -> Inventory:
        """See `Stock`."""
        return await self.beside(recorded, ())

    async def beside(self, recorded: Mapping[str, str], here: Collection[str]) -> Inventory:
        """The recorded images that the registry has, and their environments but for those that are `here`."""
        keys = set(recorded.values())
        whole = dict(zip(keys, await together(self._bytes(self._environment(key)) for key in keys), strict=True))
        wanted = [reference for reference in recorded if reference.startswith(self.shelf.prefix)]
        sizes = zip(wanted, await together(map(self._bytes, wanted)), strict=True)
        images = [
            Holding(reference, recorded[reference], max(size - (whole[recorded[reference]] or 0), 0), 0.0, away=True)
            for reference, size in sizes
            if size is not None
        ]
        return Inventory(images, {key: size for key, size in whole.items() if size is not None and key not in here})

    async def has(self, reference: str) -> bool:
        """See `Stock`."""
        return await self.shelf.has(Reference.parse(reference))

    async def remove_image(self, reference: str) -> None:
        """See `Stock`."""
        self._sizes.pop(reference, None)
        await self.shelf.remove(Reference.parse(reference))

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        await self.remove_image(self._environment(key))

    async def remove_base(self, name: str) -> None:
        """See `Stock`."""
        await self.remove_image(name)

    def _environment(self, key: str) -> str:
        return str(self.shelf.environment(key))

    async def _bytes(self, reference: str) -> int | None:
        """What the registry has of an image, in bytes, which never changes; None when it has none."""
        if reference not in self._sizes:
            size = await self.shelf.size(Reference.parse(reference))
            if size is None:
                return None
            self._sizes[reference] = size
        return self._sizes[reference]


async def together(works: Iterable[Awaitable[T]]) -> list[T]:
    """The results of works, of which a few are done at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Awaitable[T]) -> T:
        async with gate:
            return await work

    return await asyncio.gather(*map(one, works))
