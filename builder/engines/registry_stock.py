"""What the registry behind a cluster holds of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from builder.engines.docker_registry import Shelf
from registry.names import Reference
from registry.retention import Inventory


@dataclass(frozen=True)
class RegistryStock:
    """The `Stock` of the kubernetes engine. How much a registry keeps is for its own rules: no inventory is taken."""

    shelf: Shelf

    async def inventory(self, recorded: Mapping[str, str]) -> Inventory:
        """See `Stock`."""
        return Inventory((), {})

    async def has(self, reference: str) -> bool:
        """See `Stock`."""
        return await self.shelf.has(Reference.parse(reference))

    async def remove_image(self, reference: str) -> None:
        """See `Stock`."""
        await self.shelf.remove(Reference.parse(reference))

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        await self.shelf.remove(self.shelf.environment(key))

    async def remove_base(self, name: str) -> None:
        """See `Stock`."""
        await self.shelf.remove(Reference.parse(name))
