"""Adding layers to an image in its registry, without pulling it and without an engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bindery.errors import RegistryBroken
from registry.client import RegistryClient
from registry.compression import Compression
from registry.layer import Layer
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
from registry.uploads import BytesSource, FileSource, Source

_EPOCH = "1970-01-01T00:00:00Z"
_COPIES_AT_ONCE = 8
_OCI_OF_DOCKER = {DOCKER_LAYER: OCI_LAYER, f"{DOCKER_LAYER}.gzip": f"{OCI_LAYER}+gzip"}


@dataclass(frozen=True)
class ConfigChanges:
    """What the new image says differently; None leaves what the base says, labels and variables are added."""

    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    user: str | None = None
    entrypoint: Sequence[str] | None = None
    cmd: Sequence[str] | None = None
    #: When the image was made, as RFC 3339; the same inputs give the same digest.
    created: str = _EPOCH
    #: What the history says made the layers.
    created_by: str = "bindery"


@dataclass(frozen=True)
class Composed:
    """A composed image. `size` is that of all it needs, `uploaded` what was sent for it, in bytes as stored."""

    reference: Reference
    digest: str
    config_digest: str
    size: int
    uploaded: int


async def compose(
    client: RegistryClient,
    base: Reference,
    target: Reference,
    layers: Sequence[Layer],
    changes: ConfigChanges,
    *,
    architecture: str = "amd64",
) -> Composed:
    """Write the image `target`: the base with layers on top and another configuration.

    - The manifest is written last: whatever fails before, the target's tag is what it was.
    - The base's layers are mounted, or are there already; only to another registry are they carried, in pieces.
    - Asking again with the same inputs sends nothing twice and gives the same digest.
    """
    manifest = await client.image(base, architecture)
    configuration = _configuration(await client.blob(base.repository, manifest.config), manifest)
    config = BytesSource(_encoded(_changed(configuration, layers, changes)))
    composed = _manifest(manifest, config, layers)
    sent = await _bring(client, base, target, manifest, [*map(_source, layers), config])
    digest = await client.put_manifest(target, composed)
    return Composed(target, digest, config.digest, composed.size, sent + len(composed.raw))


async def _bring(
    client: RegistryClient, base: Reference, target: Reference, manifest: Manifest, sources: Sequence[Source]
) -> int:
    """Bring all blobs into the target's repository, several at a time; return how many new bytes were sent."""
    gate = asyncio.Semaphore(_COPIES_AT_ONCE)

    async def upload(source: Source) -> int:
        async with gate:
            return source.size if await client.upload(target.repository, source) else 0

    async def copy(layer: Descriptor) -> None:
        async with gate:
            await client.copy_blob(target.repository, layer, base.repository)

    try:
        async with asyncio.TaskGroup() as group:
            uploads = [group.create_task(upload(source)) for source in sources]
            if target.repository != base.repository:
                for layer in dict.fromkeys(manifest.layers):
                    group.create_task(copy(layer))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return sum(task.result() for task in uploads)


def _source(layer: Layer) -> FileSource:
    return FileSource(layer.path, layer.digest, layer.size)


def _configuration(raw: bytes, manifest: Manifest) -> dict[str, Any]:
    """An image's configuration, if it fits to its layers; raises `RegistryBroken`."""
    try:
        found = json.loads(raw)
        fits = len(found["rootfs"]["diff_ids"]) == len(manifest.layers)
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise RegistryBroken("The base image's configuration does not fit to its layers.")
    return dict(found)


def _changed(base: dict[str, Any], layers: Sequence[Layer], changes: ConfigChanges) -> dict[str, Any]:
    """The configuration of the new image."""
    diff_ids = base["rootfs"]["diff_ids"]
    settings = dict(base.get("config") or {})
    settings["Labels"] = {**(settings.get("Labels") or {}), **changes.labels}
    settings["Env"] = _variables(settings.get("Env") or [], changes.env)
    named: dict[str, Any] = {
        "WorkingDir": changes.workdir,
        "User": changes.user,
        "Entrypoint": _listed(changes.entrypoint),
        "Cmd": _listed(changes.cmd),
    }
    settings |= {name: value for name, value in named.items() if value is not None}
    made = {"created": changes.created, "created_by": changes.created_by}
    history = [*_history(base.get("history"), len(diff_ids)), *([made] * len(layers))]
    if not layers:
        history.append(made | {"empty_layer": True})
    return base | {
        "created": changes.created,
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [*diff_ids, *(layer.diff_id for layer in layers)]},
        "history": history,
    }


def _history(found: Any, layers: int) -> list[Any]:
    """The base's history, with one entry for each layer, as engines expect."""
    known = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    described = sum(not item.get("empty_layer") for item in known)
    return known if described == layers else [{"created": _EPOCH, "created_by": "unknown"}] * layers


def _listed(words: Sequence[str] | None) -> list[str] | None:
    return None if words is None else list(words)


def _variables(base: Sequence[str], added: Mapping[str, str]) -> list[str]:
    """Variables as `NAME=value`, the base's order first."""
    merged = dict(str(item).partition("=")[::2] for item in base)
    return [f"{name}={value}" for name, value in {**merged, **added}.items()]


def _manifest(base: Manifest, config: BytesSource, layers: Sequence[Layer]) -> Manifest:
    """The new manifest, of the base's kind; zstd makes it one of OCI, since Docker's kind has no such layers."""
    oci = base.media_type == OCI_MANIFEST or any(layer.compression is Compression.ZSTD for layer in layers)
    kind, config_kind, layer_kind = (
        (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER) if oci else (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)
    )
    below = [layer.document() for layer in base.layers]
    if oci:
        below = [item | {"mediaType": _OCI_OF_DOCKER.get(item["mediaType"], item["mediaType"])} for item in below]
    return Manifest.write(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": Descriptor(config_kind, config.digest, config.size).document(),
            "layers": [*below, *(layer.descriptor(layer_kind).document() for layer in layers)],
        }
    )


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
