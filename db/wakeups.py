"""Hints that rows have changed, so that nobody has to wait for the next poll."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator


class Wakeups:
    """Wake-ups by topic, within one process and, through `relay`, in others.

    - A `notify` between two waits of a listener is kept: its next wait returns at once.
    - They are hints: whoever waits also looks again after its own time limit, because another process may have written.
    """

    def __init__(self) -> None:
        self._listeners: defaultdict[str, set[Listener]] = defaultdict(set)
        #: Told of each topic, for other processes; must return at once.
        self.relay: Callable[[str], None] = lambda topic: None

    def notify(self, topic: str) -> None:
        """Wake everybody who listens to the topic, here and elsewhere."""
        self.wake(topic)
        self.relay(topic)

    def wake(self, topic: str) -> None:
        """Wake those of this process alone."""
        for listener in self._listeners.get(topic, ()):
            listener.woken.set()

    def wake_all(self) -> None:
        """Wake everybody of this process, whatever the topic."""
        for topic in self._listeners:
            self.wake(topic)

    @contextlib.contextmanager
    def listen(self, *topics: str) -> Iterator[Listener]:
        """Listen while the block runs; begin before the first look at the rows."""
        listener = Listener()
        for topic in topics:
            self._listeners[topic].add(listener)
        try:
            yield listener
        finally:
            for topic in topics:
                self._listeners[topic].discard(listener)
                if not self._listeners[topic]:
                    del self._listeners[topic]


class Listener:
    """One who listens."""

    def __init__(self) -> None:
        self.woken = asyncio.Event()

    async def wait(self, timeout_seconds: float) -> None:
        """Return when woken since the last wait, or after the time limit."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self.woken.wait()
        self.woken.clear()
