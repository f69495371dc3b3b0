"""Compressing layers: gzip that every engine reads, zstd for those that are new enough."""

from __future__ import annotations

import importlib
import zlib
from enum import Enum
from typing import Any, Protocol, cast

from bindery.errors import ToolMissing

#: ISA-L's level 2 is as small as zlib's level 1 and eight times as fast.
_ISAL_LEVEL = 2
_ZLIB_LEVEL = 1
_ZSTD_LEVEL = 3
#: What zlib calls a stream with gzip's header, which then has no name and no time.
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Compression(Enum):
    """How a layer is compressed, as media types have it."""

    GZIP = "gzip"
    ZSTD = "zstd"


class Compressor(Protocol):
    """Takes bytes, and gives fewer."""

    def compress(self, data: bytes, /) -> bytes:
        """What is ready so far."""

    def flush(self) -> bytes:
        """The rest."""


def compressor(compression: Compression) -> Compressor:
    """A new compressor; raises `ToolMissing` for zstd where Python has none."""
    if compression is Compression.ZSTD:
        return _zstd()
    isal = _module("isal.isal_zlib")
    if isal is not None:
        return cast(Compressor, isal.compressobj(_ISAL_LEVEL, zlib.DEFLATED, _GZIP_WINDOW))
    return zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def _zstd() -> Compressor:
    module = _module("compression.zstd") or _module("backports.zstd")
    if module is None:
        raise ToolMissing(
            "This Python cannot compress with zstd.", hint="Install backports.zstd, or use gzip, the default."
        )
    return cast(Compressor, module.ZstdCompressor(_ZSTD_LEVEL))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
