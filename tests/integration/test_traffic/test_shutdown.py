"""What happens to connections when the service stops; `serve` itself checks that nothing is left."""

from __future__ import annotations

import asyncio

from tests.integration.test_traffic.conftest import Serve
from tests.integration.test_traffic.test_requests import echo
from tests.support import wait
from tests.support.traffic import Reader, Visitor, Writer, get, until, visitor
from web.traffic import Limits


async def test_idle_connections_are_closed(serve: Serve) -> None:
    async with serve(echo) as (port, _, _):
        first, second, third = [Visitor(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(3)]
        await first.ask(get("/user/s/"))
        await second.ask(get("/health"))
    for client in (first, second, third):
        assert await client.rest() == b""
        client.writer.close()


async def test_a_response_under_way_is_finished(serve: Serve) -> None:
    go = asyncio.Event()

    async def slow(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()

    async with serve(slow) as (port, known, _):
        client = Visitor(*await asyncio.open_connection("127.0.0.1", port))
        await client.send(get("/user/s/"))
        await until(lambda: known.open.get("s"))
        asyncio.get_running_loop().call_later(0.3, go.set)
    answer = await client.response()
    assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
    assert await client.rest() == b""
    client.writer.close()


async def test_what_never_ends_is_cut_off(serve: Serve) -> None:
    async def hangs(reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"websocket" in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await asyncio.Event().wait()

    async with serve(hangs, limits=Limits(shutdown_seconds=0.2, tick_seconds=0.02)) as (port, known, traffic):
        waiting, socket = [Visitor(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        await waiting.send(get("/user/s/"))
        await socket.ask(get("/user/s/ws", "Connection: Upgrade", "Upgrade: websocket"))
        await until(lambda: known.open["s"] == 2)
    assert traffic.counters.websockets == 0
    for client in (waiting, socket):
        assert await client.rest() == b""
        client.writer.close()


async def talks(reader: Reader, writer: Writer) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    while data := await reader.read(100):
        writer.write(data)


async def test_websockets_go_on_while_a_replica_is_drained(serve: Serve) -> None:
    limits = Limits(drain_seconds=30, tick_seconds=0.02)
    async with serve(talks, limits=limits) as (port, _, traffic):
        client = Visitor(*await asyncio.open_connection("127.0.0.1", port))
        await client.ask(get("/user/s/ws", "Connection: Upgrade", "Upgrade: websocket"))
        stopping = asyncio.create_task(_talk_while_stopping(client, port))
    await stopping
    assert traffic.counters.websockets == 0


async def _talk_while_stopping(client: Visitor, port: int) -> None:
    async def is_refused() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await wait.until(is_refused, what="no new connection is taken")
    await client.send(b"still here")
    assert await client.reader.readexactly(10) == b"still here"
    client.writer.close()


async def test_a_drain_ends_in_time(serve: Serve) -> None:
    limits = Limits(drain_seconds=0.2, shutdown_seconds=0.2, tick_seconds=0.02)
    async with serve(talks, limits=limits) as (port, _, traffic):
        client = Visitor(*await asyncio.open_connection("127.0.0.1", port))
        await client.ask(get("/user/s/ws", "Connection: Upgrade", "Upgrade: websocket"))
    assert traffic.counters.websockets == 0
    assert await client.rest() == b""
    client.writer.close()


async def test_a_service_that_nobody_visited_stops(serve: Serve) -> None:
    async with serve(echo) as (port, _, _), visitor(port):
        pass
