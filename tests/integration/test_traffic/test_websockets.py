"""WebSockets through the service, with a real client and a real server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from launcher.spawners.base import Address
from tests.integration.test_traffic.conftest import Serve
from tests.integration.test_traffic.test_requests import echo, stalled
from tests.support.traffic import Reader, Writer, get, transport_of, until, visitor
from web.traffic import Limits, Route

MIB = 1024 * 1024
UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


@contextlib.asynccontextmanager
async def echo_server(folder: Path) -> AsyncIterator[Route]:
    async def handler(connection: websockets.ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    path = str(folder / "websocket")
    async with websockets.unix_serve(handler, path, max_size=None, compression="deflate"):
        yield Route(Address(socket=path))


def url(port: int, name: str = "w") -> str:
    return f"ws://127.0.0.1:{port}/user/{name}/api/kernels/1/channels?token=x"


async def test_messages_are_echoed_unchanged(serve: Serve, tmp_path: Path) -> None:
    async with serve(echo) as (port, known, traffic), echo_server(tmp_path) as known.fast["w"]:
        async with websockets.connect(url(port), max_size=None, proxy=None) as connection:
            for message in ("text", b"binary", "", "x" * 100_000, b"\x00" * 5 * MIB):
                await connection.send(message)
                assert await connection.recv() == message
            await (await connection.ping())
            assert traffic.counters.websockets == 1
            assert known.open["w"] == 1
        await until(lambda: traffic.counters.websockets == 0)


async def test_two_hundred_at_once(serve: Serve, tmp_path: Path) -> None:
    async with serve(echo) as (port, known, traffic), echo_server(tmp_path) as known.fast["w"]:
        together = asyncio.Barrier(200)

        async def one(number: int) -> None:
            async with websockets.connect(url(port), proxy=None, open_timeout=30) as connection:
                await together.wait()
                for turn in range(5):
                    await connection.send(f"{number} {turn}")
                    assert await connection.recv() == f"{number} {turn}"

        await asyncio.gather(*(one(number) for number in range(200)))
        await until(lambda: traffic.counters.websockets == 0)
        assert known.open["w"] == 0


async def test_activity_is_told_at_most_once_a_second(serve: Serve, tmp_path: Path) -> None:
    async with serve(echo) as (port, known, _), echo_server(tmp_path) as known.fast["w"]:
        async with websockets.connect(url(port), proxy=None) as connection:
            for _ in range(500):
                await connection.send("x")
                await connection.recv()
        assert 2 <= known.activities <= 6


async def test_a_refused_handshake_is_a_plain_response(serve: Serve) -> None:
    async def refuses(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await echo(reader, writer)

    async with serve(refuses) as (port, _, _), visitor(port) as client:
        assert (await client.ask(get("/user/s/", *UPGRADE))).status == 403
        assert (await client.ask(get("/health"))).status == 200
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url(port, "nobody"), proxy=None)
        assert refused.value.response.status_code == 404


async def test_bytes_around_the_handshake_are_not_lost(serve: Serve) -> None:
    async def eager(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH + b"hello")
        writer.write(await reader.readexactly(5))

    async with serve(eager) as (port, _, _), visitor(port) as client:
        await client.send(get("/user/s/", *UPGRADE) + b"early")
        assert (await client.response()).status == 101
        assert await client.reader.readexactly(10) == b"helloearly"


async def test_when_one_side_ends_the_other_may_still_speak(serve: Serve) -> None:
    async def speaks_last(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        assert await reader.read() == b"bye"
        writer.write(b"last words")

    async with serve(speaks_last) as (port, _, _), visitor(port) as client:
        await client.ask(get("/user/s/", *UPGRADE))
        await client.send(b"bye")
        client.writer.write_eof()
        assert await client.rest() == b"last words"


async def test_a_side_that_never_ends_is_cut_off(serve: Serve) -> None:
    async def stays(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        await reader.read()
        await asyncio.Event().wait()

    limits = Limits(half_closed_seconds=0.1, tick_seconds=0.02)
    async with serve(stays, limits=limits) as (port, known, _), visitor(port) as client:
        await client.ask(get("/user/s/", *UPGRADE))
        client.writer.write_eof()
        await until(lambda: known.open["s"] == 0)


@pytest.mark.parametrize("side", ["visitor", "session"])
async def test_when_one_side_breaks_the_other_is_closed(serve: Serve, side: str) -> None:
    go, gone = asyncio.Event(), asyncio.Event()

    async def breaks(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        if side == "session":
            await go.wait()
            writer.transport.abort()
        else:
            await reader.read()
            gone.set()

    async with serve(breaks) as (port, known, _), visitor(port) as client:
        await client.ask(get("/user/s/", *UPGRADE))
        go.set()
        if side == "session":
            assert await client.rest() == b""
        else:
            client.writer.transport.abort()
            await gone.wait()
        await until(lambda: known.open["s"] == 0)


async def test_a_visitor_who_does_not_read_stops_the_session(serve: Serve) -> None:
    async def floods(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCH)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serve(floods) as (port, known, traffic), visitor(port) as client:
        await client.ask(get("/user/s/", *UPGRADE))
        transport_of(client.writer).pause_reading()
        assert 0 < await stalled(lambda: traffic.counters.bytes_sent) < 16 * MIB
        transport_of(client.writer).resume_reading()
        before = traffic.counters.bytes_sent
        await client.reader.readexactly(MIB)
        await until(lambda: traffic.counters.bytes_sent > before)
        client.writer.transport.abort()
        await until(lambda: known.open["s"] == 0)
