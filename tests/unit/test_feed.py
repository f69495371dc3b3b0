"""A feed and its viewers: nobody misses a line, and a crowd leaves turns to others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from db.event_log import LoggedEvent, Tail
from db.wakeups import Wakeups
from web import feed as feeds
from web.feed import Feed, Feeds, Source

TOPIC = "log:1"
ENDED = "ended"


class Log:
    """A log in memory."""

    def __init__(self) -> None:
        self.wakeups = Wakeups()
        self.events: list[LoggedEvent] = []
        self.state = "running"

    async def read(self, after: int) -> Tail:
        return Tail(self.events[after:], self.state)

    def add(self, text: str) -> None:
        self.events.append(LoggedEvent(len(self.events) + 1, text))
        self.wakeups.notify(TOPIC)

    def end(self) -> None:
        self.state = ENDED
        self.wakeups.notify(TOPIC)


@pytest.fixture
def log() -> Log:
    return Log()


@contextlib.asynccontextmanager
async def followed(log: Log) -> AsyncIterator[Feed]:
    async with Feeds(log.wakeups).feed(Source(TOPIC, log.read, {ENDED})) as feed:
        yield feed


class Viewer:
    """One who looks on, and notes what was seen and in which turn of the event loop."""

    def __init__(self, feed: Feed, turns: list[int]) -> None:
        self.seen: list[bytes] = []
        self._turns = turns
        self.task = asyncio.create_task(self._look_on(feed))

    async def _look_on(self, feed: Feed) -> None:
        async for lines in feed.follow(0):
            self.seen += [line.data for line in lines]
            self._turns[-1] += 1


async def until_seen(viewers: list[Viewer], count: int, turns: list[int]) -> None:
    """Let the event loop turn until all have seen so much."""
    async with asyncio.timeout(30):
        while not all(len(viewer.seen) == count for viewer in viewers):
            turns.append(0)
            await asyncio.sleep(0)


async def test_a_crowd_is_woken_in_turns(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "WOKEN_AT_ONCE", 10)
    turns = [0]
    async with followed(log) as feed:
        viewers = [Viewer(feed, turns) for _ in range(35)]
        log.add("first")
        await until_seen(viewers, 1, turns)
        turns[:] = [0]
        log.add("second")
        await until_seen(viewers, 2, turns)
        assert sum(turns) == 35
        assert max(turns) <= 10
        log.end()
        await asyncio.gather(*(viewer.task for viewer in viewers))
    assert all(viewer.seen == [b"first", b"second"] for viewer in viewers)


async def test_what_comes_while_a_crowd_is_woken_is_missed_by_nobody(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "WOKEN_AT_ONCE", 1)
    turns = [0]
    async with followed(log) as feed:
        viewers = [Viewer(feed, turns) for _ in range(20)]
        for number in range(50):
            log.add(str(number))
            await asyncio.sleep(0)
        log.end()
        async with asyncio.timeout(30):
            await asyncio.gather(*(viewer.task for viewer in viewers))
    assert all(viewer.seen == [str(number).encode() for number in range(50)] for viewer in viewers)


async def test_whoever_leaves_is_not_woken_and_others_are(log: Log) -> None:
    turns = [0]
    async with followed(log) as feed:
        leaving, staying = Viewer(feed, turns), Viewer(feed, turns)
        log.add("first")
        await until_seen([leaving, staying], 1, turns)
        leaving.task.cancel()
        await asyncio.gather(leaving.task, return_exceptions=True)
        log.add("second")
        await until_seen([staying], 2, turns)
        assert leaving.seen == [b"first"]
        log.end()
        await staying.task
