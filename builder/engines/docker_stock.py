"""What a Docker Engine's own store holds of ours, and what only the registry behind it does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bindery.docker_api import DockerApi, EngineRefused
from builder.engines.docker_cli import moment
from builder.engines.docker_registry import Shelf
from builder.engines.layered.images import DRAFTS, ENVIRONMENTS, KEY
from builder.engines.layered.library import PACKS
from builder.engines.layered.runtime import RUNTIMES
from builder.engines.registry_stock import RegistryStock, together
from registry.retention import Holding, Inventory


@dataclass(frozen=True)
class _Stored:
    """An image of the engine's store. `layers` are digests, from the lowest on."""

    tags: tuple[str, ...]
    labels: Mapping[str, str]
    created_at: float
    size_bytes: int
    layers: tuple[str, ...]

    def tagged(self, *repositories: str) -> list[str]:
        """Its tags in these repositories."""
        return [tag for tag in self.tags if tag.rpartition(":")[0] in repositories]

    def stands_on(self, other: _Stored) -> bool:
        """Whether all layers of another image are below its own."""
        return len(other.layers) < len(self.layers) and self.layers[: len(other.layers)] == other.layers


@dataclass(frozen=True)
class DockerStock:
    """The stock of the docker engine: images by the label that names their environment.

    `runtime` is the key of the runtimes that new environments stand on; "" when it is not known: the newest then.
    """

    api: DockerApi
    shelf: Shelf | None = None
    runtime: str = ""

    @cached_property
    def _registry(self) -> RegistryStock | None:
        return None if self.shelf is None else RegistryStock(self.shelf)

    async def inventory(self, recorded: Mapping[str, str]) -> Inventory:
        """See `Stock`. An image's own bytes are what it has on top of its environment."""
        stored = await self._stored()
        environments = {image.labels[KEY]: image for image in stored if self._is_environment(image)}
        bases = {tag: image for image in stored for tag in image.tagged(RUNTIMES, PACKS)}
        lower = {name: _lower(image, bases) for name, image in (environments | bases).items()}
        sizes = {name: image.size_bytes - _size(bases, lower[name]) for name, image in (environments | bases).items()}
        images = [
            Holding(tag, image.labels[KEY], _own(image, environments), image.created_at)
            for image in stored
            if KEY in image.labels and not self._is_environment(image)
            for tag in image.tags
            if not tag.startswith(f"{DRAFTS}:")
        ]
        here = {image.reference for image in images}
        away = {reference: key for reference, key in recorded.items() if reference not in here}
        beside = Inventory((), {}) if self._registry is None else await self._registry.beside(away, environments)
        return Inventory(
            [*images, *beside.images],
            {key: sizes[key] for key in environments} | dict(beside.environments),
            {name: sizes[name] for name in bases} | dict(beside.bases),
            {name: found for name, found in lower.items() if found} | dict(beside.below),
            [*self._in_demand(bases), *beside.in_demand],
        )

    async def has(self, reference: str) -> bool:
        """See `Stock`. With a registry, that is where images are."""
        if self._registry is not None:
            return await self._registry.has(reference)
        return await self._inspect(reference) is not None

    async def remove_image(self, reference: str) -> None:
        """See `Stock`. A container that still uses it keeps it."""
        await self._untag([reference])
        if self._registry is not None:
            await self._registry.remove_image(reference)

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        found = [image for image in await self._stored() if self._is_environment(image) and image.labels[KEY] == key]
        await self._untag(tag for image in found for tag in image.tags)
        if self._registry is not None:
            await self._registry.remove_environment(key)

    async def remove_base(self, name: str) -> None:
        """See `Stock`. What environments have of it stays with them."""
        await self._untag([name])

    def _is_environment(self, image: _Stored) -> bool:
        shelved = str(self.shelf.environment(image.labels[KEY])) if self.shelf and KEY in image.labels else None
        return bool(image.tagged(ENVIRONMENTS)) or shelved in image.tags

    def _in_demand(self, bases: Mapping[str, _Stored]) -> list[str]:
        runtimes = {name: image for name, image in bases.items() if name.startswith(f"{RUNTIMES}:")}
        newest = max(runtimes, key=lambda name: runtimes[name].created_at, default="")
        prefix = f"{RUNTIMES}:{self.runtime}" if self.runtime else newest.partition("-py")[0]
        return [name for name in runtimes if name.partition("-py")[0] == prefix]

    async def _stored(self) -> list[_Stored]:
        """Images that are ours, with a name."""
        listed = await self.api.ask("GET", "/images/json")
        ours = [
            item["Id"]
            for item in listed
            if KEY in (item.get("Labels") or {}) or any(_is_base(tag) for tag in item.get("RepoTags") or ())
        ]
        return [image for image in await together(map(self._inspect, ours)) if image is not None]

    async def _inspect(self, name: str) -> _Stored | None:
        try:
            found: dict[str, Any] = await self.api.ask("GET", f"/images/{name}/json")
        except EngineRefused as refused:
            if refused.status in (400, 404):
                return None
            raise
        labels = (found.get("Config") or {}).get("Labels") or {}
        layers = tuple((found.get("RootFS") or {}).get("Layers") or ())
        tags = tuple(tag for tag in found.get("RepoTags") or () if not tag.endswith(":<none>"))
        return _Stored(tags, labels, moment(str(found.get("Created", ""))), int(found.get("Size", 0)), layers)

    async def _untag(self, names: Iterable[str]) -> None:
        for name in names:
            try:
                await self.api.ask("DELETE", f"/images/{name}", query={"noprune": "false"})
            except EngineRefused as refused:
                if refused.status not in (404, 409):
                    raise


def _is_base(tag: str) -> bool:
    return tag.rpartition(":")[0] in (RUNTIMES, PACKS)


def _lower(image: _Stored, bases: Mapping[str, _Stored]) -> str:
    """The base that an image stands on, the highest of them; "" when there is none."""
    below = [name for name, base in bases.items() if image.stands_on(base)]
    return max(below, key=lambda name: len(bases[name].layers), default="")


def _size(bases: Mapping[str, _Stored], name: str) -> int:
    return bases[name].size_bytes if name else 0


def _own(image: _Stored, environments: Mapping[str, _Stored]) -> int:
    environment = environments.get(image.labels[KEY])
    return image.size_bytes if environment is None else max(image.size_bytes - environment.size_bytes, 0)
