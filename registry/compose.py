"""Adding layers to an image in its registry, without pulling it and without an engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bindery.errors import RegistryBroken
from registry.client import RegistryClient
from registry.compression import Compression
from registry.growing import Growing
from registry.layer import Layer, LayerSettings, Part, make_layer
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
from registry.names import Reference, Repository
from registry.uploads import BytesSource, FileSource, Source

_EPOCH = "1970-01-01T00:00:00Z"
_AT_ONCE = 8
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


@dataclass(frozen=True)
class Base:
    """An image that others are built on, whose layers are in their repository already."""

    manifest: Manifest
    configuration: Mapping[str, Any]


async def compose(
    client: RegistryClient,
    base: Reference,
    target: Reference,
    layers: Sequence[Layer],
    changes: ConfigChanges,
    *,
    architecture: str = "amd64",
) -> Composed:
    """Write the image `target`: the base with layers on top and another configuration; see `put_on`."""
    return await put_on(client, await bring_base(client, base, target, architecture), target, layers, changes)


async def bring_base(client: RegistryClient, base: Reference, target: Reference, architecture: str) -> Base:
    """Read a base, and bring its layers into the target's repository.

    They are mounted, or are there already; only to another registry are they carried, in pieces.
    """
    manifest = await client.image(base, architecture)
    below = dict.fromkeys(manifest.layers) if target.repository != base.repository else {}
    copies = [client.copy_blob(target.repository, layer, base.repository) for layer in below]
    blob, *_ = await _together([client.blob(base.repository, manifest.config), *copies])
    return Base(manifest, _configuration(blob, manifest))


async def put_on(
    client: RegistryClient, base: Base, target: Reference, layers: Sequence[Layer], changes: ConfigChanges
) -> Composed:
    """Write the image `target`: layers on a base.

    - The manifest is written last: whatever fails before, the target's tag is what it was.
    - Asking again with the same inputs sends nothing twice and gives the same digest.
    """
    config = _config(base, layers, changes)
    composed = _manifest(base.manifest, config, layers)
    sources: list[Source] = [*map(_source, layers), config]
    new = await _together([client.upload(target.repository, source) for source in sources])
    sent = sum(source.size for source, is_new in zip(sources, new, strict=True) if is_new)
    digest = await client.put_manifest(target, composed)
    return Composed(target, digest, config.digest, composed.size, sent + len(composed.raw))


async def put_config(
    client: RegistryClient, base: Base, target: Reference, layers: Sequence[Layer], changes: ConfigChanges
) -> int:
    """Send, of what `put_on` sends, the configuration, and say how many bytes that are; layers may be on the way."""
    config = _config(base, layers, changes)
    return config.size if await client.upload(target.repository, config) else 0


def _config(base: Base, layers: Sequence[Layer], changes: ConfigChanges) -> BytesSource:
    return BytesSource(_encoded(_changed(base.configuration, layers, changes)))


async def _together(works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What works give, of which some are done at a time; the first that fails ends the others."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Coroutine[Any, Any, Any]) -> Any:
        async with gate:
            return await work

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(work)) for work in works]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        for work in works:
            work.close()
    return [task.result() for task in tasks]


async def make_and_send(
    client: RegistryClient,
    target: Repository,
    parts: Sequence[Part],
    path: Path,
    settings: LayerSettings,
    beside: Callable[[Layer], Awaitable[int]] | None = None,
) -> tuple[Layer, int]:
    """Make a layer, and send what there is of it meanwhile; and how many bytes were sent, none where that failed.

    What is not there then is sent by `put_on`. What is sent `beside`, by who says how many bytes that are, begins once
    the layer is made, while the rest of it is on the way.
    """
    growing = Growing(path)
    try:
        async with asyncio.TaskGroup() as group:
            making = group.create_task(growing.made(lambda grew: make_layer(parts, path, settings, grew)))
            source = group.create_task(_made(making))
            sending = group.create_task(client.upload_growing(target, growing, source))
            more = 0 if beside is None else await beside(await making)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return making.result(), more + (making.result().size if sending.result() else 0)


async def _made(making: asyncio.Task[Layer]) -> Source:
    return _source(await making)


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


def _changed(base: Mapping[str, Any], layers: Sequence[Layer], changes: ConfigChanges) -> dict[str, Any]:
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
    return dict(base) | {
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
