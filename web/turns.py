"""Turns: of a crowd that arrives at once few are served at a time, so that the first need not wait for the last."""

from __future__ import annotations

import asyncio

#: How many have their turn at the same time.
AT_ONCE = 64
#: Seconds after which a turn is over, whatever became of it: who waits for others, a Git host maybe, holds up nobody.
LONGEST_SECONDS = 0.1


class Turns:
    """Gives turns in the order in which they are asked for."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)

    async def take(self) -> Turn:
        """A turn, when there is one; it ends by itself."""
        await self._free.acquire()
        return Turn(self._free)


class Turn:
    """One turn."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free = free
        self._over = False
        self._limit = asyncio.get_running_loop().call_later(LONGEST_SECONDS, self.end)

    def end(self) -> None:
        """Let the next one begin; no error if it is over already."""
        if not self._over:
            self._over = True
            self._limit.cancel()
            self._free.release()
