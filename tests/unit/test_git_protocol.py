"""pkt-lines and greetings of protocol 2, whatever a server sends."""

from __future__ import annotations

import asyncio
from unittest import mock

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.git_protocol import Offers, command, offers, packet, payloads, stream_payloads

ID = "a" * 40
BEGIN = b"001e# service=git-upload-pack\n0000"


def greeting(*lines: str) -> bytes:
    return BEGIN + b"".join(packet(f"{line}\n") for line in lines) + b"0000"


@pytest.mark.parametrize(
    ("lines", "offered"),
    [
        (("version 2", "ls-refs=unborn"), Offers(refs=True)),
        (("version 2", "ls-refs", "fetch=shallow filter"), Offers(refs=True, single_commits=True)),
        (("version 2", "ls-refs", "fetch=filter"), Offers(refs=True)),
        (("version 2", "fetch=shallow", "object-format=sha1"), Offers(single_commits=True)),
        (("version 2", "ls-refs", "fetch=shallow", "object-format=sha256"), Offers(refs=True)),
        ((f"{ID} HEAD",), Offers()),
        (("version 1", "ls-refs", "fetch=shallow"), Offers()),
    ],
)
def test_what_a_server_offers(lines: tuple[str, ...], offered: Offers) -> None:
    assert offers(greeting(*lines)) == offered


def test_a_greeting_that_is_cut_short_offers_what_is_there() -> None:
    whole = greeting("version 2", "ls-refs", "fetch=shallow")
    assert offers(whole[:-6]) == Offers(refs=True)


@given(st.binary(max_size=200))
def test_any_greeting_is_read(data: bytes) -> None:
    assert isinstance(offers(data), Offers)


def test_a_command_has_its_arguments_after_a_delimiter() -> None:
    assert command("fetch", ["done"]) == b"0012command=fetch\n00010009done\n0000"


async def test_a_stream_gives_what_its_bytes_give() -> None:
    data = packet("one\n") + b"0001" + packet("two\n") + b"0004" + b"0000"
    assert await streamed(data) == list(payloads(data)) == [b"one\n", b"two\n"]


@pytest.mark.parametrize("data", [b"", b"00", packet("one"), packet("one")[:-1], b"<htm", packet("one") + b"zzzz"])
async def test_a_stream_has_to_end_with_a_flush(data: bytes) -> None:
    with pytest.raises(ValueError, match="pkt-line"):
        await streamed(data)


async def streamed(data: bytes) -> list[bytes]:
    protocol = mock.Mock(_reading_paused=False)
    stream = aiohttp.StreamReader(protocol, 1 << 16, loop=asyncio.get_running_loop())
    stream.feed_data(data)
    stream.feed_eof()
    return [payload async for payload in stream_payloads(stream)]
