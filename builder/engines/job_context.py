"""A build's Dockerfile and context in the registry, from where its Job takes them."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from builder.job.order import CONTEXT, DOCKERFILE
from registry.client import RegistryClient
from registry.folder import folder_items
from registry.layer import Part, make_layer
from registry.manifests import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Manifest
from registry.names import Reference
from registry.uploads import BytesSource, FileSource

_EMPTY = b"{}"


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
    }
    await client.put_manifest(target, Manifest.write(document))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(source.read_bytes())
