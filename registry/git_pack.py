"""Blobs that a Git pack has whole, read without Git (gitformat-pack): as their bytes, and as the deflate stream."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bindery.errors import LayerRefused
from registry.compression import Deflated, inflated

_PIECE_BYTES = 512 * 1024
_MAGIC = b"\xfftOc\x00\x00\x00\x02"
_TABLE = len(_MAGIC) + 256 * 4
_NAME_BYTES, _CRC_BYTES, _OFFSET_BYTES = 20, 4, 4
#: An offset with this bit is the number of one in the table of long ones.
_LONG = 1 << 31
_BLOB = 3
#: Longer than any head of an object: ten bytes hold a size of 67 bits, two are zlib's own.
_HEAD_BYTES = 16
_ZLIB_HEAD_BYTES = 2


@dataclass(frozen=True)
class Blob:
    """A blob of `size` bytes, whose deflate stream begins at `start` of the pack that is open as `file`."""

    file: int
    start: int
    size: int

    def deflated(self) -> Iterator[Deflated]:
        """The content as it is stored, in pieces. Raises `LayerRefused` where it is no deflate stream."""
        try:
            yield from inflated(self._pieces())
        except ValueError:
            raise LayerRefused("The repository has a file that cannot be unpacked.") from None

    def read(self) -> Iterator[bytes]:
        """The content, in pieces."""
        return (piece.plain for piece in self.deflated())

    def _pieces(self) -> Iterator[bytes]:
        position = self.start
        # A small one should not cost more reading than it has bytes.
        length = min(self.size + _HEAD_BYTES, _PIECE_BYTES)
        while piece := os.pread(self.file, length, position):
            position += len(piece)
            yield piece


class GitPack:
    """A pack and its index, as this machine's Git wrote them, open while the block runs.

    An index of another form than Git's usual one is taken for empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index: mmap.mmap | bytes = b""
        self._file = -1
        self._open = ExitStack()

    def __enter__(self) -> GitPack:
        with ExitStack() as opening:
            pack = opening.enter_context(self._path.open("rb"))
            with self._path.with_suffix(".idx").open("rb") as file:
                index = opening.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            self._file = pack.fileno()
            self._index = index if index[: len(_MAGIC)] == _MAGIC else b""
            self._open = opening.pop_all()
        return self

    def __exit__(self, *reason: object) -> None:
        self._open.close()

    def blob(self, object_id: bytes) -> Blob | None:
        """The blob with this id, in hexadecimal; None where it is not here, or is a difference to another object."""
        offset = self._offset(bytes.fromhex(object_id.decode()))
        if offset is None:
            return None
        head = os.pread(self._file, _HEAD_BYTES, offset)
        kind, size, length = _head(head)
        return Blob(self._file, offset + length + _ZLIB_HEAD_BYTES, size) if kind == _BLOB else None

    def _offset(self, name: bytes) -> int | None:
        """Where an object begins."""
        if not self._index or len(name) != _NAME_BYTES:
            return None
        low = self._number(len(_MAGIC) + (name[0] - 1) * 4) if name[0] else 0
        high = self._number(len(_MAGIC) + name[0] * 4)
        while low < high:
            middle = (low + high) // 2
            found = self._index[(start := _TABLE + middle * _NAME_BYTES) : start + _NAME_BYTES]
            if found == name:
                return self._offset_of(middle)
            low, high = (middle + 1, high) if found < name else (low, middle)
        return None

    def _offset_of(self, number: int) -> int:
        count = self._number(_TABLE - 4)
        offsets = _TABLE + count * (_NAME_BYTES + _CRC_BYTES)
        offset = self._number(offsets + number * _OFFSET_BYTES)
        if offset < _LONG:
            return offset
        place = offsets + count * _OFFSET_BYTES + (offset - _LONG) * 8
        return int(struct.unpack_from(">Q", self._index, place)[0])

    def _number(self, place: int) -> int:
        return int(struct.unpack_from(">I", self._index, place)[0])


def _head(data: bytes) -> tuple[int, int, int]:
    """An object's kind and size, and how many bytes say so."""
    kind, size, shift = (data[0] >> 4) & 7, data[0] & 15, 4
    length = 1
    while data[length - 1] & 0x80:
        size |= (data[length] & 0x7F) << shift
        shift += 7
        length += 1
    return kind, size, length
