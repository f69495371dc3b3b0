"""What a registry holds of ours, as far as the rows tell what to ask it for: registries list nothing by themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from builder.engines.docker_registry import Shelf
from registry.names import Reference
from registry.retention import Holding, Inventory

_AT_ONCE = 8
#: What stands for all that several environments have in common, such as a runtime, in an inventory. It is not removed:
#: a registry keeps it as long as one of them is there.
SHARED = "shared in the registry"

T = TypeVar("T")


@dataclass(frozen=True)
class RegistryStock:
    """The stock of the kubernetes engine, and what the docker engine's has only in its registry."""

    shelf: Shelf
    _known: dict[str, Mapping[str, int]] = field(default_factory=dict)

    async def inventory(self, recorded: Mapping[str, str]) -> Inventory:
        """See `Stock`."""
        return await self.beside(recorded, ())

    async def beside(self, recorded: Mapping[str, str], here: Collection[str]) -> Inventory:
        """The recorded images that the registry has, and their environments but for those that are `here`."""
        whole = await self._all({key: self._environment(key) for key in recorded.values()})
        stored = await self._all({name: name for name in recorded if name.startswith(self.shelf.prefix)})
        images = [
            Holding(name, recorded[name], _bytes(blobs, without=whole.get(recorded[name], ())), 0.0, away=True)
            for name, blobs in stored.items()
        ]
        counts = Counter(digest for blobs in whole.values() for digest in blobs)
        shared = {digest for digest, count in counts.items() if count > 1}
        common = {digest: size for blobs in whole.values() for digest, size in blobs.items() if digest in shared}
        return Inventory(
            images,
            {key: _bytes(blobs, without=shared) for key, blobs in whole.items() if key not in here},
            {SHARED: sum(common.values())} if common else {},
            {key: SHARED for key, blobs in whole.items() if shared & blobs.keys() and key not in here},
            (SHARED,),
        )

    async def has(self, reference: str) -> bool:
        """See `Stock`."""
        return await self.shelf.has(Reference.parse(reference))

    async def remove_image(self, reference: str) -> None:
        """See `Stock`."""
        self._known.pop(reference, None)
        await self.shelf.remove(Reference.parse(reference))

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        await self.remove_image(self._environment(key))

    async def remove_base(self, name: str) -> None:
        """See `Stock`."""
        await self.remove_image(name)

    def _environment(self, key: str) -> str:
        return str(self.shelf.environment(key))

    async def _all(self, references: Mapping[str, str]) -> dict[str, Mapping[str, int]]:
        """The parts of those images that the registry has, by what they are asked for under."""
        found = await together(map(self._blobs, references.values()))
        return {name: blobs for name, blobs in zip(references, found, strict=True) if blobs is not None}

    async def _blobs(self, reference: str) -> Mapping[str, int] | None:
        """The parts of an image, which never change; None when the registry does not have it."""
        if reference not in self._known:
            blobs = await self.shelf.blobs(Reference.parse(reference))
            if blobs is None:
                return None
            self._known[reference] = blobs
        return self._known[reference]


def _bytes(blobs: Mapping[str, int], *, without: Collection[str]) -> int:
    return sum(size for digest, size in blobs.items() if digest not in without)


async def together(works: Iterable[Awaitable[T]]) -> list[T]:
    """The results of works, of which a few are done at a time."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Awaitable[T]) -> T:
        async with gate:
            return await work

    return await asyncio.gather(*map(one, works))
