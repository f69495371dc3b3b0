"""Manifests and indexes: their kinds, what they say, and whether they are what their digest promises."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bindery.errors import ImageNotFound, InvalidImageReference, RegistryBroken
from registry.names import check_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

IMAGES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_LIST)
ACCEPT = ", ".join((*IMAGES, *INDEXES))

_MAX_LAYERS = 1000


@dataclass(frozen=True)
class Descriptor:
    """What points to content: its media type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int

    def document(self) -> dict[str, Any]:
        """The descriptor as it stands in a manifest."""
        return {"mediaType": self.media_type, "size": self.size, "digest": self.digest}


@dataclass(frozen=True)
class Manifest:
    """A manifest or index: its exact bytes, and what they say."""

    descriptor: Descriptor
    raw: bytes
    document: Mapping[str, Any]

    @classmethod
    def read(cls, raw: bytes, media_type: str, algorithm: str = "sha256") -> Manifest:
        """The manifest of these bytes; raises `RegistryBroken` for anything else than an image or an index."""
        try:
            document = json.loads(raw)
        except ValueError:
            document = None
        if not isinstance(document, dict) or document.get("schemaVersion") != 2:
            raise RegistryBroken("The registry's manifest is not one of an image.")
        kind = document.get("mediaType") or media_type
        if kind not in (*IMAGES, *INDEXES) or (media_type in (*IMAGES, *INDEXES) and media_type != kind):
            raise RegistryBroken(f"The registry's manifest is of the kind {str(kind)[:100]!r}, not of an image.")
        return cls(Descriptor(kind, digest_of(raw, algorithm), len(raw)), raw, document)

    @classmethod
    def write(cls, document: Mapping[str, Any]) -> Manifest:
        """The manifest that says this."""
        return cls.read(json.dumps(document, indent=1).encode(), document["mediaType"])

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return self.descriptor.digest

    @property
    def media_type(self) -> str:
        """The kind of the manifest."""
        return self.descriptor.media_type

    @property
    def is_index(self) -> bool:
        """Whether this leads to images for several platforms."""
        return self.media_type in INDEXES

    @property
    def config(self) -> Descriptor:
        """Where an image's configuration is."""
        return descriptor(self.document.get("config"))

    @property
    def layers(self) -> tuple[Descriptor, ...]:
        """An image's layers, the lowest first."""
        found = self.document.get("layers")
        if not isinstance(found, list) or len(found) > _MAX_LAYERS:
            raise RegistryBroken("The registry's manifest has no layers.")
        return tuple(descriptor(item) for item in found)

    @property
    def size(self) -> int:
        """Bytes of the whole image, as it is stored."""
        return self.descriptor.size + self.config.size + sum(layer.size for layer in self.layers)

    def platform(self, architecture: str, system: str = "linux") -> Descriptor:
        """The image of an index for one kind of machine; raises `ImageNotFound`."""
        items = self.document.get("manifests")
        for item in items if isinstance(items, list) else []:
            platform = item.get("platform") if isinstance(item, dict) else None
            if (
                isinstance(platform, dict)
                and (platform.get("os"), platform.get("architecture")) == (system, architecture)
                and item.get("mediaType") in (*IMAGES, *INDEXES)
            ):
                return descriptor(item)
        raise ImageNotFound(f"The image is not there for {system}/{architecture}.")


def descriptor(item: Any) -> Descriptor:
    """The descriptor that a part of a manifest is; raises `RegistryBroken`."""
    try:
        media_type, digest, size = item["mediaType"], check_digest(item["digest"]), item["size"]
    except (KeyError, TypeError, InvalidImageReference):
        raise RegistryBroken("The registry's manifest points to nothing that can be verified.") from None
    if not isinstance(media_type, str) or not isinstance(size, int) or size < 0:
        raise RegistryBroken("The registry's manifest points to nothing that can be verified.")
    return Descriptor(media_type, digest, size)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest of these bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
