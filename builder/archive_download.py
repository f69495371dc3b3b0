"""Download: the files of a record, within limits, checked, and made into a commit."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import aiohttp
from yarl import URL

from bindery.errors import HostUnreachable, RepositoryEmpty, RepositoryTooLarge
from bindery.settings import MIB, FetchSettings
from builder.archive import CHUNK, Contents, Member, clean, contents, is_archive
from builder.archive_commit import commit
from builder.fetch_limits import TELL_SECONDS, Tell
from builder.guard import GuardedClient, reading
from builder.providers.api import check_status

#: Files that are downloaded at the same time.
CONCURRENCY = 4
#: Seconds without a byte after which a download is given up.
QUIET_SECONDS = 60.0

_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Part:
    """One file of a record: its path in the repository and where it is. `checksum` is such as "md5:<hex>"."""

    path: str
    url: URL
    size: int | None = None
    checksum: str = ""


@dataclass
class _Progress:
    """What is shared by the downloads of one record."""

    limits: FetchSettings
    tell: Tell
    deadline: float
    received: int = 0
    told: float = 0.0

    def add(self, count: int) -> None:
        self.received += count
        if self.received > self.limits.max_bytes:
            raise too_large(self.limits)
        now = time.monotonic()
        if now - self.told >= TELL_SECONDS:
            self.told = now
            self.tell(f"Received {self.received / MIB:.1f} MiB\n")


async def bring(
    client: GuardedClient, parts: Sequence[Part], message: str, folder: Path, limits: FetchSettings, tell: Tell
) -> str:
    """Download a record's files and commit them into a new bare repository at `folder`; returns the commit's id.

    A record that is one archive is unpacked. Raises `RepositoryTooLarge`, `InvalidArchive`, `HostUnreachable`, ...
    """
    if not parts:
        raise RepositoryEmpty("The record has no files that everybody may download.", hint="Publish its files.")
    if len(parts) > limits.max_files or sum(part.size or 0 for part in parts) > limits.max_bytes:
        raise too_large(limits)
    scratch = folder.with_name(f"{folder.name}.parts")
    progress = _Progress(limits, tell, time.monotonic() + limits.timeout_seconds, told=time.monotonic())
    try:
        async with asyncio.timeout(limits.timeout_seconds):
            named = _distinct(parts)
            await asyncio.to_thread(scratch.mkdir, parents=True)
            await _download_all(client, named, scratch, progress)
            files = await asyncio.to_thread(_files, named, scratch, limits)
            made = await commit(files, message, folder)
    except TimeoutError as error:
        raise HostUnreachable(f"Fetching took longer than {limits.timeout_seconds:g} seconds.") from error
    finally:
        await asyncio.shield(asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True))
    for reason in _told(files.left_out):
        tell(reason)
    return made


def too_large(limits: FetchSettings) -> RepositoryTooLarge:
    """The error for a record over the limits."""
    return RepositoryTooLarge(
        f"The record is over this service's limit of {limits.max_bytes // MIB} MiB or {limits.max_files} files.",
        hint="Keep large data elsewhere and download it in the notebook, or ask the operator to raise the limit.",
    )


def _told(left_out: Counter[str]) -> Iterator[str]:
    for reason, count in left_out.items():
        if reason != "folders and clutter":
            yield f"Left out: {count} {reason}\n"


def _distinct(parts: Sequence[Part]) -> list[Part]:
    """The parts with clean names, none twice: a second one gets a number."""
    taken: set[str] = set()
    named = []
    for part in parts:
        path = clean(part.path) or "file"
        folder, slash, name = path.rpartition("/")
        number = 1
        while path in taken:
            number += 1
            path = f"{folder}{slash}{number}-{name}"
        taken.add(path)
        named.append(replace(part, path=path))
    return named


async def _download_all(client: GuardedClient, parts: Sequence[Part], scratch: Path, progress: _Progress) -> None:
    waiting = iter(enumerate(parts))

    async def work() -> None:
        for number, part in waiting:
            await _download(client, part, scratch / str(number), progress)

    tasks = [asyncio.create_task(work()) for _ in range(min(CONCURRENCY, len(parts)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _download(client: GuardedClient, part: Part, target: Path, progress: _Progress) -> None:
    left = max(progress.deadline - time.monotonic(), 0.1)
    timeout = aiohttp.ClientTimeout(total=left, sock_connect=QUIET_SECONDS, sock_read=QUIET_SECONDS)
    async with client.get(part.url, _HEADERS, timeout=timeout) as response:
        check_status(response, f"There is no file {part.path} at {part.url.host} any more.")
        if progress.received + (response.content_length or 0) > progress.limits.max_bytes:
            raise too_large(progress.limits)
        checksum = _checksum(part)
        with reading(part.url), target.open("wb") as file:
            size = await _write(response.content, file, checksum, progress)
    digest = part.checksum.partition(":")[2].lower()
    if (part.size is not None and size != part.size) or (checksum and checksum.hexdigest() != digest):
        raise HostUnreachable(f"{part.path} did not arrive from {part.url.host} as it was published.")


def _checksum(part: Part) -> hashlib._Hash | None:
    method, _, digest = part.checksum.partition(":")
    method = method.lower().replace("-", "")
    if method not in ("md5", "sha1", "sha256", "sha512") or not digest:
        return None
    return hashlib.new(method, usedforsecurity=False)


async def _write(
    stream: aiohttp.StreamReader, file: IO[bytes], checksum: hashlib._Hash | None, progress: _Progress
) -> int:
    size = 0
    waiting = bytearray()

    def flush(block: bytes) -> None:
        file.write(block)
        if checksum is not None:
            checksum.update(block)

    async for chunk in stream.iter_chunked(CHUNK):
        size += len(chunk)
        progress.add(len(chunk))
        waiting += chunk
        if len(waiting) >= CHUNK:
            await asyncio.to_thread(flush, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(flush, bytes(waiting))
    return size


def _files(parts: Sequence[Part], scratch: Path, limits: FetchSettings) -> Contents:
    """What was downloaded, unpacked if it is one archive."""
    paths = [scratch / str(number) for number in range(len(parts))]
    if len(parts) == 1 and is_archive(parts[0].path):
        return contents(paths[0], limits)
    members = [_member(part, path) for part, path in zip(parts, paths, strict=True)]
    return Contents(lambda: iter(members), sum(member.size for member in members), limits)


def _member(part: Part, path: Path) -> Member:
    def content() -> Iterator[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    return Member(part.path, "100644", path.stat().st_size, content)
