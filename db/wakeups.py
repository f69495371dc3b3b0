"""Hints that rows have changed, so that nobody has to wait for the next poll."""

from __future__ import annotations

import asyncio
from collections import defaultdict


class Wakeups:
    """Wake-ups by topic within one process.

    They are hints: whoever waits also looks again after its own time limit, because another process may have written.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)

    def notify(self, topic: str) -> None:
        """Wake everybody who waits for the topic now."""
        for future in self._waiting.pop(topic, set()):
            if not future.done():
                future.set_result(None)

    async def wait(self, topic: str, timeout_seconds: float) -> None:
        """Return at the next `notify` of the topic, or after the time limit."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[topic].add(future)
        try:
            async with asyncio.timeout(timeout_seconds):
                await future
        except TimeoutError:
            pass
        finally:
            self._waiting[topic].discard(future)
            if not self._waiting[topic]:
                del self._waiting[topic]
