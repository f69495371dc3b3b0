"""What a well-behaved visitor and a well-behaved session see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from launcher.spawners.base import Address
from tests.integration.test_traffic.conftest import Serve, Service
from tests.support.traffic import Reader, Writer, get, transport_of, until, visitor
from web.traffic import Gone, Limits, Route

MIB = 1024 * 1024


async def echo(reader: Reader, writer: Writer) -> None:
    """Answers with the head that it got, then the length of the body."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        body = await read_body(head, reader)
        text = head + b"%d" % body
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text))
        writer.write(b"" if head.startswith(b"HEAD") else text)
        await writer.drain()


async def read_body(head: bytes, reader: Reader) -> int:
    lower = head.lower()
    if b"content-length: " in lower:
        length = int(lower.split(b"content-length: ")[1].split(b"\r\n")[0])
        left = length
        while left:
            left -= len(await reader.readexactly(min(left, 65536)))
        return length
    total = 0
    while b"transfer-encoding: chunked" in lower:
        size = int((await reader.readline()).strip(), 16)
        await reader.readexactly(size)
        await reader.readline()
        total += size
        if size == 0:
            break
    return total


async def test_pages_and_sessions_alternate_on_one_connection(serve: Serve) -> None:
    async with serve(echo) as (port, known, traffic), visitor(port) as client:
        for number in range(5):
            page = await client.ask(get("/health"))
            assert (page.status, page.body) == (200, b'{"ok":true}')
            answer = await client.ask(get(f"/user/s/{number}"))
            assert answer.body.startswith(b"GET /user/s/%d HTTP/1.1\r\n" % number)
            head = f"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {number}\r\n\r\n"
            assert (await client.ask(head.encode() + b"x" * number)).body == b'{"bytes":%d}' % number
        assert traffic.counters.requests == 5
        assert known.activities == 5
        assert known.open == {"s": 0}


async def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    chunked = b"POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    session = b"POST /user/s/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    parts = [get("/user/s/1"), chunked, session, get("/health"), get("/user/x/"), get("/user/s/3")]
    async with serve(echo) as (port, _, _), visitor(port) as client:
        await client.send(b"".join(parts) * 10)
        for _ in range(10):
            assert (await client.response()).body.startswith(b"GET /user/s/1 ")
            assert (await client.response()).body == b'{"bytes":3}'
            assert (await client.response()).body.endswith(b"\r\n\r\n3")
            assert (await client.response()).body == b'{"ok":true}'
            assert (await client.response()).status == 404
            assert (await client.response()).body.startswith(b"GET /user/s/3 ")


async def test_a_request_may_arrive_byte_by_byte(serve: Serve) -> None:
    async with serve(echo) as (port, _, _), visitor(port) as client:
        raw = b"\r\n" + get("/user/s/slow", "Content-Length: 2", method="POST") + b"ab" + get("/health")
        for byte in raw:
            await client.send(bytes([byte]))
        assert (await client.response()).body.startswith(b"POST /user/s/slow ")
        assert (await client.response()).body == b'{"ok":true}'


async def test_connections_to_a_session_are_used_again(serve: Serve) -> None:
    accepted = 0

    async def counting(reader: Reader, writer: Writer) -> None:
        nonlocal accepted
        accepted += 1
        await echo(reader, writer)

    async with serve(counting) as (port, _, _):
        for _ in range(3):
            async with visitor(port) as client:
                for _ in range(3):
                    await client.ask(get("/user/s/"))
        assert accepted == 1


async def test_idle_connections_to_a_session_are_closed_after_a_while(serve: Serve) -> None:
    gone = asyncio.Event()

    async def noticing(reader: Reader, writer: Writer) -> None:
        try:
            await echo(reader, writer)
        finally:
            gone.set()

    limits = Limits(upstream_idle_seconds=0.05, tick_seconds=0.02)
    async with serve(noticing, limits=limits) as (port, _, _), visitor(port) as client:
        await client.ask(get("/user/s/"))
        async with asyncio.timeout(5):
            await gone.wait()


