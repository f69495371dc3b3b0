"""What a container wrote, without its token."""

from __future__ import annotations

import struct

from launcher.spawners.redaction import redacted

#: What a log's end is taken from, in bytes.
TAIL_BYTES = 256 * 1024

_HEADER = struct.Struct(">BxxxL")


def read(stream: bytes, lines: int, token: str) -> str:
    """The last lines of an engine's log stream, in which each piece has a header: stream and length."""
    written = bytearray()
    at = 0
    while at + _HEADER.size <= len(stream):
        _, length = _HEADER.unpack_from(stream, at)
        at += _HEADER.size
        written += stream[at : at + length]
        at += length
    text = bytes(written[-TAIL_BYTES:]).decode(errors="replace")
    tail = "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""
    return redacted(tail, token)
