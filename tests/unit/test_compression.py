"""Content that is compressed already: taken over as it is, in pieces of bounded size."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import compression
from registry.compression import Compression, Deflated, inflated, packer

_CONTENT = st.one_of(st.binary(max_size=3000), st.binary(min_size=1, max_size=20).map(lambda part: part * 50_000))
_MODULES = pytest.mark.parametrize("isal", [True, False], ids=["ISA-L", "zlib"])


def _stream(content: bytes, level: int = 6) -> bytes:
    """A deflate stream without zlib's own head and end."""
    return zlib.compress(content, level)[2:-4]


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@_MODULES
@given(content=_CONTENT, level=st.sampled_from([0, 1, 6, 9]), size=st.integers(1, 70_000), after=st.binary(max_size=40))
def test_a_stream_is_unpacked_and_given_as_it_is(
    isal: bool, content: bytes, level: int, size: int, after: bytes
) -> None:
    stream = _stream(content, level)
    with pytest.MonkeyPatch.context() as patch:
        if not isal:
            patch.setattr(compression, "_module", lambda name: None)
        pieces = list(inflated(_cut(stream + after, size + len(stream) // 50)))
    assert b"".join(piece.plain for piece in pieces) == content
    assert b"".join(piece.deflated for piece in pieces) == stream


def test_a_stream_that_unpacks_to_much_comes_in_small_pieces() -> None:
    pieces = inflated([_stream(bytes(50_000_000))])
    assert max(len(piece.plain) for piece in pieces) <= 512 * 1024


@_MODULES
@pytest.mark.parametrize("data", [b"", _stream(b"text" * 99)[:-1], b"\xff" * 20], ids=["nothing", "cut", "nonsense"])
def test_anything_else_is_refused(isal: bool, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    if not isal:
        monkeypatch.setattr(compression, "_module", lambda name: None)
    with pytest.raises(ValueError, match="deflate stream"):
        list(inflated([data]))


@given(st.lists(st.tuples(st.booleans(), _CONTENT), max_size=6))
def test_taken_over_and_compressed_content_are_one_file(parts: list[tuple[bool, bytes]]) -> None:
    taking, packed = packer(Compression.GZIP), b""
    for adopted, content in parts:
        if adopted:
            packed += b"".join(map(taking.adopt, inflated([_stream(content)])))
            # As in a layer, where something stands between any two files.
            packed += taking.compress(b"")
        else:
            packed += taking.compress(content)
    packed += taking.flush()
    assert gzip.decompress(packed) == b"".join(content for _, content in parts)
    for adopted, content in parts:
        assert not adopted or _stream(content) in packed


def test_where_it_cannot_be_taken_over_it_is_compressed() -> None:
    zstd = pytest.importorskip("backports.zstd")
    taking = packer(Compression.ZSTD)
    packed = taking.adopt(Deflated(b"text", b"never seen")) + taking.flush()
    assert zstd.decompress(packed) == b"text"
