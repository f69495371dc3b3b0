"""One commit from a Git server without Git's own network processes: what comes goes straight into its `index-pack`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from yarl import URL

from bindery.errors import HostUnreachable, ToolMissing
from bindery.process import spawned
from bindery.program import PIPE
from bindery.settings import MIB, FetchSettings
from builder import git
from builder.fetch_limits import TELL_SECONDS, Tell, too_large
from builder.git_protocol import command, send, stream_payloads
from builder.guard import GuardedClient, reading

#: Seconds of silence after which a server is given up; Git's own says something each five.
SILENT_SECONDS = 30.0

_DATA, _ERROR = 1, 3
_SHALLOW = re.compile(rb"shallow ([0-9a-f]{40})")


async def fetch_pack(
    client: GuardedClient, url: str, commit: str, folder: Path, limits: FetchSettings, tell: Tell
) -> bool:
    """Bring `commit`, without those before it, into the bare repository `folder`; False when the server will not.

    Nothing has come then. Raises `RepositoryTooLarge` and `HostUnreachable`.
    """
    address = URL(url)
    timeout = aiohttp.ClientTimeout(total=limits.timeout_seconds, sock_read=SILENT_SECONDS)
    request = command("fetch", ["ofs-delta", "no-progress", "deepen 1", f"want {commit}", "done"])
    async with send(client, url, request, timeout) as response:
        if response.status != 200:
            return False
        with reading(address):
            packets = stream_payloads(response.content)
            async with contextlib.aclosing(packets):
                shallow = await _until_pack(packets)
                if shallow is None:
                    return False
                await _index(_pack(packets, address, limits, tell), folder)
    if shallow:
        (folder / "shallow").write_bytes(b"".join(b"%b\n" % name for name in shallow))
    return True


async def _until_pack(packets: AsyncIterator[bytes]) -> list[bytes] | None:
    """The commits whose parents do not come; None where no pack follows."""
    shallow: list[bytes] = []
    async for packet in packets:
        line = packet.rstrip(b"\n")
        if line == b"packfile":
            return shallow
        if line.startswith(b"ERR "):
            return None
        if found := _SHALLOW.fullmatch(line):
            shallow.append(found[1])
    return None


async def _pack(
    packets: AsyncIterator[bytes], address: URL, limits: FetchSettings, tell: Tell
) -> AsyncIterator[memoryview]:
    """The bytes of a pack, no more than may be."""
    size, told = 0, time.monotonic()
    async for packet in packets:
        if packet[0] == _ERROR:
            words = packet[1:].decode(errors="replace").strip()
            raise HostUnreachable(f"{address.host} gave up while it sent the repository: {words[:300]}")
        if packet[0] != _DATA:
            continue
        size += len(packet) - 1
        if size > limits.max_bytes:
            raise too_large(limits)
        if time.monotonic() - told >= TELL_SECONDS:
            told = time.monotonic()
            tell(f"Received {size / MIB:.1f} MiB\n")
        yield memoryview(packet)[1:]


async def _index(pieces: AsyncIterator[memoryview], folder: Path) -> None:
    """Store a pack in a repository, with its index."""
    # The repository goes with its build, so it need not outlive a power cut: waiting for the disk is for nothing.
    argv = git.command("index-pack", "--stdin", config={"core.fsync": "none"})
    try:
        async with spawned(argv, env=git.environment(), cwd=folder, stdin=PIPE) as process:
            assert process.stdin is not None
            async for piece in pieces:
                # Git ends early where it does not like what it gets; it says why.
                if process.returncode is not None or not await _fed(process.stdin, piece):
                    break
            process.stdin.close()
            _, words = await process.communicate()
            if await process.wait() != 0:
                raise HostUnreachable(f"What the server sent cannot be read: {words.decode(errors='replace')[:300]}")
    except FileNotFoundError as error:
        raise ToolMissing("Git is not installed on the server.") from error


async def _fed(stdin: asyncio.StreamWriter, piece: memoryview) -> bool:
    try:
        stdin.write(piece)
        await stdin.drain()
    except ConnectionError:
        return False
    return True
