"""The line as its visitors see it: read once for all who stand in it."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

import structlog

from db.events import Event
from db.line import Place
from db.sessions import PENDING
from db.wakeups import Wakeups

log = structlog.get_logger(__name__)

#: How often, in seconds, the line is read when nobody says that it moved, and at most.
POLL_SECONDS = 2.0
REST_SECONDS = 0.25


class Line:
    """Who waits for a place; `read` gives the places by session id."""

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, Place]]], wakeups: Wakeups) -> None:
        self._read = read
        self._wakeups = wakeups
        self._places: Mapping[str, Place] = {}
        self._moved = asyncio.Event()
        self._followers = 0
        self._pump: asyncio.Task[None] | None = None

    async def follow(self, session_id: str) -> AsyncGenerator[Event, None]:
        """What to tell the session's visitor: each time something new, without end."""
        told = ""
        async with self._watched():
            while True:
                moved = self._moved
                place = self._places.get(session_id)
                event = None if place is None else describe(place)
                if event is not None and event.message != told:
                    told = event.message
                    yield event
                await moved.wait()

    @contextlib.asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        self._followers += 1
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers:
                pump, self._pump = self._pump, None
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)

    async def _run(self) -> None:
        with self._wakeups.listen(PENDING) as woken:
            while True:
                try:
                    self._places = await self._read()
                except Exception:
                    log.exception("line.read_failed")
                moved, self._moved = self._moved, asyncio.Event()
                moved.set()
                await asyncio.sleep(REST_SECONDS)
                await woken.wait(POLL_SECONDS)


def describe(place: Place) -> Event:
    """The `waiting` event of a place."""
    taken = "All of this repository's places are taken." if place.repository else "All places are taken."
    fields: dict[str, object] = {"position": place.position, "ahead": place.position - 1}
    text = f"{taken} You are number {place.position} in line."
    if place.estimate_seconds is not None:
        fields["estimate_seconds"] = seconds = rounded(place.estimate_seconds)
        text = f"{text} It should be your turn in about {_duration(seconds)}."
    return Event("waiting", f"{text}\n", fields)


def rounded(seconds: float) -> int:
    """An estimate as exact as it can be meant: to 5 seconds, above two minutes to whole ones."""
    step = 5 if seconds < 120 else 60
    return max(math.ceil(seconds / step) * step, step)


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"
