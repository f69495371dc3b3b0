"""Pictures in documents: PNG, JPEG and GIF of a harmless size, written into the page itself."""

from __future__ import annotations

import base64
import struct

#: Most pixels of one picture: few bytes can stand for very many.
MOST_PIXELS = 25_000_000

_NO_SIZE = (0, 0)


def data_uri(content: bytes) -> str:
    """The picture as an address that needs no request; empty for what is none, or is too large."""
    for media_type, size in (("png", _png(content)), ("jpeg", _jpeg(content)), ("gif", _gif(content))):
        if size != _NO_SIZE:
            pixels = size[0] * size[1]
            text = base64.b64encode(content).decode()
            return f"data:image/{media_type};base64,{text}" if 0 < pixels <= MOST_PIXELS else ""
    return ""


def _png(content: bytes) -> tuple[int, int]:
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR" or len(content) < 24:
        return _NO_SIZE
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _gif(content: bytes) -> tuple[int, int]:
    if content[:6] not in (b"GIF87a", b"GIF89a") or len(content) < 10:
        return _NO_SIZE
    width, height = struct.unpack("<HH", content[6:10])
    return width, height


def _jpeg(content: bytes) -> tuple[int, int]:
    """Walk the segments to the one that begins a frame."""
    place = 2 if content[:2] == b"\xff\xd8" else len(content)
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], struct.unpack(">H", content[place + 2 : place + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return _NO_SIZE
