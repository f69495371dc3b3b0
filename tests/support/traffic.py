"""A real service in front of real sockets, and a visitor who speaks raw HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httptools
import uvicorn

from launcher.spawners.base import Address
from web.traffic import Gone, Route, Traffic, protocol_class

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]

_SESSION = "a session's server"


async def _at_once() -> None:
    """Nothing keeps it waiting."""


@dataclass
class Known:
    """Routes and ledger in memory, as a controller would keep them."""

    fast: dict[str, Route] = field(default_factory=dict)
    slow: dict[str, Route | Gone] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)
    active: dict[str, float] = field(default_factory=dict)
    activities: int = 0
    #: What happens first when a name is looked for.
    looking: Callable[[], Awaitable[None]] = _at_once

    def lookup(self, name: str) -> Route | None:
        return self.fast.get(name)

    async def resolve(self, name: str) -> Route | Gone | None:
        await self.looking()
        return self.slow.get(name) or self.fast.get(name)

    def on_activity(self, name: str, now: float) -> None:
        self.active[name] = now
        self.activities += 1

    def opened(self, name: str) -> None:
        self.open[name] = self.open.get(name, 0) + 1

    def closed(self, name: str) -> None:
        self.open[name] -= 1


def traffic_of(known: Known, **options: Any) -> Traffic:
    return Traffic(routes=known, ledger=known, **options)


@contextlib.asynccontextmanager
async def serving(app: Any, traffic: Traffic, **options: Any) -> AsyncIterator[int]:
    """The service on a free port; after its end no task and no connection may be left."""
    before = asyncio.all_tasks()
    config = uvicorn.Config(
        app,
        http=protocol_class(traffic),
        ws="none",
        log_level="warning",
        lifespan="off",
        **{"timeout_graceful_shutdown": 10, **options},
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    serve = asyncio.create_task(server._serve([listener]))
    await until(lambda: server.started)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serve
        await traffic.aclose()
        listener.close()
    assert not server.server_state.connections
    await until(lambda: not traffic.tasks and not [t for t in asyncio.all_tasks() - before if t.get_name() != _SESSION])


@contextlib.asynccontextmanager
async def session_server(folder: Path, handler: Handler, name: str = "s") -> AsyncIterator[Route]:
    """A raw server on a Unix socket; each connection is given to the handler and closed after it."""
    running: set[asyncio.Task[Any]] = set()

    async def accept(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(_SESSION)
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        running.discard(task)

    path = folder / name
    server = await asyncio.start_unix_server(accept, str(path))
    try:
        yield Route(Address(socket=str(path)))
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Response:
    """A response as a strict client understands it."""

    status: int
    headers: dict[str, str]
    body: bytes
    informational: list[int] = field(default_factory=list)


class _Reading:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


class Visitor:
    """One client connection."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def response(self, *, bodiless: bool = False) -> Response:
        """The next response, complete; raises `IncompleteReadError` when it is cut off."""
        informational: list[int] = []
        head = await self.head()
        while head[9:10] == b"1" and head[9:12] != b"101":
            informational.append(int(head[9:12]))
            head = await self.head()
        reading = _Reading()
        parser = httptools.HttpResponseParser(reading)
        with contextlib.suppress(httptools.HttpParserUpgrade):
            parser.feed_data(head)
        status = parser.get_status_code()
        if not bodiless and status not in (101, 204, 304):
            await self._body(reading, parser)
        return Response(status, reading.headers, reading.body, informational)

    async def _body(self, reading: _Reading, parser: httptools.HttpResponseParser) -> None:
        framed = "content-length" in reading.headers or "transfer-encoding" in reading.headers
        while not reading.complete:
            async with asyncio.timeout(20):
                data = await self.reader.read(1 if framed and len(reading.body) < 65536 else 65536)
            if not data:
                if framed:
                    raise asyncio.IncompleteReadError(reading.body, None)
                return
            parser.feed_data(data)

    async def ask(self, data: bytes, *, bodiless: bool = False) -> Response:
        await self.send(data)
        return await self.response(bodiless=bodiless)

    async def rest(self) -> bytes:
        """Everything until the connection ends, however it ends."""
        received = b""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(65536):
                    received += data
        return received


@contextlib.asynccontextmanager
async def visitor(port: int) -> AsyncIterator[Visitor]:
    """A connection to the service."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        yield Visitor(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def get(path: str, *headers: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: bindery.test", *headers, "", ""]).encode("latin-1")


def transport_of(writer: Writer) -> asyncio.Transport:
    """What carries a connection both ways; the standard library promises that a writer's writes."""
    return cast("asyncio.Transport", writer.transport)


def reset_connection(writer: Writer) -> None:
    """Break a TCP connection."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
