"""Images of ours in a registry: what is known of one, its files, its labels; nothing is pulled for that."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import platform
import posixpath
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bindery.errors import ImageNotFound, InvalidImageReference, RegistryRefused, ToolMissing
from builder.engines.layered.making import Image
from registry.client import RegistryClient
from registry.compose import ConfigChanges, compose
from registry.manifests import Descriptor, Manifest
from registry.names import Location, Reference

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_MOST_LINKS = 8
#: Larger files of an image are not read.
_MAX_FILE = 16 * 1024 * 1024


def architecture() -> str:
    """The kind of processor that images are made for: this machine's."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


@dataclass(frozen=True)
class RegistryImages:
    """Images below one location of a registry. `cache` is a folder for files that were read of images."""

    client: RegistryClient
    location: Location
    cache: Path

    def name(self, repository: str, tag: str) -> str:
        """See `ImageMaker`. `bindery/runtime` becomes `bindery-runtime` below the location."""
        return str(self.location.reference(f"{repository.replace('/', '-')}:{tag}"))

    async def image(self, name: str) -> Image | None:
        """See `ImageMaker`."""
        reference = Reference.parse(name)
        try:
            manifest = await self.client.image(reference, architecture())
        except ImageNotFound:
            return None
        config: Mapping[str, Any] = json.loads(await self.client.blob(reference.repository, manifest.config))
        return Image(
            id=manifest.config.digest,
            tags=(name,),
            labels=dict((config.get("config") or {}).get("Labels") or {}),
            created_at=_moment(str(config.get("created", ""))),
            size_bytes=manifest.size,
            architecture=str(config.get("architecture", "")),
        )

    async def bring(self, name: str) -> Image:
        """See `ImageMaker`. Jobs bring it from where it is: here it only has to be there."""
        hint = "Name a Debian or Ubuntu image with its registry, such as docker.io/library/ubuntu:24.04: " + (
            "BINDERY_BUILD__OS_IMAGE."
        )
        try:
            found = await self.image(name)
        except InvalidImageReference as error:
            raise ToolMissing(f"The OS image {name} names no registry.", hint=hint) from error
        if found is None:
            raise ToolMissing(f"The OS image {name} is not in its registry.", hint=hint)
        return found

    async def label(self, image: str, name: str, labels: Mapping[str, str]) -> None:
        """See `ImageMaker`. Only a new configuration is written."""
        created = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        changes = ConfigChanges(labels=labels, created=created)
        base, target = Reference.parse(image), Reference.parse(name)
        await compose(self.client, base, target, [], changes, architecture=architecture())

    async def untag(self, *names: str) -> None:
        """See `ImageMaker`. A registry that lets nothing be deleted keeps it."""
        for reference in map(Reference.parse, names):
            with contextlib.suppress(RegistryRefused, ImageNotFound):
                if (found := await self.client.head(reference)) is not None:
                    await self.client.delete(reference.repository, found.digest)

    async def read_file(self, name: str, path: str) -> bytes | None:
        """See `ImageMaker`. What was read once is kept: layers are large."""
        reference = Reference.parse(name)
        manifest = await self.client.image(reference, architecture())
        digest = hashlib.sha256(f"{manifest.digest} {path}".encode()).hexdigest()[:32]
        kept = self.cache / "files-of-images" / digest
        if not await asyncio.to_thread(kept.exists):
            data = await self._find(reference, manifest, path)
            if data is None:
                return None
            await asyncio.to_thread(_keep, kept, data)
        return await asyncio.to_thread(kept.read_bytes)

    async def _find(self, reference: Reference, manifest: Manifest, path: str) -> bytes | None:
        wanted = posixpath.normpath(path).lstrip("/")
        with tempfile.TemporaryDirectory(prefix="bindery-layers-") as folder:
            layers = [Path(folder) / str(number) for number in range(len(manifest.layers))]
            for _ in range(_MOST_LINKS):
                found = await self._search(reference, manifest, layers, wanted)
                if not isinstance(found, str):
                    return found
                wanted = found
        return None

    async def _search(
        self, reference: Reference, manifest: Manifest, layers: list[Path], wanted: str
    ) -> bytes | str | None:
        """The file's content, where it leads if it is a link, or None; the uppermost layer counts."""
        for place, descriptor in reversed(list(zip(layers, manifest.layers, strict=True))):
            if not place.exists():
                await self._download(reference, descriptor, place)
            found = await asyncio.to_thread(_look, place, wanted)
            if found is not None:
                return found
        return None

    async def _download(self, reference: Reference, descriptor: Descriptor, place: Path) -> None:
        with place.open("wb") as file:
            async with contextlib.aclosing(self.client.stream_blob(reference.repository, descriptor)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(file.write, piece)


def _look(layer: Path, wanted: str) -> bytes | str | None:
    with tarfile.open(layer) as archive:
        for member in archive:
            if posixpath.normpath(member.name).lstrip("/") != wanted:
                continue
            if member.issym():
                target = posixpath.join(posixpath.dirname(f"/{wanted}"), member.linkname)
                return posixpath.normpath(target).lstrip("/")
            if member.islnk():
                return posixpath.normpath(member.linkname).lstrip("/")
            reader = archive.extractfile(member) if member.isfile() and member.size <= _MAX_FILE else None
            return None if reader is None else reader.read()
    return None


def _keep(place: Path, data: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(f".{time.monotonic_ns()}")
    draft.write_bytes(data)
    draft.replace(place)


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
