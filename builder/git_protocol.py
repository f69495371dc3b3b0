"""Git's protocol 2 (gitprotocol-v2): pkt-lines, what a server's greeting offers, and how commands are sent."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from builder.guard import GuardedClient

#: Largest greeting that is read, in bytes.
MAX_GREETING = 64 * 1024

_DELIMITER = b"0001"
_FLUSH = b"0000"
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_HEAD_BYTES = 4
_HEADERS = {
    "Git-Protocol": "version=2",
    "Content-Type": "application/x-git-upload-pack-request",
    "Accept": "application/x-git-upload-pack-result",
}


@dataclass(frozen=True)
class Offers:
    """Which commands a server takes: `ls-refs`, and `fetch` of a commit without those before it."""

    refs: bool = False
    single_commits: bool = False


#: A server of another protocol.
NOTHING = Offers()


def offers(greeting: bytes) -> Offers:
    """What the beginning of a server's answer to `info/refs` offers; nothing, where it is none of protocol 2."""
    try:
        lines = [line.rstrip(b"\n") for line in payloads(greeting, whole=False)]
    except ValueError:
        return NOTHING
    if b"version 2" not in lines:
        return NOTHING
    told = {name: words.split() for name, _, words in (line.partition(b"=") for line in lines)}
    usual = told.get(b"object-format", [b"sha1"]) == [b"sha1"]
    return Offers(refs=b"ls-refs" in told, single_commits=usual and b"shallow" in told.get(b"fetch", ()))


@contextlib.asynccontextmanager
async def send(
    client: GuardedClient, url: str, request: bytes, timeout: aiohttp.ClientTimeout | None = None
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer to a command, whatever its status."""
    address = URL(url)
    asked = address.with_path(f"{address.path.rstrip('/')}/git-upload-pack")
    async with client.ask(asked, _HEADERS, method="POST", data=request, timeout=timeout) as response:
        yield response


def command(name: str, arguments: Sequence[str]) -> bytes:
    """A request."""
    return packet(f"command={name}\n") + _DELIMITER + b"".join(packet(f"{line}\n") for line in arguments) + _FLUSH


def packet(text: str) -> bytes:
    """A text as pkt-line."""
    data = text.encode()
    return b"%04x" % (len(data) + _HEAD_BYTES) + data


def payloads(data: bytes, *, whole: bool = True) -> Iterator[bytes]:
    """The content of each pkt-line; special packets are passed over. Raises `ValueError` for anything else."""
    position = 0
    while position < len(data):
        length = _length(data[position : position + _HEAD_BYTES])
        if length > _HEAD_BYTES and position + length > len(data):
            if whole:
                raise ValueError("a pkt-line is cut short")
            return
        if length > _HEAD_BYTES:
            yield data[position + _HEAD_BYTES : position + length]
        position += max(length, _HEAD_BYTES)


async def stream_payloads(stream: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """The content of each pkt-line up to the flush; raises `ValueError` for anything else."""
    try:
        while head := _length(await stream.readexactly(_HEAD_BYTES)):
            if head > _HEAD_BYTES:
                yield await stream.readexactly(head - _HEAD_BYTES)
    except EOFError:
        raise ValueError("the pkt-lines are cut short") from None


def _length(head: bytes) -> int:
    if not _LENGTH.fullmatch(head):
        raise ValueError("not a pkt-line")
    return int(head, 16)
