"""A corpus of requests that try to reach a session, or another visitor, by confusion."""

from __future__ import annotations

import pytest

from tests.integration.test_traffic.conftest import Serve
from tests.support.traffic import Reader, Writer, get, visitor

HIDDEN = "GET /user/s/hidden HTTP/1.1\r\nHost: a\r\n\r\n"
HOST = "Host: a\r\n"

POST = f"POST {{path}} HTTP/1.1\r\n{HOST}"
GET = f"GET {{path}} HTTP/1.1\r\n{HOST}"
CHUNKED = f"{POST}Transfer-Encoding: chunked\r\n\r\n"

#: Each is followed by the hidden request.
CORPUS = {
    "length and chunks": f"{POST}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
    "two lengths": f"{POST}Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
    "obscured chunked": f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "obscured by a tab": f"{POST}Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n",
    "obscured by a space": f"{POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded": f"{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": f"POST {{path}} HTTP/1.1\n{HOST}Transfer-Encoding: chunked\n\n0\n\n",
    "bare line feed in a value": f"{GET}X: a\nContent-Length: 40\r\n\r\n",
    "bare carriage return": f"{GET}X: a\rContent-Length: 40\r\n\r\n",
    "null": f"{GET}X: a\x00b\r\n\r\n",
    "space in the target": f"GET {{path}} /x HTTP/1.1\r\n{HOST}\r\n",
    "absolute target": f"GET http://a{{path}} HTTP/1.1\r\n{HOST}\r\n",
    "no version": f"GET {{path}}\r\n{HOST}\r\n",
    "connect": f"CONNECT {{path}} HTTP/1.1\r\n{HOST}\r\n",
    "dropping the length": f"{POST}Connection: content-length\r\nContent-Length: 40\r\n\r\n",
    "chunked in HTTP/1.0": CHUNKED.replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n",
    "chunk size with a sign": f"{CHUNKED}+0\r\n\r\n",
    "chunk size overflow": f"{CHUNKED}10000000000000000\r\n",
    "chunk longer than said": f"{CHUNKED}1\r\naX0\r\n\r\n",
    "chunk ended by a line feed": f"{CHUNKED}1\r\na\n0\r\n\r\n",
    "extension with a line feed": f"{CHUNKED}0;\n\r\n\r\n",
    "trailer with a length": f"{CHUNKED}0\r\nContent-Length: 40\r\n\r\n",
    "upgrade with a body": f"{GET}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 40\r\n\r\n",
}


@pytest.mark.parametrize("path", ["/user/s/seen", "/health"])
@pytest.mark.parametrize("attack", CORPUS.values(), ids=CORPUS.keys())
async def test_nothing_hidden_is_ever_a_request(serve: Serve, attack: str, path: str) -> None:
    seen: list[bytes] = []

    async def recording(reader: Reader, writer: Writer) -> None:
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\n"))

    async with serve(recording) as (port, _, _), visitor(port) as client:
        await client.send((attack.replace("{path}", path) + HIDDEN).encode("latin-1"))
        received = await client.rest()
    statuses = [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]
    assert len(statuses) <= 1
    assert set(statuses) <= {400, 405, 505}
    assert not any(b"hidden" in head.split(b"\r\n")[0] for head in seen)


@pytest.mark.parametrize(
    "path",
    ["/user/../health", "/user/s/../../health", "/user/s/%2e%2e/t/", "/user/s%2f..%2ft/", "/user//s/", "/user/%73/"],
)
async def test_paths_that_climb_are_refused(serve: Serve, path: str) -> None:
    async def unused(reader: Reader, writer: Writer) -> None:
        raise AssertionError("reached")

    async with serve(unused) as (port, known, _), visitor(port) as client:
        assert (await client.ask(get(path))).status == 400
        assert known.activities == 0


@pytest.mark.parametrize(
    "path", ["//user/s/", "/%75ser/s/", "/USER/s/", "/user", "/user/", "/./user/s/", "/x/../user/s/"]
)
async def test_other_spellings_are_the_services_own(serve: Serve, path: str) -> None:
    async def unused(reader: Reader, writer: Writer) -> None:
        raise AssertionError("reached")

    async with serve(unused) as (port, known, _), visitor(port) as client:
        assert (await client.ask(get(path))).status == 404
        assert known.activities == 0


@pytest.mark.parametrize("path", ["/user/s/", "/health"])
async def test_a_head_that_is_too_long_is_refused(serve: Serve, path: str) -> None:
    async def unused(reader: Reader, writer: Writer) -> None:
        raise AssertionError("reached")

    async with serve(unused) as (port, _, _):
        for end in ("\r\n\r\n", ""):
            async with visitor(port) as client:
                await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nX: {'x' * 70_000}{end}".encode())
                assert (await client.response()).status == 431
                assert await client.rest() == b""
