"""A registry behind the docker engine: environments are pushed once, a commit's files are composed onto them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bindery.errors import ImageNotFound, RegistryRefused
from builder.engines.docker_cli import Docker
from builder.engines.registry_images import architecture
from registry.client import RegistryClient
from registry.compose import Composed, ConfigChanges, bring_base, make_and_send, put_config, put_on
from registry.compression import Compression
from registry.layer import Layer, LayerSettings, Part
from registry.names import Location, Reference

#: How long pushing an image may take, in seconds.
PUSH_SECONDS = 3600.0

_LINE = 120

Say = Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Shelf:
    """Where the docker engine keeps its images for other machines.

    - An image's tag is written last: it is there whole, or not at all.
    - What the registry has already is not sent again.
    """

    client: RegistryClient
    location: Location
    compression: Compression = Compression.GZIP

    @property
    def prefix(self) -> str:
        """What stands before every image's name."""
        return f"{self.location.root}/"

    def environment(self, key: str) -> Reference:
        """The name of an environment in the registry."""
        return self.location.reference(f"bindery-environment:{key}")

    async def has(self, reference: Reference) -> bool:
        """Whether an image is in the registry."""
        return await self.client.head(reference) is not None

    async def blobs(self, reference: Reference) -> Mapping[str, int] | None:
        """What an image takes in the registry, in bytes, by its parts' digests; None when it is not there."""
        try:
            found = await self.client.image(reference, architecture())
        except ImageNotFound:
            return None
        return {part.digest: part.size for part in (found.descriptor, found.config, *found.layers)}

    async def remove(self, reference: Reference) -> None:
        """Remove an image from the registry; one that is not there is no error."""
        found = await self.client.head(reference)
        if found is not None:
            await self.client.delete(reference.repository, found.digest)

    async def push(self, docker: Docker, local: str, target: Reference, say: Say) -> None:
        """Push an image of the engine's own store under a name of the registry, unless it is there.

        Raises `RegistryRefused` with the engine's words.
        """
        if await self.has(target):
            return
        await say(f"Pushing to {target.repository}\n")
        if local != str(target):
            await docker.run("tag", local, str(target))
        ended = await docker.run("push", "--quiet", str(target), timeout_seconds=PUSH_SECONDS)
        if ended.returncode != 0:
            words = ended.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise RegistryRefused(
                f"The image could not be pushed to {target.repository}: {words[-1][:_LINE]}",
                hint="The operator has to look at the registry, and at docker login.",
            )

    async def compose(
        self, key: str, target: Reference, content: Sequence[Part], changes: ConfigChanges, scratch: Path
    ) -> Composed:
        """Put files onto an environment that the registry has, as one layer, without pulling anything."""
        path = scratch / "content.tar.gz"
        try:
            # While one end of the line compresses, the other is asked what it has, and gets what there is.
            async with asyncio.TaskGroup() as group:
                base = group.create_task(bring_base(self.client, self.environment(key), target, architecture()))
                settings = LayerSettings(compression=self.compression)

                async def configured(layer: Layer) -> int:
                    return await put_config(self.client, await base, target, [layer], changes)

                made = group.create_task(
                    make_and_send(self.client, target.repository, content, path, settings, configured)
                )
            layer, sent = made.result()
            done = await put_on(self.client, base.result(), target, [layer], changes)
            return replace(done, uploaded=done.uploaded + sent)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            path.unlink(missing_ok=True)
