"""Waiting for a notebook server's first answer."""

from __future__ import annotations

import asyncio
import contextlib
import time

import aiohttp

from bindery.errors import SessionFailed
from bindery.own_socket import own_socket
from launcher.spawners.base import Address, Running, Spawner

#: Seconds between two looks; a server on this machine answers within a tenth of a second.
LOOK_SECONDS = 0.01
#: The longer a server takes, the less often it is looked at: by this share of the time that it took already. Where many
#: start at once, looking must not keep them from it.
LOOK_SHARE = 0.05
#: How long one question may take, in seconds.
ASK_SECONDS = 5.0


async def answers(spawner: Spawner, name: str, base_url: str, token: str) -> Address:
    """The server's address, as soon as it answers with HTTP 200.

    Raises `SessionFailed` when it ends before; the caller sets the time limit.
    """
    began = time.monotonic()
    while True:
        address = await spawner.address(name)
        if address is not None and await _answers(address, base_url, token):
            return address
        if await spawner.poll(name) is not Running.RUNNING:
            raise SessionFailed("The notebook server ended before it answered.", hint="The log shows its last words.")
        await asyncio.sleep(max(LOOK_SECONDS, (time.monotonic() - began) * LOOK_SHARE))


async def _answers(address: Address, base_url: str, token: str) -> bool:
    host = "localhost" if address.socket else f"{address.host}:{address.port}"
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
