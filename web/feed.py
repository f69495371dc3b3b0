"""Feeds: one reader of a log in the database, any number of viewers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from db.event_log import LoggedEvent, Tail
from db.patience import patiently
from db.wakeups import Wakeups

#: How often, in seconds, the log is read when nobody says that it has grown: at first, and when it stays silent.
POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 5.0
_SLOWER = 1.5
#: Newest events that are kept for viewers who are up to date; others read the database.
WINDOW = 5000
#: Viewers that are woken in one turn of the event loop: each has some 50 µs of work.
WOKEN_AT_ONCE = 100


@dataclass(frozen=True)
class Source:
    """A log: its wake-up topic, its events above a number, and the states of its owner in which it has ended."""

    topic: str
    read: Callable[[int], Awaitable[Tail]]
    ends: Collection[str]


@dataclass(frozen=True)
class Line:
    """One event, its JSON encoded once for all viewers."""

    seq: int
    data: bytes


class Feed:
    """One log, followed.

    - Every viewer gets every event above the number it names exactly once, in order, and then the end.
    - The log is read once however many look on.
    """

    def __init__(self, source: Source, wakeups: Wakeups) -> None:
        self._source = source
        self._wakeups = wakeups
        self._window: deque[Line] = deque(maxlen=WINDOW)
        self._last = 0
        self._ended = False
        #: Viewers who have seen everything, those first who came first.
        self._waiting: dict[asyncio.Future[None], None] = {}

    async def pump(self) -> None:
        """Follow the log until it ends."""
        pause = POLL_SECONDS
        with self._wakeups.listen(self._source.topic) as log:
            while not self._ended:
                tail = await patiently(lambda: self._source.read(self._last))
                self._take(tail)
                pause = POLL_SECONDS if tail.events else min(pause * _SLOWER, LONGEST_POLL_SECONDS)
                if tail.complete and not self._ended:
                    await log.wait(pause)

    def _take(self, tail: Tail) -> None:
        if tail.events:
            self._window.extend(_line(row) for row in tail.events)
            self._last = tail.events[-1].seq
        self._ended = tail.complete and (tail.state is None or tail.state in self._source.ends)
        if tail.events or self._ended:
            self._wake()

    def _wake(self) -> None:
        woken, self._waiting = list(self._waiting), {}
        _wake_in_turns(woken)

    async def follow(self, after: int) -> AsyncGenerator[list[Line], None]:
        """Batches of the events numbered above `after`, until the log ends."""
        while True:
            if batch := await self._above(after):
                after = batch[-1].seq
                yield batch
            elif self._ended:
                return
            else:
                await self._growth()

    async def _growth(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting[waiting] = None
        try:
            await waiting
        finally:
            self._waiting.pop(waiting, None)

    async def _above(self, after: int) -> list[Line]:
        if after >= self._last:
            return []
        if not self._window or after < self._window[0].seq - 1:
            return [_line(row) for row in (await patiently(lambda: self._source.read(after))).events]
        return _after(self._window, after)


class Feeds:
    """The feeds that somebody follows now."""

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._open: dict[str, _Shared] = {}

    @property
    def viewers(self) -> int:
        """How many follow a feed."""
        return sum(shared.viewers for shared in self._open.values())

    @contextlib.asynccontextmanager
    async def feed(self, source: Source) -> AsyncIterator[Feed]:
        """The one feed of a log; it is read while anybody's block runs."""
        shared = self._open.get(source.topic)
        if shared is None:
            feed = Feed(source, self._wakeups)
            shared = self._open[source.topic] = _Shared(feed, asyncio.create_task(feed.pump()))
        shared.viewers += 1
        try:
            yield shared.feed
        finally:
            shared.viewers -= 1
            if not shared.viewers:
                del self._open[source.topic]
                shared.pump.cancel()
                await asyncio.gather(shared.pump, return_exceptions=True)


@dataclass
class _Shared:
    feed: Feed
    pump: asyncio.Task[None]
    viewers: int = 0


def _after(lines: deque[Line], seq: int) -> list[Line]:
    """The lines with higher numbers; what it takes depends on how many those are, not on all."""
    found = []
    for line in reversed(lines):
        if line.seq <= seq:
            break
        found.append(line)
    found.reverse()
    return found


def _wake_in_turns(waiting: Sequence[asyncio.Future[None]]) -> None:
    """Wake the first of them now and the others in the next turns of the event loop, so that nobody else waits long."""
    for future in waiting[:WOKEN_AT_ONCE]:
        if not future.done():
            future.set_result(None)
    if len(waiting) > WOKEN_AT_ONCE:
        asyncio.get_running_loop().call_soon(_wake_in_turns, waiting[WOKEN_AT_ONCE:])


def _line(row: LoggedEvent) -> Line:
    return Line(row.seq, row.payload.encode())
