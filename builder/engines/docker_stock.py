"""What a Docker Engine's own store holds of ours."""

from __future__ import annotations

from dataclasses import dataclass

from builder.engines.docker_cli import Docker
from builder.engines.docker_images import environment_name
from builder.engines.docker_registry import Shelf
from builder.engines.layered.images import DRAFTS, ENVIRONMENTS, KEY
from builder.engines.layered.making import Image
from registry.names import Reference
from registry.retention import Holding, Inventory


@dataclass(frozen=True)
class DockerStock:
    """The stock of the docker engine: images by the label that names their environment."""

    docker: Docker
    shelf: Shelf | None = None

    async def inventory(self) -> Inventory:
        """See `Stock`. An image's own bytes are what it has on top of its environment."""
        found = [image for name in await self._names() if (image := await self.docker.image(name)) is not None]
        environments = {image.labels[KEY]: image.size_bytes for image in found if _is_environment(image)}
        images = [
            Holding(tag, image.labels[KEY], _own(image, environments), image.created_at)
            for image in found
            if not _is_environment(image)
            for tag in image.tags
            if not tag.startswith(f"{DRAFTS}:")
        ]
        return Inventory(images, environments)

    async def has(self, reference: str) -> bool:
        """See `Stock`. With a registry, that is where images are."""
        if self.shelf is not None:
            return await self.shelf.has(Reference.parse(reference))
        return await self.docker.image(reference) is not None

    async def remove_image(self, reference: str) -> None:
        """See `Stock`. A container that still uses it keeps it."""
        await self.docker.untag(reference)
        if self.shelf is not None:
            await self.shelf.remove(Reference.parse(reference))

    async def remove_environment(self, key: str) -> None:
        """See `Stock`."""
        await self.docker.untag(environment_name(key))
        if self.shelf is not None:
            await self.shelf.remove(self.shelf.environment(key))

    async def _names(self) -> list[str]:
        template = "{{.Repository}}:{{.Tag}}"
        ended = await self.docker.run("image", "ls", "--filter", f"label={KEY}", "--format", template)
        return [name for name in ended.stdout.decode().split() if not name.endswith(":<none>")]


def _is_environment(image: Image) -> bool:
    return any(tag.startswith(f"{ENVIRONMENTS}:") for tag in image.tags)


def _own(image: Image, environments: dict[str, int]) -> int:
    return max(image.size_bytes - environments.get(image.labels[KEY], 0), 0)
