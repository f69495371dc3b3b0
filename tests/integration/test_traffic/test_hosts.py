"""Sessions that have a host each: no page of one reaches another one at its own host."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import websockets

from tests.integration.test_traffic.conftest import Serve
from tests.integration.test_traffic.test_requests import echo
from tests.integration.test_traffic.test_websockets import echo_server
from tests.support.traffic import visitor

PATTERN = "{name}.sessions.example.org"


def get(name: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET /user/{name}/tree HTTP/1.1", *lines, "", ""]).encode()


@pytest.mark.parametrize("host", ["s.sessions.example.org", "S.Sessions.Example.ORG", "s.sessions.example.org:8443"])
async def test_a_session_answers_at_its_own_host(serve: Serve, host: str) -> None:
    async with serve(echo, session_host=PATTERN) as (port, _, _), visitor(port) as client:
        assert (await client.ask(get("s", f"Host: {host}"))).status == 200
        page = await client.ask(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert page.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "other.sessions.example.org",
        "sessions.example.org",
        "s.sessions.example.org.evil.example",
        "x.s.sessions.example.org",
        "127.0.0.1",
        "[::1]",
        "",
    ],
)
async def test_at_no_other_host(serve: Serve, host: str) -> None:
    async with serve(echo, session_host=PATTERN) as (port, known, traffic), visitor(port) as client:
        answer = await client.ask(get("s", f"Host: {host}"))
        assert answer.status == 421
        assert traffic.counters.requests == 0
        assert known.activities == 0


OWN, OTHER = "s.sessions.example.org", "other.sessions.example.org"
INNER = "Host: bindery-proxy"


@pytest.mark.parametrize(
    ("lines", "alone", "trusted"),
    [
        ((INNER, f"X-Forwarded-Host: {OWN}"), 421, 200),
        ((INNER, f"X-Forwarded-Host: {OTHER}"), 421, 421),
        # What a page at another session's host can send.
        ((f"Host: {OTHER}", f"X-Forwarded-Host: {OWN}"), 421, 421),
        ((INNER, f"X-Forwarded-Host: {OWN}, {OTHER}"), 421, 421),
        ((INNER, f"X-Forwarded-Host: {OWN}", f"X-Forwarded-Host: {OTHER}"), 421, 421),
        ((f"Host: {OWN}", f"X-Forwarded-Host: {OTHER}"), 200, 200),
        ((INNER,), 421, 421),
    ],
)
async def test_a_trusted_proxy_says_which_host_was_asked_for_where_it_has_replaced_it(
    serve: Serve, lines: tuple[str, ...], alone: int, trusted: int
) -> None:
    for networks, status in (((), alone), (("127.0.0.0/8",), trusted)):
        chosen = serve(echo, session_host=PATTERN, trusted_proxies=networks)
        async with chosen as (port, _, _), visitor(port) as client:
            assert (await client.ask(get("s", *lines))).status == status


async def test_websockets_too(serve: Serve, tmp_path: Path) -> None:
    pattern = "{name}.localhost:1234"
    async with serve(echo, session_host=pattern) as (port, known, traffic), echo_server(tmp_path) as known.fast["w"]:
        connect = partial(websockets.connect, host="127.0.0.1", port=port, proxy=None)
        async with connect("ws://w.localhost/user/w/channels") as connection:
            await connection.send("text")
            assert await connection.recv() == "text"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect("ws://s.localhost/user/w/channels")
        assert refused.value.response.status_code == 421
        assert traffic.counters.requests == 1


async def test_where_all_share_a_host_any_will_do(serve: Serve) -> None:
    async with serve(echo) as (port, _, _), visitor(port) as client:
        assert (await client.ask(get("s", "Host: anything.example"))).status == 200
