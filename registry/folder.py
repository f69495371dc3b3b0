"""The files of a folder as items of a layer: links are kept and never followed, devices are refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bindery.errors import LayerRefused
from registry.layer import Item, Items
from registry.tar import Kind

_PIECE_BYTES = 512 * 1024
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 200


def folder_items(folder: Path, leave_out: Callable[[bytes], bool] = lambda path: False) -> Items:
    """The folder itself and all that is in it, but for the paths that are left out.

    Each step is opened from the folder above it without following links, so that a link that somebody puts there
    meanwhile leads nowhere. Modes are those of the owner, for everybody: they do not depend on the umask.
    """
    return partial(_items, folder, leave_out)


def _items(folder: Path, leave_out: Callable[[bytes], bool]) -> Iterator[Item]:
    descriptor = os.open(folder, _FOLDER_FLAGS)
    try:
        yield Item(b"", Kind.FOLDER, _shared_mode(os.fstat(descriptor).st_mode))
        yield from _below(descriptor, b"", leave_out, 0)
    finally:
        os.close(descriptor)


def _below(parent: int, path: bytes, leave_out: Callable[[bytes], bool], depth: int) -> Iterator[Item]:
    if depth > _MAX_DEPTH:
        raise LayerRefused(f"The repository has folders in more than {_MAX_DEPTH} levels.")
    for name in sorted(os.fsencode(entry) for entry in os.listdir(parent)):
        here = path + b"/" + name if path else name
        if leave_out(here):
            continue
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            yield _item(parent, name, here, found)
            continue
        child = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        try:
            yield Item(here, Kind.FOLDER, _shared_mode(found.st_mode))
            yield from _below(child, here, leave_out, depth + 1)
        finally:
            os.close(child)


def _item(parent: int, name: bytes, path: bytes, found: os.stat_result) -> Item:
    if stat.S_ISLNK(found.st_mode):
        return Item(path, Kind.LINK, 0o777, target=os.readlink(name, dir_fd=parent))
    if stat.S_ISREG(found.st_mode):
        read = partial(_read, parent, name)
        return Item(path, Kind.FILE, _shared_mode(found.st_mode), found.st_size, read=read)
    shown = path[:200].decode(errors="backslashreplace")
    raise LayerRefused(f"{shown!r} is a device, socket or pipe, which no image can have.")


def _read(parent: int, name: bytes) -> Iterator[bytes]:
    descriptor = os.open(name, _FILE_FLAGS, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        while piece := os.read(descriptor, _PIECE_BYTES):
            yield piece
    finally:
        os.close(descriptor)


def _shared_mode(mode: int) -> int:
    """The owner's rights, for group and others too, apart from writing."""
    shared = 0o444 | (mode & 0o200)
    return shared | 0o111 if mode & 0o100 else shared