async def test_head_and_empty_responses_have_no_body(serve: Serve) -> None:
    async def empty(reader: Reader, writer: Writer) -> None:
        for status in (b"200 OK", b"204 No Content", b"304 Not Modified"):
            await reader.readuntil(b"\r\n\r\n")
            length = b"" if status.startswith(b"204") else b"Content-Length: 5\r\n"
            writer.write(b"HTTP/1.1 " + status + b"\r\n" + length + b"\r\n")
        await echo(reader, writer)

    async with serve(empty) as (port, _, _), visitor(port) as client:
        answer = await client.ask(get("/user/s/", method="HEAD"), bodiless=True)
        assert answer.headers["content-length"] == "5"
        assert (await client.ask(get("/user/s/"))).status == 204
        assert (await client.ask(get("/user/s/"))).status == 304
        assert (await client.ask(get("/user/s/"))).status == 200
        assert (await client.ask(get("/user/x/", method="HEAD"), bodiless=True)).status == 404
        assert (await client.ask(get("/health"))).status == 200


async def test_chunked_responses_keep_their_trailers(serve: Serve) -> None:
    async def chunks(reader: Reader, writer: Writer) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
            for part in (b"3\r\nab", b"c\r\n", b"2;x=1\r\nde\r\n0", b"\r\nX-Sum: 9\r\n", b"\r\n"):
                writer.write(part)
                await writer.drain()

    async with serve(chunks) as (port, _, _), visitor(port) as client:
        for _ in range(3):
            answer = await client.ask(get("/user/s/"))
            assert answer.body == b"abcde"
            assert answer.headers["x-sum"] == "9"


