"""A build's Dockerfile and context in the registry, from where its Job takes them."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from bindery.errors import BinderyError
from builder.job.order import CONTEXT, DOCKERFILE
from registry.client import RegistryClient
from registry.folder import folder_items
from registry.layer import Part, make_layer
from registry.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest
from registry.names import Reference, Repository
from registry.uploads import BytesSource, FileSource

#: What is younger may be of a Job that is about to be made.
_YOUNG_SECONDS = 3600.0
_EMPTY = b"{}"
_CREATED = "org.opencontainers.image.created"


async def upload_context(client: RegistryClient, target: Reference, dockerfile: Path, context: Path) -> None:
    """Store both under the name `target`, as an artifact of one layer; who deletes the name lets go of the rest."""
    with tempfile.TemporaryDirectory(prefix="context-", dir=dockerfile.parent) as scratch:
        recipe = Path(scratch) / "recipe"
        await asyncio.to_thread(_copy, dockerfile, recipe / Path(DOCKERFILE).name)
        parts = [Part(CONTEXT, folder_items(context)), Part(str(Path(DOCKERFILE).parent), folder_items(recipe))]
        layer = await make_layer(parts, Path(scratch) / "layer.tar.gz")
        await client.upload(target.repository, FileSource(layer.path, layer.digest, layer.size))
    config = BytesSource(_EMPTY)
    await client.upload(target.repository, config)
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": config.digest, "size": config.size},
        "layers": [layer.descriptor(OCI_LAYER).document()],
        "annotations": {_CREATED: datetime.now(UTC).isoformat(timespec="seconds")},
    }
    await client.put_manifest(target, Manifest.write(document))


async def remove_contexts(client: RegistryClient, repository: Repository, prefix: str, kept: Collection[str]) -> None:
    """Remove contexts whose names begin with `prefix`, but for those `kept` and for those of the last hour."""
    for tag in [tag async for tag in client.tags(repository) if tag.startswith(prefix)]:
        if tag not in kept:
            with contextlib.suppress(BinderyError):
                manifest = await client.manifest(Reference(repository, tag))
                if _age(manifest) > _YOUNG_SECONDS:
                    await client.delete(repository, manifest.digest)


def _age(manifest: Manifest) -> float:
    try:
        made = datetime.fromisoformat(manifest.document["annotations"][_CREATED])
        return (datetime.now(UTC) - made).total_seconds()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
