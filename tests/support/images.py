"""Small images made by hand, for tests of registries."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from registry.client import ClientSettings, RegistryClient
from registry.compression import Compression
from registry.folder import folder_items
from registry.layer import Layer, LayerSettings, Part, write_layer
from registry.manifests import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
)
from registry.names import Reference
from registry.transport import RetryPolicy
from registry.uploads import BytesSource, FileSource, Source

#: Retries that do not make tests wait.
QUICK = ClientSettings(retry=RetryPolicy(attempts=4, first_seconds=0.01, longest_seconds=0.05))

Files = Mapping[str, str | bytes]


def layer_of(folder: Path, name: str, files: Files, compression: Compression = Compression.GZIP) -> Layer:
    """A layer of these files in `home/jovyan`; `folder` is for work."""
    tree = folder / f"{name}-tree"
    for path, content in files.items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())
    return write_layer([Part("home/jovyan", folder_items(tree))], folder / name, LayerSettings(compression=compression))


async def push_image(
    client: RegistryClient,
    reference: Reference,
    layers: Sequence[Layer],
    config: Mapping[str, Any] | None = None,
    *,
    docker: bool = False,
    history: bool = True,
) -> Manifest:
    """Store an image with these layers, of OCI's or of Docker's kind."""
    kinds = (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER) if docker else (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER)
    document: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
    }
    if history:
        document["history"] = [{"created_by": "a test"}, {"created_by": "nothing", "empty_layer": True}]
        document["history"] += [{"created_by": "a test"}] * (len(layers) - 1)
    blob = BytesSource(json.dumps(document).encode())
    sources: list[Source] = [blob, *(FileSource(layer.path, layer.digest, layer.size) for layer in layers)]
    for source in sources:
        await client.upload(reference.repository, source)
    manifest = Manifest.write(
        {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": Descriptor(kinds[1], blob.digest, blob.size).document(),
            "layers": [layer.descriptor(kinds[2]).document() for layer in layers],
        }
    )
    await client.put_manifest(reference, manifest)
    return manifest


def skopeo(*words: str | Path) -> str:
    """What skopeo says: a second opinion on what a registry holds."""
    argv = ["skopeo", "--insecure-policy", *map(str, words)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
