"""Compressing layers: gzip that every engine reads, zstd for those that are new enough."""

from __future__ import annotations

import importlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, cast

from bindery.errors import ToolMissing

#: ISA-L's level 2 is as small as zlib's level 1 and eight times as fast.
_ISAL_LEVEL = 2
_ZLIB_LEVEL = 1
_ZSTD_LEVEL = 3
#: A deflate stream without header.
_RAW_WINDOW = -zlib.MAX_WBITS
#: Deflate, no flags, no time, no word about level or system.
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_PIECE_BYTES = 512 * 1024


class Compression(Enum):
    """How a layer is compressed, as media types have it."""

    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True)
class Deflated:
    """A piece of content, and the piece of a deflate stream that it comes from; either may be empty."""

    plain: bytes
    deflated: bytes


class Packer(Protocol):
    """Takes bytes, and gives fewer."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready so far."""

    def adopt(self, piece: Deflated, /) -> bytes:
        """The same for content that is compressed already; all pieces of a stream come one after the other."""

    def flush(self) -> bytes:
        """The rest."""


def packer(compression: Compression) -> Packer:
    """A new packer; raises `ToolMissing` for zstd where Python has none."""
    return _Zstd() if compression is Compression.ZSTD else _Gzip()


class _Gzip:
    """A file of gzip's members (RFC 1952): each is compressed here, or is a stream that was found compressed."""

    def __init__(self) -> None:
        self._zlib = _zlib()
        self._deflating: Any = None
        self._adopting = False
        self._crc = self._size = 0

    def compress(self, data: bytes, /) -> bytes:
        """See `Packer`."""
        before = self._end() if self._adopting else b""
        if self._deflating is None:
            level = _ZLIB_LEVEL if self._zlib is zlib else _ISAL_LEVEL
            self._deflating = self._zlib.compressobj(level, zlib.DEFLATED, _RAW_WINDOW)
            before += _GZIP_HEAD
        self._count(data)
        return before + cast(bytes, self._deflating.compress(data))

    def adopt(self, piece: Deflated, /) -> bytes:
        """See `Packer`."""
        before = b""
        if not self._adopting:
            before, self._adopting = self._end() + _GZIP_HEAD, True
        self._count(piece.plain)
        return before + piece.deflated

    def flush(self) -> bytes:
        """See `Packer`."""
        return self._end()

    def _count(self, data: bytes) -> None:
        self._crc = self._zlib.crc32(data, self._crc)
        self._size += len(data)

    def _end(self) -> bytes:
        """The end of the member that was begun, if one was."""
        if self._deflating is None and not self._adopting:
            return b""
        rest = b"" if self._adopting else cast(bytes, self._deflating.flush())
        end = rest + struct.pack("<II", self._crc, self._size & 0xFFFFFFFF)
        self._deflating, self._adopting, self._crc, self._size = None, False, 0, 0
        return end


class _Zstd:
    """One frame of zstd."""

    def __init__(self) -> None:
        module = _module("compression.zstd") or _module("backports.zstd")
        if module is None:
            raise ToolMissing(
                "This Python cannot compress with zstd.", hint="Install backports.zstd, or use gzip, the default."
            )
        self._compressor = module.ZstdCompressor(_ZSTD_LEVEL)

    def compress(self, data: bytes, /) -> bytes:
        """See `Packer`."""
        return cast(bytes, self._compressor.compress(data))

    def adopt(self, piece: Deflated, /) -> bytes:
        """See `Packer`."""
        return self.compress(piece.plain)

    def flush(self) -> bytes:
        """See `Packer`."""
        return cast(bytes, self._compressor.flush())


def inflated(pieces: Iterable[bytes]) -> Iterator[Deflated]:
    """A deflate stream with its content, in pieces of bounded size; what follows the stream is left out.

    Raises `ValueError` for anything else than a whole stream.
    """
    module = _zlib()
    unpacker = module.decompressobj(_RAW_WINDOW)
    for piece in pieces:
        rest = piece
        while True:
            try:
                plain = unpacker.decompress(rest, _PIECE_BYTES)
            except module.error as error:
                raise ValueError("this is no deflate stream") from error
            left = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            yield Deflated(plain, rest[: len(rest) - len(left)])
            if unpacker.eof:
                return
            # A full piece of content may have left more of it within.
            if not left and len(plain) < _PIECE_BYTES:
                break
            rest = left
    raise ValueError("the deflate stream is cut short")


def _zlib() -> Any:
    """The faster one of two modules that offer the same."""
    return _module("isal.isal_zlib") or zlib


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
