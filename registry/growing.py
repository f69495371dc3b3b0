"""A file that is read while it is written: what a layer has so far is sent while the rest is compressed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

_PIECE_BYTES = 1024 * 1024

Made = TypeVar("Made")


class Growing:
    """A file at `path` that one writes, in any thread, and others read in this event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = 0
        self._over = False
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def made(self, make: Callable[[Callable[[int], None]], Awaitable[Made]]) -> Made:
        """What `make` gives, which writes the file and says, each time that it has grown, how large it is."""
        try:
            return await make(self._told)
        finally:
            self._over = True
            self._news.set()

    def _told(self, size: int) -> None:
        self._loop.call_soon_threadsafe(self._grown, size)

    def _grown(self, size: int) -> None:
        self._size = max(self._size, size)
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The file from its beginning to its end, as it comes; any number may read."""
        position = 0
        while True:
            over, size = self._over, self._size
            while position < size:
                piece = await asyncio.to_thread(self._read, position, min(_PIECE_BYTES, size - position))
                position += len(piece)
                yield piece
            if over:
                return
            self._news.clear()
            if self._size == size and not self._over:
                await self._news.wait()

    def _read(self, start: int, size: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(size)
