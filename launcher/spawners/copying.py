"""Copying a repository's files for a session, in threads of our own.

A program started for it (`cp`) costs more than a few files do, and holds up everybody: Python lets nothing else run
until a program that it starts has begun, which on a busy machine takes as long as its turn takes to come.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

#: Trees that are copied at the same moment; the disk is no faster with more.
AT_ONCE = 4
#: Bytes that are copied before it is asked again whether they are still wanted.
PIECE_BYTES = 64 << 20
#: What a file system answers that does not copy by itself, or not from that other one.
_UNABLE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class CopyTimeout(Exception):
    """The files were not copied within their time."""


class Copier:
    """Copies trees; whoever is cancelled or out of time leaves no thread behind that still writes."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE, "copy")

    async def copy(self, source: Path, target: Path, *, seconds: float) -> None:
        """Copy what is in the folder `source` into the folder `target`, which is there and empty.

        Modes, times and links stay as they are, and blocks are shared where the file system can; what is no file,
        folder or symbolic link is left out. Raises `OSError`, or `CopyTimeout` after `seconds`.
        """
        unwanted = threading.Event()
        job = self._threads.submit(copy_tree, source, target, unwanted)
        copying = asyncio.wrap_future(job)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.shield(copying)
        except TimeoutError:
            raise CopyTimeout(f"not copied within {seconds:g} s") from None
        finally:
            unwanted.set()
            # One that has not begun never will.
            if not job.cancel():
                await asyncio.gather(copying, return_exceptions=True)

    def close(self) -> None:
        """End the threads, once nothing is copied."""
        self._threads.shutdown()


def copy_tree(source: Path, target: Path, unwanted: threading.Event) -> None:
    """Copy the contents of a folder into another one, until it is done or `unwanted`."""
    shutil.copytree(
        source, target, symlinks=True, copy_function=partial(_copy_file, unwanted=unwanted), dirs_exist_ok=True
    )


class _Unwanted(Exception):
    """Nobody waits for the copy any more."""


def _copy_file(source: str, target: str, *, unwanted: threading.Event) -> None:
    if not stat.S_ISREG(os.lstat(source).st_mode):
        return
    with Path(source).open("rb", buffering=0) as old, Path(target).open("xb", buffering=0) as new:
        for _ in _pieces(old.fileno(), new.fileno()):
            if unwanted.is_set():
                raise _Unwanted
    shutil.copystat(source, target)


def _pieces(old: int, new: int) -> Iterator[int]:
    """Copy one open file to the other; yields after each piece, with its size."""
    copy = getattr(os, "copy_file_range", _read_and_write)
    while True:
        try:
            size = copy(old, new, PIECE_BYTES)
        except OSError as error:
            if copy is _read_and_write or error.errno not in _UNABLE:
                raise
            copy = _read_and_write
            continue
        if not size:
            return
        yield size


def _read_and_write(old: int, new: int, count: int) -> int:
    data = memoryview(os.read(old, min(count, 1 << 20)))
    size = len(data)
    while data:
        data = data[os.write(new, data) :]
    return size
