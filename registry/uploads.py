"""Bringing blobs into a registry: whole, in chunks, and on from where a broken connection left off."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from yarl import URL

from bindery.errors import BinderyError, ImageNotFound, RegistryBroken
from registry.growing import Growing
from registry.manifests import Descriptor, digest_of
from registry.names import Repository
from registry.transport import Answer, Call, Transport
from registry.wire import Body, Passing

PIECE_BYTES = 1024 * 1024
_ABANDON_SECONDS = 5.0
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class Source(Protocol):
    """Content that can be read from any place, again and again."""

    @property
    def digest(self) -> str:
        """The digest of the whole."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in pieces."""


@dataclass(frozen=True)
class BytesSource:
    """A few bytes."""

    data: bytes

    @property
    def digest(self) -> str:
        """The digest of the bytes."""
        return digest_of(self.data)

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self.data)

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """See `Source`."""
        for position in range(start, end, PIECE_BYTES):
            yield self.data[position : min(position + PIECE_BYTES, end)]


@dataclass(frozen=True)
class FileSource:
    """A file, whose digest and size are known and do not change."""

    path: Path
    digest: str
    size: int

    async def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """See `Source`."""
        while start < end and (piece := await asyncio.to_thread(self._piece, start, min(PIECE_BYTES, end - start))):
            start += len(piece)
            yield piece

    def _piece(self, start: int, size: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(size)


@dataclass
class _Session:
    """An upload that has begun: where it goes on, and how many bytes the registry has."""

    url: URL
    offset: int = 0


class Uploads:
    """Uploads into registries.

    - One request for what is no larger than `chunk_bytes`, else one for each chunk.
    - After a broken connection the registry is asked how far it came, and the upload goes on from there; where it does
      not know, the upload begins anew, within the bounds of the retry policy.
    - What the registry has at the end has the digest that was promised: it verifies, and so do we.
    """

    def __init__(self, transport: Transport, chunk_bytes: int) -> None:
        self._transport = transport
        self._chunk = chunk_bytes

    async def send(self, repository: Repository, source: Source) -> None:
        """Upload content whose digest is known."""
        attempts = self._transport.attempts()
        async with self._begun(repository) as session:
            while True:
                try:
                    if source.size - session.offset <= self._chunk:
                        return await self._finish(repository, session, source.digest, source)
                    await self._append(repository, session, source, session.offset + self._chunk)
                    attempts.forget()
                except Passing as fault:
                    await attempts.pause(fault)
                    found = await self._recover(repository, session, source.size) or await self._begin(repository)
                    session.url, session.offset = found.url, found.offset

    async def send_growing(self, repository: Repository, growing: Growing, whole: asyncio.Task[Source]) -> None:
        """Upload a file while it is written, in one request; `whole` is what it becomes.

        Nothing is tried twice. Raises `Passing` too, and `TimeoutError`.
        """
        async with self._begun(repository) as session:
            sending = asyncio.create_task(self._stream(repository, session, Body(growing.pieces, None)))
            try:
                await asyncio.wait({sending, whole}, return_when=asyncio.FIRST_COMPLETED)
                if not sending.done():
                    left = Body(growing.pieces, (await whole).size).seconds or 0.0
                    async with asyncio.timeout(self._transport.request_seconds + left):
                        await sending
                await sending
                await self._finish(repository, session, (await whole).digest, None)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _stream(self, repository: Repository, session: _Session, body: Body) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        call = Call("PATCH", repository, actions="pull,push", url=session.url, headers=headers, body=body)
        answer = await self._transport.once(call)
        session.url = self._transport.follow(answer, "Location") or session.url

    async def send_stream(self, repository: Repository, pieces: AsyncIterator[bytes]) -> Descriptor:
        """Upload content that comes once, of a digest that is known at its end; one chunk is held in memory.

        Raises `RegistryUnreachable` when the registry forgot what it had, since it cannot be read again.
        """
        digest, sent = hashlib.sha256(), 0
        async with self._begun(repository) as session:
            async for chunk in _chunks(pieces, self._chunk):
                digest.update(chunk)
                await self._append_once(repository, session, chunk, sent)
                sent += len(chunk)
            name = f"sha256:{digest.hexdigest()}"
            await self._finish_stream(repository, session, name, sent)
        return Descriptor("application/octet-stream", name, sent)

    async def _append_once(self, repository: Repository, session: _Session, chunk: bytes, sent: int) -> None:
        """Append a chunk that begins at `sent`, resuming in its middle if need be."""
        attempts, source = self._transport.attempts(), BytesSource(chunk)
        while session.offset < sent + len(chunk):
            try:
                await self._append(repository, session, source, sent + len(chunk), sent)
            except Passing as fault:
                await attempts.pause(fault)
                found = await self._recover(repository, session, sent + len(chunk))
                if found is None or found.offset < sent:
                    raise fault.error from fault
                session.url, session.offset = found.url, found.offset

    async def _finish_stream(self, repository: Repository, session: _Session, digest: str, size: int) -> None:
        attempts = self._transport.attempts()
        while True:
            try:
                return await self._finish(repository, session, digest, None)
            except Passing as fault:
                await attempts.pause(fault)
                if await self._exists(repository, digest, size):
                    return None

    async def _begin(self, repository: Repository) -> _Session:
        answer = await self._transport.fetch(Call("POST", repository, "blobs/uploads/", "pull,push"))
        return self._session(repository, answer)

    @contextlib.asynccontextmanager
    async def _begun(self, repository: Repository) -> AsyncIterator[_Session]:
        """An upload that is given up when the block does not bring it to its end."""
        beginning = asyncio.create_task(self._begin(repository))
        try:
            yield await asyncio.shield(beginning)
        except BaseException:
            await _to_its_end(self._abandon(repository, beginning))
            raise

    async def abandon(self, repository: Repository, answer: Answer) -> None:
        """Give up an upload that an answer began, so that nothing is left of it."""
        await self._delete(repository, self._session(repository, answer))

    async def _abandon(self, repository: Repository, beginning: asyncio.Task[_Session]) -> None:
        """What cannot be given up in a short time, the registry itself removes later."""
        with contextlib.suppress(BinderyError, Passing, TimeoutError):
            async with asyncio.timeout(_ABANDON_SECONDS):
                await self._delete(repository, await beginning)

    async def _delete(self, repository: Repository, session: _Session) -> None:
        with contextlib.suppress(BinderyError, Passing):
            await self._transport.once(Call("DELETE", repository, actions="pull,push", url=session.url))

    def _session(self, repository: Repository, answer: Answer) -> _Session:
        """The upload that an answer began."""
        url = self._transport.follow(answer, "Location")
        if answer.status != 202 or url is None:
            raise RegistryBroken(f"The registry {repository.host} began no upload.")
        return _Session(url)

    async def _append(
        self, repository: Repository, session: _Session, source: Source, end: int, origin: int = 0
    ) -> None:
        """Send the bytes up to `end`; the source's first byte is at `origin`."""
        start = session.offset
        headers = {"Content-Type": "application/octet-stream", "Content-Range": f"{start}-{end - 1}"}
        body = Body(lambda: source.read(start - origin, end - origin), end - start)
        call = Call("PATCH", repository, actions="pull,push", url=session.url, headers=headers, body=body)
        answer = await self._transport.once(call)
        session.url = self._transport.follow(answer, "Location") or session.url
        session.offset = end

    async def _finish(self, repository: Repository, session: _Session, digest: str, source: Source | None) -> None:
        """Send the rest, and name the digest of the whole."""
        headers = {"Content-Type": "application/octet-stream"}
        body, start = None, session.offset
        if source is not None and start < source.size:
            whole = source
            body = Body(lambda: whole.read(start, whole.size), whole.size - start)
            if start:
                headers["Content-Range"] = f"{start}-{whole.size - 1}"
        # Added as text: what the registry itself wrote may be signed, letter by letter.
        separator = "&" if session.url.raw_query_string else "?"
        url = URL(f"{session.url}{separator}digest={digest.replace(':', '%3A')}", encoded=True)
        call = Call("PUT", repository, actions="pull,push", url=url, headers=headers, body=body)
        answer = await self._transport.once(call)
        told = answer.headers.get("Docker-Content-Digest")
        if answer.status != 201 or (told is not None and told != digest):
            raise RegistryBroken(f"The registry {repository.host} stored other content than it was sent.")

    async def _recover(self, repository: Repository, session: _Session, most: int) -> _Session | None:
        """The upload as the registry knows it; None when it does not."""
        call = Call("GET", repository, actions="pull,push", url=session.url)
        try:
            answer = await self._transport.fetch(call)
        except (ImageNotFound, RegistryBroken):
            return None
        found = _RANGE.fullmatch(answer.headers.get("Range", ""))
        if answer.status != 204 or found is None or int(found[1]) + 1 > most:
            return None
        url = self._transport.follow(answer, "Location") or session.url
        # An upload without a byte has the range 0-0 too: what was sent before tells them apart.
        offset = int(found[1]) + 1
        return _Session(url, 0 if offset == 1 and session.offset == 0 else offset)

    async def _exists(self, repository: Repository, digest: str, size: int) -> bool:
        call = Call("HEAD", repository, f"blobs/{digest}", "pull,push", accept=frozenset({404}))
        answer = await self._transport.fetch(call)
        return answer.status == 200 and answer.headers.get("Content-Length") == str(size)


async def _to_its_end(work: Coroutine[None, None, None]) -> None:
    """Wait for work that takes a short time, even if somebody cancels the waiting."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


async def _chunks(pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in chunks of `size`, the last one shorter."""
    buffer = bytearray()
    async for piece in pieces:
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)