async def test_a_response_that_ends_with_its_connection_keeps_the_visitors_open(serve: Serve) -> None:
    async def closing(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello ")
        await writer.drain()
        writer.write(b"world")

    async with serve(closing) as (port, _, _), visitor(port) as client:
        for _ in range(3):
            assert (await client.ask(get("/user/s/"))).body == b"hello world"


async def test_a_visitor_with_http_1_0_gets_a_closed_connection(serve: Serve) -> None:
    async with serve(echo) as (port, _, _), visitor(port) as client:
        await client.send(b"GET /user/s/ HTTP/1.0\r\nHost: a\r\n\r\n")
        received = await client.rest()
        assert b"Connection: close" in received.partition(b"\r\n\r\n")[0]
        assert b"GET /user/s/ HTTP/1.0" in received


async def test_expect_100_continue_is_between_visitor_and_session(serve: Serve) -> None:
    async def continuing(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(5)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    async with serve(continuing) as (port, _, _), visitor(port) as client:
        await client.send(get("/user/s/", "Expect: 100-continue", "Content-Length: 5", method="PUT"))
        assert b" 103 " in await client.head()
        assert b" 100 " in await client.head()
        await client.send(b"hello")
        assert (await client.response()).body == b"hello"


async def test_large_uploads_and_downloads_need_little_memory(serve: Serve) -> None:
    total = 100 * MIB

    async def large(reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert await read_body(head, reader) == total
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // MIB):
            writer.write(b"x" * MIB)
            await writer.drain()

    async with serve(large) as (port, _, traffic), visitor(port) as client:

        async def upload() -> None:
            await client.send(get("/user/s/", f"Content-Length: {total}", method="PUT"))
            for _ in range(total // MIB):
                await client.send(b"y" * MIB)

        sending = asyncio.create_task(upload())
        await client.head()
        received = 0
        while received < total:
            received += len(await client.reader.read(MIB))
        await sending
        assert traffic.counters.bytes_received == traffic.counters.bytes_sent == total


async def stalled(count: Callable[[], int]) -> int:
    """Wait until a counter moves no more; gives where it stopped."""
    before, still = -1, 0
    async with asyncio.timeout(10):
        while still < 10:
            await asyncio.sleep(0.01)
            before, still = count(), still + 1 if count() == before else 0
    return before


async def test_a_visitor_who_does_not_read_stops_the_session(serve: Serve) -> None:
    async def endless(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()

    async with serve(endless) as (port, known, traffic), visitor(port) as client:
        transport_of(client.writer).pause_reading()
        await client.send(get("/user/s/"))
        assert 0 < await stalled(lambda: traffic.counters.bytes_sent) < 16 * MIB
        client.writer.transport.abort()
        await until(lambda: not known.open["s"])


async def test_a_session_that_does_not_read_stops_the_visitor(serve: Serve) -> None:
    release = asyncio.Event()

    async def deaf(reader: Reader, writer: Writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        transport_of(writer).pause_reading()
        await release.wait()

    async with serve(deaf) as (port, known, traffic), visitor(port) as client:
        await client.send(get("/user/s/", f"Content-Length: {200 * MIB}", method="PUT"))
        client.writer.write(b"x" * 32 * MIB)
        assert 0 < await stalled(lambda: traffic.counters.bytes_received) < 16 * MIB
        client.writer.transport.abort()
        release.set()
        await until(lambda: not known.open["s"])


async def test_event_streams_of_the_service_notice_that_the_visitor_left(serve: Serve, service: Service) -> None:
    async with serve(echo) as (port, _, _):
        async with visitor(port) as client:
            await client.ask(get("/user/s/"))
            await client.send(get("/events"))
            assert b"text/event-stream" in await client.head()
            await client.reader.readuntil(b"hello\n\n")
            assert service.streams == 1
        await until(lambda: service.streams == 0)


async def test_an_upgrade_that_the_service_does_not_know_is_a_plain_request(serve: Serve) -> None:
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "Content-Length: 27")
    smuggled = b"GET /user/s/ HTTP/1.1\r\n\r\n\r\n"[:27]
    async with serve(echo) as (port, known, _), visitor(port) as client:
        answer = await client.ask(get("/upload", *headers, method="POST") + smuggled)
        assert answer.body == b'{"bytes":27}'
        assert known.activities == 0


@pytest.mark.parametrize("upgrade", [(), ("Connection: Upgrade", "Upgrade: websocket")])
async def test_sessions_that_ended_or_never_were(serve: Serve, upgrade: tuple[str, ...]) -> None:
    def gone(name: str, languages: str | None) -> tuple[str, bytes]:
        return (
            ("text/html", f"<p>{name} ended</p>".encode()) if languages is not None else ("text/plain", name.encode())
        )

    headers = {"Content-Security-Policy": "default-src 'self'"}
    async with serve(echo, gone_page=gone, page_headers=headers) as (port, known, _):
        known.slow["old"] = Gone()
        async with visitor(port) as client:
            answer = await client.ask(get("/user/old/lab", "Accept: text/html, */*", *upgrade))
            assert (answer.status, answer.body) == (424, b"<p>old ended</p>")
            assert answer.headers["content-security-policy"] == "default-src 'self'"
        async with visitor(port) as client:
            answer = await client.ask(get("/user/old/lab", *upgrade))
            assert (answer.headers["content-type"], answer.body) == ("text/plain", b"old")
        async with visitor(port) as client:
            assert (await client.ask(get("/user/never/", *upgrade))).status == 404
        assert not known.open
        assert not known.active


async def test_a_route_that_memory_does_not_know_is_resolved(serve: Serve) -> None:
    async with serve(echo) as (port, known, _), visitor(port) as client:
        known.slow["late"] = known.fast["s"]
        assert (await client.ask(get("/user/late/"))).status == 200


async def test_a_session_that_moved_is_found_again(serve: Serve) -> None:
    async with serve(echo) as (port, known, _), visitor(port) as client:
        old = known.fast["s"]
        assert old.address.socket
        known.fast["s"] = Route(Address(socket=f"{old.address.socket}.gone"))
        known.slow["s"] = old
        assert (await client.ask(get("/user/s/"))).status == 200


async def test_a_session_on_a_port(serve: Serve) -> None:
    server = await asyncio.start_server(echo_once, "127.0.0.1", 0)
    host, port_of_session = server.sockets[0].getsockname()
    async with serve(echo) as (port, known, _), visitor(port) as client:
        known.fast["t"] = Route(Address(host=host, port=port_of_session))
        assert (await client.ask(get("/user/t/"))).body == b"ok"
    server.close()


async def echo_once(reader: Reader, writer: Writer) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await writer.drain()
    writer.close()
