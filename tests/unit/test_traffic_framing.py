from __future__ import annotations

import contextlib
import itertools

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.traffic.framing import CHUNKED, UNTIL_CLOSE, Chunked, FramingError, body_of, chunk

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def fed(data: bytes, cuts: list[int]) -> tuple[int, bool]:
    """How many bytes a chunked body claims, fed in pieces, and whether it ended."""
    body, total = Chunked(), 0
    for piece in pieces(data, cuts):
        used = body.feed(piece)
        total += used
        if used < len(piece):
            break
    return total, body.done


class Oracle:
    def __init__(self) -> None:
        self.body = b""
        self.complete = 0

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete += 1


@given(st.lists(st.binary(min_size=1, max_size=50)), st.lists(st.integers(0, 10_000)), st.binary(max_size=20))
def test_a_chunked_body_ends_exactly_where_its_last_chunk_does(
    parts: list[bytes], cuts: list[int], later: bytes
) -> None:
    body = b"".join(map(chunk, parts)) + b"0\r\nX-Sum: 1\r\n\r\n"
    assert fed(body + later, cuts) == (len(body), True)


grammar = st.sampled_from(
    [b"0", b"1", b"5", b"a", b"F", b"\r\n", b"\n", b"\r", b" ", b";", b"x=1", b"hello", b"\r\n0\r\n\r\n", b":", b"\x00"]
)


@given(st.lists(grammar, max_size=12).map(b"".join), st.lists(st.integers(0, 100)))
def test_whatever_is_accepted_other_parsers_frame_in_the_same_way(data: bytes, cuts: list[int]) -> None:
    try:
        used, done = fed(data, cuts)
    except FramingError:
        return
    oracle = Oracle()
    parser = httptools.HttpRequestParser(oracle)
    parser.feed_data(HEAD)
    with contextlib.suppress(httptools.HttpParserError) if not done else contextlib.nullcontext():
        parser.feed_data(data[:used])
    assert bool(oracle.complete) == done


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_how_the_bytes_are_cut_makes_no_difference(data: bytes, cuts: list[int]) -> None:
    def outcome(cuts: list[int]) -> tuple[int, bool] | None:
        try:
            return fed(data, cuts)
        except FramingError:
            return None

    assert outcome(cuts) == outcome([])


@pytest.mark.parametrize(
    "data",
    [
        b"g\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"5 \r\n",
        b"5\n",
        b"\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"ffffffffffffffff\r\n",
        b"5;a=\x00\r\n",
        b"5;\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
        b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"0\r\n folded\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"1;" + b"a" * 5000,
        b"0\r\n" + b"A: %b\r\n" % (b"x" * 4000) * 5,
    ],
)
def test_an_invalid_chunked_body_is_refused(data: bytes) -> None:
    with pytest.raises(FramingError):
        Chunked().feed(data)


@given(st.integers(0, 100), st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_a_counted_body_claims_its_length_and_no_more(length: int, data: bytes, cuts: list[int]) -> None:
    body = body_of(length)
    total = sum(body.feed(piece) for piece in pieces(data, cuts))
    assert total == min(length, len(data))
    assert body.done == (total == length)


def test_a_body_without_length_claims_everything_and_never_ends_by_itself() -> None:
    body = body_of(UNTIL_CLOSE)
    assert body.feed(b"abc") == 3
    assert not body.done


def test_kinds_of_bodies() -> None:
    assert isinstance(body_of(CHUNKED), Chunked)
    assert body_of(0).done
