"""Connections to sessions' servers, kept open between requests."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from typing import Protocol

from bindery.own_socket import own_socket
from launcher.spawners.base import Address
from web.traffic.watch import NEVER, Watch

#: A full accept queue of a Unix socket refuses at once instead of letting wait.
_RETRY_SECONDS = 0.02


def _connected(path: str) -> socket.socket:
    """A Unix socket connects at once or not at all; asyncio takes a full accept queue for a connection."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        with own_socket(path) as checked:
            connection.connect(checked)
    except BaseException:
        connection.close()
        raise
    return connection


class User(Protocol):
    """Who a connection is lent to."""

    def received(self, data: bytes) -> None: ...

    def upstream_lost(self, exc: Exception | None) -> None: ...

    def upstream_full(self) -> None: ...

    def upstream_drained(self) -> None: ...


class Upstream(asyncio.Protocol):
    """One connection to a session's server; it serves one user at a time."""

    def __init__(self, pool: Pool, address: Address) -> None:
        self.address = address
        self.transport: asyncio.Transport
        self.user: User | None = None
        self.used = False
        self.deadline = NEVER
        self._pool = pool
        self._paused = False
        self._full = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.user is not None:
            self.user.received(data)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if self.user is not None:
            self.user.upstream_lost(exc)

    def pause_writing(self) -> None:
        self._full = True
        if self.user is not None:
            self.user.upstream_full()

    def resume_writing(self) -> None:
        self._full = False
        if self.user is not None:
            self.user.upstream_drained()

    def pause(self) -> None:
        """Read no more until `resume`."""
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def release(self, *, reusable: bool) -> None:
        """The user is done: keep the connection for the next one, or close it."""
        self.user = None
        if reusable and not self._full and not self.transport.is_closing():
            self.used = True
            self.resume()
            self._pool.give(self)
        else:
            self.transport.abort()

    def expired(self) -> None:
        self.transport.close()


class Pool:
    """Idle connections by address.

    - A connection is lent to one user at a time; the one used last is lent first.
    - Idle connections are closed after a while, when there are too many, and when they say something unasked.
    """

    def __init__(self, watch: Watch, *, connect_seconds: float, idle_seconds: float, idle_per_address: int) -> None:
        self._watch = watch
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._idle_per_address = idle_per_address
        self._idle: dict[Address, list[Upstream]] = defaultdict(list)
        self._closed = False

    def take(self, address: Address) -> Upstream | None:
        """An idle connection, if there is one."""
        idle = self._idle.get(address)
        while idle:
            upstream = idle.pop()
            self._watch.remove(upstream)
            if not upstream.transport.is_closing():
                return upstream
        return None

    def give(self, upstream: Upstream) -> None:
        idle = self._idle[upstream.address]
        if self._closed or len(idle) >= self._idle_per_address:
            upstream.transport.close()
            return
        upstream.deadline = asyncio.get_running_loop().time() + self._idle_seconds
        idle.append(upstream)
        self._watch.add(upstream)

    def forget(self, upstream: Upstream) -> None:
        self._watch.remove(upstream)
        idle = self._idle.get(upstream.address)
        if idle is not None and upstream in idle:
            idle.remove(upstream)
        if not idle:
            self._idle.pop(upstream.address, None)

    async def connect(self, address: Address) -> Upstream:
        """A new connection; raises `OSError` or `TimeoutError`."""
        async with asyncio.timeout(self._connect_seconds):
            while True:
                try:
                    return await self._connect(address)
                except BlockingIOError:
                    await asyncio.sleep(_RETRY_SECONDS)

    async def _connect(self, address: Address) -> Upstream:
        loop = asyncio.get_running_loop()
        if address.socket is not None:
            connected = _connected(address.socket)
            return (await loop.create_unix_connection(lambda: Upstream(self, address), sock=connected))[1]
        host, port = address.host or "", address.port or 0
        return (await loop.create_connection(lambda: Upstream(self, address), host, port))[1]

    def close(self) -> None:
        """Close the idle connections, and keep none from now on."""
        self._closed = True
        for idle in list(self._idle.values()):
            for upstream in list(idle):
                upstream.transport.close()
