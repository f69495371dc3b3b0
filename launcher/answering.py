"""Waiting for a notebook server's first answer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable

import aiohttp

from bindery.errors import SessionFailed
from bindery.own_socket import own_socket
from launcher.spawners.base import Address, Running, Spawner, Status

#: Seconds between two looks; a server on this machine answers within a tenth of a second.
LOOK_SECONDS = 0.01
#: The longer a server takes, the less often it is looked at: by this share of the time that it took already. Where many
#: start at once, looking must not keep them from it.
LOOK_SHARE = 0.05
#: Looking for a socket's file costs next to nothing.
SOCKET_LOOK_SHARE = 0.01
LONGEST_LOOK_SECONDS = 1.0
#: All looks together keep so many seconds from one to the next: of a hundred servers each is looked at every tenth of a
#: second.
SPACING_SECONDS = 0.001
#: One that does not run yet, because its image is on the way or no node has room, cannot answer: no hurry.
STARTING_LOOK_SECONDS = 0.1
#: How long one question may take, in seconds.
ASK_SECONDS = 5.0


async def answers(
    spawner: Spawner,
    name: str,
    base_url: str,
    token: str,
    *,
    seconds: float,
    say: Callable[[str], Awaitable[None]],
    wanted: Callable[[], bool] = lambda: True,
    others: set[str],
) -> Address:
    """The server's address, as soon as it answers with HTTP 200; `say` gets the lines about the way there.

    `others` are the names of all servers that run and are looked at now: the more there are, the less often is each.
    Raises what the engine says when it ends before, and `SessionFailed` when it runs for `seconds` without an answer or
    is not `wanted` any more.
    """
    began = time.monotonic()
    told = 0
    try:
        async with asyncio.timeout(None) as limit:
            while wanted():
                status = await spawner.poll(name)
                for line in status.steps[told:]:
                    await say(line)
                told = len(status.steps)
                if status.running is not Running.STARTING and limit.when() is None:
                    limit.reschedule(asyncio.get_running_loop().time() + seconds)
                    others.add(name)
                address = await _address(spawner, name, status)
                if address is not None and await _answers(address, base_url, token):
                    return address
                await asyncio.sleep(_pause(status, address, time.monotonic() - began, len(others)))
    except TimeoutError:
        raise SessionFailed(f"The notebook server did not answer within {seconds:g} seconds.") from None
    finally:
        others.discard(name)
    raise SessionFailed("The session was ended before its server answered.")


def _pause(status: Status, address: Address | None, waited: float, servers: int) -> float:
    """Seconds until the next look at one of so many servers."""
    if status.running is Running.STARTING:
        return max(STARTING_LOOK_SECONDS, min(waited * LOOK_SHARE, LONGEST_LOOK_SECONDS))
    share = SOCKET_LOOK_SHARE if address is not None and address.socket is not None else LOOK_SHARE
    return min(max(LOOK_SECONDS, waited * share, servers * SPACING_SECONDS), LONGEST_LOOK_SECONDS)


async def _address(spawner: Spawner, name: str, status: Status) -> Address | None:
    """Where the server may answer by now. Raises why it never will."""
    if status.failure is not None:
        raise status.failure
    if status.running in (Running.EXITED, Running.MISSING):
        raise SessionFailed("The notebook server ended before it answered.", hint="The log shows its last words.")
    return await spawner.address(name) if status.running is Running.RUNNING else None


async def _answers(address: Address, base_url: str, token: str) -> bool:
    if not await _listens(address):
        return False
    host = "localhost" if address.socket else _authority(address)
    timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
    try:
        with own_socket(address.socket) if address.socket else contextlib.nullcontext() as path:
            connector = aiohttp.UnixConnector(path) if path else aiohttp.TCPConnector()
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as client,
                client.get(
                    f"http://{host}{base_url}api/status", headers={"Authorization": f"token {token}"}
                ) as response,
            ):
                return response.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


def _authority(address: Address) -> str:
    """Host and port as a URL has them."""
    host = f"[{address.host}]" if ":" in (address.host or "") else address.host
    return f"{host}:{address.port}"


async def _listens(address: Address) -> bool:
    """Whether somebody takes connections: a fifth of the work of a whole question, which mostly comes too early."""
    if address.socket:
        return _is_there(address.socket)
    try:
        async with asyncio.timeout(ASK_SECONDS):
            _, writer = await asyncio.open_connection(address.host, address.port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _is_there(path: str) -> bool:
    return os.path.lexists(path)
