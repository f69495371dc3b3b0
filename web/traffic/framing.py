"""Where a message's body ends.

Each body is fed the bytes that follow its head and says how many of them are its own; the bytes themselves are passed
on as they are. Promises:

- a body never claims a byte after its end, however the bytes are cut;
- the chunked grammar is narrower than any server's: what is accepted here, everybody frames in the same way.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

MAX_LINE = 4096
MAX_TRAILERS = 16 * 1024

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=" + _TOKEN + rb")?)*")
_TRAILER = re.compile(rb"(" + _TOKEN + rb"):[\t -~\x80-\xff]*")
_NO_TRAILER = frozenset(
    (b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade", b"trailer", b"te", b"cookie")
)


class FramingError(ValueError):
    """The bytes do not follow the grammar of a body."""


class Body(Protocol):
    """The bytes between a head and the next one."""

    done: bool

    def feed(self, data: bytes) -> int:
        """How many of the bytes belong to this body; raises `FramingError`."""
        ...


class Counted:
    """A body of known length, nought included."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length
        self.done = length == 0

    def feed(self, data: bytes) -> int:
        used = min(self.left, len(data))
        self.left -= used
        self.done = self.left == 0
        return used


class Endless:
    """A body that ends with its connection."""

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done = False

    def feed(self, data: bytes) -> int:
        return len(data)


class Chunked:
    """A body in chunks, with trailers."""

    __slots__ = ("_left", "_line", "_read_line", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._left = 0
        self._line = b""
        self._trailers = 0
        self._read_line = self._size

    def feed(self, data: bytes) -> int:
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
            else:
                at = self._take_line(data, at)
        return at

    def _take_line(self, data: bytes, at: int) -> int:
        newline = data.find(b"\n", at)
        end = len(data) if newline < 0 else newline + 1
        line = self._line + data[at:end]
        if len(line) > MAX_LINE:
            raise FramingError("a line in a chunked body is too long")
        if newline < 0:
            self._line = line
            return end
        if line[-2:] != b"\r\n":
            raise FramingError("a bare line feed in a chunked body")
        self._line = b""
        self._read_line(line[:-2])
        return end

    def _size(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None:
            raise FramingError("invalid chunk size")
        self._left = int(match[1], 16)
        self._read_line = self._chunk_end if self._left else self._trailer

    def _chunk_end(self, line: bytes) -> None:
        if line:
            raise FramingError("a chunk is longer than its size")
        self._read_line = self._size

    def _trailer(self, line: bytes) -> None:
        if not line:
            self.done = True
            return
        self._trailers += len(line)
        match = _TRAILER.fullmatch(line)
        if match is None or match[1].lower() in _NO_TRAILER or self._trailers > MAX_TRAILERS:
            raise FramingError("invalid trailer")


def body_of(length: int) -> Body:
    """The body that a head announces: a length, `CHUNKED` or `UNTIL_CLOSE`."""
    if length >= 0:
        return Counted(length)
    return Chunked() if length == CHUNKED else Endless()


def chunk(data: bytes) -> bytes:
    """The bytes as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
