"""A client of OCI registries: manifests, blobs, tags. It knows no repository of code and no build."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bindery.errors import BinderyError, InvalidImageReference, RegistryBroken
from registry.auth import Authenticator
from registry.credentials import CredentialSource, DockerConfig
from registry.growing import Growing
from registry.manifests import ACCEPT, Descriptor, Manifest, digest_of
from registry.names import Location, Reference, Repository, Scheme, check_digest, check_tag
from registry.transport import Answer, Call, RetryPolicy, Transport
from registry.uploads import Source, Uploads
from registry.wire import Body, Passing, Wire, WireSettings

MIB = 1024 * 1024

_MISSING = frozenset({404})
_MAX_INDEXES = 3
_TAGS_PER_PAGE = 1000
_MAX_PAGES = 1000


@dataclass(frozen=True)
class ClientSettings:
    """How to speak to registries, and what to bear from them."""

    wire: WireSettings = field(default_factory=WireSettings)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_manifest_bytes: int = 8 * MIB
    max_config_bytes: int = 8 * MIB
    chunk_bytes: int = 64 * MIB

    @classmethod
    def of(
        cls, location: Location | None = None, *, plain_http: Collection[str] = (), ca_bundle: Path | None = None
    ) -> ClientSettings:
        """Settings for a service that keeps its images at `location`; `plain_http` names hosts that speak no https."""
        schemes: dict[str, Scheme] = dict.fromkeys(plain_http, "http")
        if location is not None and location.scheme is not None:
            schemes[location.host] = location.scheme
        return cls(WireSettings(schemes, ca_bundle))


class RegistryClient:
    """Images in registries.

    - What is read has the digest that was asked for, or that the registry named; else `RegistryBroken` is raised.
    - Faults that may pass are tried again, within bounds; then `RegistryUnreachable` or `RegistryBusy` is raised.
    - `RegistryRefused` says that the login does not suffice, `RegistryFull` that there is no space.
    """

    def __init__(self, transport: Transport, settings: ClientSettings) -> None:
        self._transport = transport
        self._settings = settings
        self._uploads = Uploads(transport, settings.chunk_bytes)

    # --- images

    async def manifest(self, reference: Reference) -> Manifest:
        """The manifest or index of an image; raises `ImageNotFound`."""
        call = Call("GET", reference.repository, f"manifests/{reference.identifier}", headers={"Accept": ACCEPT})
        answer = await self._transport.fetch(call, limit=self._settings.max_manifest_bytes)
        promised = reference.digest or answer.headers.get("Docker-Content-Digest")
        algorithm = check_digest(promised).partition(":")[0] if promised else "sha256"
        found = Manifest.read(answer.body, _media_type(answer), algorithm)
        if promised is not None and found.digest != promised:
            raise _lies(reference.repository, f"manifest of {reference}")
        return found

    async def image(self, reference: Reference, architecture: str) -> Manifest:
        """The manifest of an image for one kind of machine, whether an index leads to it or not."""
        found = await self.manifest(reference)
        for _ in range(_MAX_INDEXES):
            if not found.is_index:
                return found
            found = await self.manifest(reference.with_digest(found.platform(architecture).digest))
        raise RegistryBroken(f"The registry's index of {reference} leads to indexes without end.")

    async def head(self, reference: Reference) -> Descriptor | None:
        """What an image's manifest or index is, without reading it; None when there is no such image."""
        call = Call(
            "HEAD",
            reference.repository,
            f"manifests/{reference.identifier}",
            headers={"Accept": ACCEPT},
            accept=_MISSING,
        )
        answer = await self._transport.fetch(call)
        if answer.status == 404:
            return None
        digest, size = answer.headers.get("Docker-Content-Digest"), answer.headers.get("Content-Length", "")
        if digest is None or not size.isdecimal():
            return (await self.manifest(reference)).descriptor
        if reference.digest is not None and digest != reference.digest:
            raise _lies(reference.repository, f"manifest of {reference}")
        return Descriptor(_media_type(answer), check_digest(digest), int(size))

    async def put_manifest(self, reference: Reference, manifest: Manifest) -> str:
        """Store a manifest under the reference's tag, or digest; return its digest."""
        call = Call(
            "PUT",
            reference.repository,
            f"manifests/{reference.identifier}",
            "pull,push",
            headers={"Content-Type": manifest.media_type},
            body=Body.of(manifest.raw),
        )
        answer = await self._transport.fetch(call)
        told = answer.headers.get("Docker-Content-Digest")
        if told is not None and told != manifest.digest:
            raise _lies(reference.repository, f"manifest of {reference}")
        return manifest.digest

    async def delete(self, repository: Repository, digest: str) -> bool:
        """Delete the manifest of this digest, and with it all its tags; False when there is none."""
        path = f"manifests/{check_digest(digest)}"
        answer = await self._transport.fetch(Call("DELETE", repository, path, "delete", accept=_MISSING))
        return answer.status != 404

    async def tags(self, repository: Repository) -> AsyncIterator[str]:
        """All tags of a repository, page by page; none when there is no such repository."""
        call = Call("GET", repository, "tags/list", query={"n": str(_TAGS_PER_PAGE)}, accept=_MISSING)
        for _ in range(_MAX_PAGES):
            answer = await self._transport.fetch(call, limit=self._settings.max_manifest_bytes)
            if answer.status == 404:
                return
            for tag in _tags(repository, answer):
                yield tag
            url = self._transport.next_page(answer, repository)
            if url is None:
                return
            call = Call("GET", repository, url=url)
        raise RegistryBroken(f"The registry {repository.host} lists tags without end.")

    # --- blobs

    async def blob(self, repository: Repository, descriptor: Descriptor) -> bytes:
        """A small blob, such as an image's configuration."""
        limit = self._settings.max_config_bytes
        if descriptor.size > limit:
            raise RegistryBroken(f"The image's configuration in {repository} has more than {limit} bytes.")
        answer = await self._transport.fetch(Call("GET", repository, f"blobs/{descriptor.digest}"), limit=limit)
        if digest_of(answer.body, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise _lies(repository, descriptor.digest)
        return answer.body

    async def stream_blob(self, repository: Repository, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob of any size, on from where a broken connection left off.

        Raises `RegistryBroken` at the end when they were not what the digest promised: use nothing before.
        """
        digest, attempts = hashlib.new(descriptor.digest.partition(":")[0]), self._transport.attempts()
        position = 0
        while position < descriptor.size or not position:
            try:
                async with contextlib.aclosing(self._pieces(repository, descriptor, position)) as pieces:
                    async for piece in pieces:
                        digest.update(piece)
                        position += len(piece)
                        yield piece
                break
            except Passing as fault:
                await attempts.pause(fault)
        if position != descriptor.size or digest.hexdigest() != descriptor.digest.partition(":")[2]:
            raise _lies(repository, descriptor.digest)

    async def _pieces(self, repository: Repository, descriptor: Descriptor, start: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from `start` on, never more than there should be."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        call = Call("GET", repository, f"blobs/{descriptor.digest}", headers=headers)
        async with self._transport.open(call) as response:
            skip = start if response.status == 200 else 0
            left = descriptor.size - start
            async for piece in response.content.iter_any():
                kept, skip = piece[skip:], max(0, skip - len(piece))
                left -= len(kept)
                if left < 0:
                    raise _lies(repository, descriptor.digest)
                if kept:
                    yield kept

    async def has_blob(self, repository: Repository, digest: str) -> bool:
        """Whether a repository has a blob."""
        path = f"blobs/{check_digest(digest)}"
        return (await self._transport.fetch(Call("HEAD", repository, path, accept=_MISSING))).status != 404

    async def mount(self, repository: Repository, digest: str, source: Repository) -> bool:
        """Make a blob of another repository of the same registry one of this; False when the registry will not."""
        query = {"mount": check_digest(digest), "from": source.path}
        call = Call("POST", repository, "blobs/uploads/", "pull,push", query=query, source=source)
        answer = await self._transport.fetch(call)
        if answer.status == 201:
            return True
        await self._uploads.abandon(repository, answer)
        return False

    async def upload(self, repository: Repository, source: Source) -> bool:
        """Store a blob; False when it was there already."""
        if await self.has_blob(repository, source.digest):
            return False
        await self._uploads.send(repository, source)
        return True

    async def upload_growing(self, repository: Repository, growing: Growing, whole: asyncio.Task[Source]) -> bool:
        """Store a file, which becomes `whole`, while it is written; False when that failed: then `upload` it."""
        try:
            await self._uploads.send_growing(repository, growing, whole)
        except (BinderyError, Passing, TimeoutError):
            return False
        return True

    async def upload_stream(self, repository: Repository, pieces: AsyncIterator[bytes]) -> Descriptor:
        """Store a blob whose digest is known at its end."""
        return await self._uploads.send_stream(repository, pieces)

    async def copy_blob(self, repository: Repository, descriptor: Descriptor, source: Repository) -> None:
        """Make a blob of any other repository one of this: mounted where possible, else carried over in pieces."""
        if repository == source or await self.has_blob(repository, descriptor.digest):
            return
        if repository.host == source.host and await self.mount(repository, descriptor.digest, source):
            return
        async with contextlib.aclosing(self.stream_blob(source, descriptor)) as pieces:
            await self.upload_stream(repository, pieces)


@contextlib.asynccontextmanager
async def open_client(
    settings: ClientSettings | None = None, credentials: CredentialSource | None = None
) -> AsyncIterator[RegistryClient]:
    """A client that is closed with the block; its logins are those of Docker's config.json if none are given."""
    settings = settings or ClientSettings()
    async with open_transport(settings, credentials) as transport:
        yield RegistryClient(transport, settings)


@contextlib.asynccontextmanager
async def open_transport(
    settings: ClientSettings, credentials: CredentialSource | None = None
) -> AsyncIterator[Transport]:
    """Requests alone, for who passes on those of others; see `open_client`."""
    async with Wire.open(settings.wire) as wire:
        authenticator = Authenticator(wire, credentials or DockerConfig())
        yield Transport(wire, authenticator, settings.retry)


def _media_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _tags(repository: Repository, answer: Answer) -> list[str]:
    try:
        found: Any = json.loads(answer.body)["tags"] or []
        return [check_tag(tag) for tag in found]
    except (ValueError, KeyError, TypeError, InvalidImageReference):
        raise RegistryBroken(f"The registry {repository.host} gave a list of tags that is none.") from None


def _lies(repository: Repository, what: str) -> RegistryBroken:
    return RegistryBroken(f"The registry {repository.host} does not give what was asked for: {what} is different.")
