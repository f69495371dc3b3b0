"""Sessions and visitors that misbehave; each server is named after its fault."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

import pytest

from launcher.spawners.base import Address
from tests.integration.test_traffic.conftest import Serve
from tests.integration.test_traffic.test_requests import echo, stalled
from tests.support.traffic import Handler, Reader, Writer, get, reset_connection, session_server, until, visitor
from web.traffic import Limits, Route

BOTH_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nonly this"


def answers(data: bytes, *, reset: bool = False) -> Handler:
    """A server that says this to the first request, and goes."""

    async def server(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()
        if reset:
            writer.transport.abort()

    return server


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"junk\r\n\r\n",
        BOTH_LENGTHS,
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
async def test_server_answers_junk(serve: Serve, data: bytes) -> None:
    async with serve(answers(data)) as (port, _, traffic), visitor(port) as client:
        assert (await client.ask(get("/user/s/"))).status == 502
        assert (await client.ask(get("/health"))).status == 200
        assert traffic.counters.failures == 1


@pytest.mark.parametrize("data", [WITH_LENGTH, IN_CHUNKS, IN_CHUNKS + b"zz\r\n"])
async def test_server_stops_in_the_middle_of_a_response(serve: Serve, data: bytes) -> None:
    async with serve(answers(data)) as (port, _, _), visitor(port) as client:
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.ask(get("/user/s/"))


async def test_server_breaks_a_response_without_length(serve: Serve) -> None:
    """The visitor cannot take the part for the whole."""
    listener: asyncio.Server

    async def breaks(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(UNTIL_CLOSE)
        await writer.drain()
        await go.wait()
        reset_connection(writer)

    go = asyncio.Event()
    listener = await asyncio.start_server(breaks, "127.0.0.1", 0)
    async with serve(echo) as (port, known, _), visitor(port) as client:
        host, session_port = listener.sockets[0].getsockname()
        known.fast["t"] = Route(Address(host=host, port=session_port))
        await client.send(get("/user/t/"))
        await client.head()
        go.set()
        assert not (await client.rest()).endswith(b"0\r\n\r\n")
    listener.close()


async def test_server_sends_more_than_it_announced(serve: Serve) -> None:
    extra = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    async with serve(answers(extra)) as (port, _, _), visitor(port) as client:
        for _ in range(3):
            assert (await client.ask(get("/user/s/"))).body == b"ok"
        assert (await client.ask(get("/health"))).body == b'{"ok":true}'


async def test_server_talks_between_requests(serve: Serve) -> None:
    go = asyncio.Event()
    cut = asyncio.Event()

    async def talks(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
        await reader.read()
        cut.set()

    async with serve(talks) as (port, _, _), visitor(port) as client:
        await client.ask(get("/user/s/"))
        go.set()
        await cut.wait()
        assert (await client.ask(get("/user/s/"))).body == b"ok"


async def test_server_closes_an_idle_connection_under_a_request(serve: Serve) -> None:
    served = 0

    async def closes(reader: Reader, writer: Writer) -> None:
        nonlocal served
        served += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readuntil(b"\r\n\r\n")

    async with serve(closes) as (port, _, _), visitor(port) as client:
        for _ in range(3):
            assert (await client.ask(get("/user/s/"))).body == b"ok"
        assert (await client.ask(get("/user/s/", "Content-Length: 0", method="POST"))).status == 502
        assert served == 3


async def test_server_takes_no_connection(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "web.traffic.reach")
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, socket.create_connection(server.getsockname()):
        async with serve(echo, limits=Limits(connect_seconds=0.05)) as (port, known, _), visitor(port) as client:
            known.fast["full"] = Route(Address(host="127.0.0.1", port=server.getsockname()[1]))
            assert (await client.ask(get("/user/full/"))).status == 503
    assert ": TimeoutError" in caplog.text


async def test_server_refuses(serve: Serve) -> None:
    async with serve(echo) as (port, known, _), visitor(port) as client:
        known.fast["dead"] = Route(Address(socket="/nowhere/socket"))
        known.fast["deaf"] = Route(Address(host="127.0.0.1", port=1))
        for name in ("dead", "deaf"):
            answer = await client.ask(get(f"/user/{name}/"))
            assert answer.status == 503
            assert answer.headers["retry-after"] == "3"
        answer = await client.ask(get("/user/dead/ws", "Connection: Upgrade", "Upgrade: websocket"))
        assert answer.status == 503


async def test_server_puts_something_else_in_place_of_its_socket(serve: Serve, tmp_path: Path) -> None:
    async def other(reader: Reader, writer: Writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        writer.close()

    async with serve(echo) as (port, known, _), session_server(tmp_path, other, "other") as elsewhere:
        (tmp_path / "link").symlink_to(str(elsewhere.address.socket))
        (tmp_path / "file").write_text("x")
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "folder").mkdir()
        async with visitor(port) as client:
            for name in ("link", "file", "pipe", "folder"):
                known.fast[name] = Route(Address(socket=str(tmp_path / name)))
                assert (await client.ask(get(f"/user/{name}/"))).status == 503


async def test_server_never_answers(serve: Serve) -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read()
        await reader.read()

    limits = Limits(response_seconds=0.1, tick_seconds=0.02)
    async with serve(silent, limits=limits) as (port, _, _), visitor(port) as client:
        assert (await client.ask(get("/user/s/"))).status == 504
        assert (await client.ask(get("/health"))).status == 200


async def test_server_answers_before_it_read_the_request(serve: Serve) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
    async with serve(answers(refusal)) as (port, _, _), visitor(port) as client:
        await client.send(get("/user/s/", "Content-Length: 10000000", method="PUT") + b"x" * 1000)
        answer = await client.response()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        client.writer.write(b"x" * 1000)
        assert await client.rest() == b""


async def test_routes_raise(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(echo) as (port, known, _), visitor(port) as client:

        async def fails() -> None:
            raise RuntimeError("the database is away")

        known.looking = fails
        assert (await client.ask(get("/user/x/"))).status == 503
        assert known.open == {}
    assert "the database is away" in caplog.text


async def test_routes_hang(serve: Serve) -> None:
    async with serve(echo, limits=Limits(connect_seconds=0.05)) as (port, known, _), visitor(port) as client:

        async def hangs() -> None:
            await asyncio.Event().wait()

        known.looking = hangs
        assert (await client.ask(get("/user/x/"))).status == 503


# --- visitors -----------------------------------------------------------------------------------------------


async def test_visitor_leaves_while_waiting(serve: Serve) -> None:
    gone = asyncio.Event()

    async def waits(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read() == b""
        gone.set()

    async with serve(waits) as (port, known, _):
        async with visitor(port) as client:
            await client.send(get("/user/s/"))
            await until(lambda: known.open.get("s"))
        async with asyncio.timeout(5):
            await gone.wait()


async def test_visitor_leaves_while_the_session_is_looked_for(serve: Serve) -> None:
    async with serve(echo) as (port, known, traffic):
        cancelled = asyncio.Event()

        async def hangs() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        known.looking = hangs
        async with visitor(port) as client:
            await client.send(get("/user/x/"))
            await until(lambda: traffic.tasks)
        async with asyncio.timeout(5):
            await cancelled.wait()


async def test_visitor_leaves_in_the_middle_of_an_upload(serve: Serve) -> None:
    received = asyncio.get_running_loop().create_future()

    async def reads(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        received.set_result(await reader.read())

    async with serve(reads) as (port, known, _):
        async with visitor(port) as client:
            await client.send(get("/user/s/", "Content-Length: 100", method="PUT") + b"part")
            await until(lambda: known.open.get("s"))
        async with asyncio.timeout(5):
            assert await received in (b"part", b"")


async def test_visitor_sends_a_broken_body(serve: Serve) -> None:
    async with serve(echo) as (port, _, _):
        for path in ("/user/s/", "/upload"):
            async with visitor(port) as client:
                await client.send(get(path, "Transfer-Encoding: chunked", method="POST"))
                await client.send(b"1\r\na\r\nX\r\n\r\nGET /user/s/ HTTP/1.1\r\n\r\n")
                received = await client.rest()
                assert received.startswith(b"HTTP/1.1 400 ") or not received
                assert received.count(b"HTTP/1.1 ") <= 1


async def test_visitor_is_slow_with_the_head(serve: Serve) -> None:
    async with serve(echo, limits=Limits(head_seconds=0.1, tick_seconds=0.02)) as (port, _, _):
        async with visitor(port) as client:
            await client.send(b"GET /user/s/ HTTP/1.1\r\nHo")
            assert (await client.response()).status == 408
            assert await client.rest() == b""
        async with visitor(port) as client:
            assert await client.rest() == b""


async def test_visitor_stays_idle(serve: Serve) -> None:
    often = Limits(tick_seconds=0.02)
    async with serve(echo, limits=often, keep_alive_seconds=1) as (port, _, _), visitor(port) as client:
        for path in ("/health", "/user/s/"):
            await client.ask(get(path))
        assert await client.rest() == b""


async def test_visitor_floods_with_pipelined_requests(serve: Serve) -> None:
    """What waits for its turn is bounded: the visitor cannot send on."""
    go = asyncio.Event()

    async def slow(reader: Reader, writer: Writer) -> None:
        await go.wait()
        await echo(reader, writer)

    request, times = get("/user/s/flood", "X-Fill: " + "x" * 50_000), 500
    async with serve(slow) as (port, _, _), visitor(port) as client:
        client.writer.write(request * times)
        transport = client.writer.transport
        assert await stalled(transport.get_write_buffer_size) > 10_000_000
        go.set()
        for _ in range(times):
            await client.head()
            await client.reader.readexactly(50_000)
            await client.reader.readuntil(b"\r\n\r\n0")
