"""Layers of images, made the same way each time: sorted, with fixed times and owner, and nothing from outside."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from bindery.errors import LayerRefused
from registry.compression import Compression, Deflated, packer
from registry.manifests import Descriptor
from registry.tar import END, Kind, header, padding

OWNER = 1000
#: 1980-01-01: the earliest time that zip archives can hold.
EPOCH = 315532800
_PIECE_BYTES = 512 * 1024

#: Told a size.
Grew = Callable[[int], None]
#: A piece of content; one that is compressed already need not be again.
Piece = bytes | Deflated


@dataclass(frozen=True)
class Item:
    """A file, folder or link of a layer. `path` is relative, with `/` as separator; "" is the prefix itself.

    `read` gives the `size` bytes of a file in pieces, all or none of them `Deflated`; `target` is what a link says,
    whether or not it leads anywhere; `later` are seconds after the time that all items have.
    """

    path: bytes
    kind: Kind
    mode: int = 0o755
    size: int = 0
    target: bytes = b""
    read: Callable[[], Iterable[Piece]] = tuple
    later: int = 0


class Items(Protocol):
    """Where a layer's files come from: sorted by path, folders before what is in them."""

    def __call__(self) -> Iterator[Item]:
        """All items."""


@dataclass(frozen=True)
class Part:
    """Files below one folder of the image; `prefix` is such as `home/jovyan`, and "" the image's root."""

    prefix: str
    items: Items


@dataclass(frozen=True)
class LayerSettings:
    """What all items of a layer have in common, and how large it may be."""

    owner: int = OWNER
    group: int = OWNER
    modified: int = EPOCH
    compression: Compression = Compression.GZIP
    max_bytes: int = 8 * 1024**3


@dataclass(frozen=True)
class Layer:
    """A finished layer: a compressed tar file. `diff_id` is the digest of what it has in it, of `tar_size` bytes."""

    path: Path
    compression: Compression
    digest: str
    size: int
    diff_id: str
    tar_size: int

    def descriptor(self, base_media_type: str) -> Descriptor:
        """What points to the layer in a manifest; `base_media_type` is that of an uncompressed layer there."""
        separator = "+" if base_media_type.startswith("application/vnd.oci.") else "."
        return Descriptor(f"{base_media_type}{separator}{self.compression.value}", self.digest, self.size)


async def make_layer(
    parts: Sequence[Part], path: Path, settings: LayerSettings | None = None, grew: Grew = lambda size: None
) -> Layer:
    """Write a layer to a new file; see `write_layer`. When cancelled, the file is removed before long."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(write_layer, parts, path, settings or LayerSettings(), stop, grew)
    except asyncio.CancelledError:
        stop.set()
        raise


def write_layer(
    parts: Sequence[Part],
    path: Path,
    settings: LayerSettings,
    stop: threading.Event | None = None,
    grew: Grew = lambda size: None,
) -> Layer:
    """Write a layer to a new file.

    - The same files give the same `diff_id` everywhere; kept in the same way, the same bytes with the same compressor.
    - Names that lead out of the prefix, or mean something else to engines, raise `LayerRefused`.
    - Memory does not grow with the files. After an error there is no file.
    - `grew` is told how many bytes the file has whenever there are more.
    """
    try:
        with path.open("xb") as file:
            return _write(parts, path, file, settings, stop or threading.Event(), grew)
    except BaseException as error:
        if not isinstance(error, FileExistsError):
            path.unlink(missing_ok=True)
        raise


def _write(
    parts: Sequence[Part], path: Path, file: IO[bytes], settings: LayerSettings, stop: threading.Event, grew: Grew
) -> Layer:
    taking, whole, packed = packer(settings.compression), hashlib.sha256(), hashlib.sha256()
    tar_size = size = 0
    for piece in _gathered(itertools.chain.from_iterable(_tar(part, settings) for part in parts)):
        if stop.is_set():
            raise LayerRefused("Somebody stopped the making of this layer.")
        plain = _plain(piece)
        tar_size += len(plain)
        if tar_size > settings.max_bytes:
            raise LayerRefused(f"The files are over the limit of {settings.max_bytes} bytes for one layer.")
        whole.update(plain)
        ready = taking.adopt(piece) if isinstance(piece, Deflated) else taking.compress(piece)
        if more := _put(file, ready, packed):
            size += more
            grew(size)
    whole.update(END)
    size += _put(file, taking.compress(END) + taking.flush(), packed)
    grew(size)
    return Layer(
        path=path,
        compression=settings.compression,
        digest=f"sha256:{packed.hexdigest()}",
        size=size,
        diff_id=f"sha256:{whole.hexdigest()}",
        tar_size=tar_size + len(END),
    )


def _put(file: IO[bytes], data: bytes, digest: hashlib._Hash) -> int:
    file.write(data)
    file.flush()
    digest.update(data)
    return len(data)


def _plain(piece: Piece) -> bytes:
    return piece.plain if isinstance(piece, Deflated) else piece


def _gathered(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same content in larger pieces: many small files cost little then."""
    held, size = list[bytes](), 0
    for piece in pieces:
        if not isinstance(piece, Deflated):
            held.append(piece)
            size += len(piece)
        if held and (size >= _PIECE_BYTES or isinstance(piece, Deflated)):
            yield b"".join(held)
            held, size = [], 0
        if isinstance(piece, Deflated):
            yield piece
    if held:
        yield b"".join(held)


def _tar(part: Part, settings: LayerSettings) -> Iterator[Piece]:
    prefix = part.prefix.strip("/").encode()
    if prefix:
        _check(prefix)
    before: tuple[bytes, ...] = ()
    closed = False
    for item in part.items():
        key = tuple(item.path.split(b"/")) if item.path else ()
        if item.path:
            _check(item.path)
        if key and (key <= before or (closed and key[: len(before)] == before)):
            raise LayerRefused(f"{_shown(item.path)} is there twice, or in something that is no folder.")
        before, closed = key, item.kind is not Kind.FOLDER
        path = b"/".join(filter(None, (prefix, item.path)))
        if not path:
            continue
        modified = settings.modified + item.later
        yield header(path, item.kind, item.mode, item.size, item.target, modified, settings.owner, settings.group)
        if item.kind is Kind.FILE:
            yield from _content(item)


def _content(item: Item) -> Iterator[Piece]:
    """A file's bytes, which must be as many as its header says."""
    left = item.size
    for piece in item.read():
        left -= len(_plain(piece))
        if left < 0:
            break
        yield piece
    if left:
        raise LayerRefused(f"{_shown(item.path)} changed while it was read.", hint="Try again.")
    yield padding(item.size)


def _check(path: bytes) -> None:
    """Refuse a path that could lead out of its prefix, or that engines read as an order to delete."""
    for part in path.split(b"/"):
        if part in (b"", b".", b"..") or b"\0" in part:
            raise LayerRefused(f"{_shown(path)} is no name that can be stored in an image.")
        if part.startswith(b".wh."):
            raise LayerRefused(
                f"{_shown(path)} cannot be stored in an image.",
                hint="In images, names that begin with .wh. mark deleted files. Rename it in the repository.",
            )


def _shown(path: bytes) -> str:
    return repr(path[:200].decode(errors="backslashreplace"))
