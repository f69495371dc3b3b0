"""The waiting line, seen by visitors of several web processes over one database."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindery.settings import DatabaseSettings
from db.engine import Database
from db.line import Room
from db.notifications import Notifications
from db.sessions import SessionStore, SessionWanted
from db.states import SessionState
from db.wakeups import Wakeups
from tests.support.databases import KINDS, opened
from web.line import Line

ROOM = Room(1, 5)
WANTED = SessionWanted("o-r", "gh-o-r:abc", None, "http://127.0.0.1:1/", {"image": "gh-o-r:abc"})


class Replica:
    """A process's view of the rows."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.wakeups = Wakeups()
        self.sessions = SessionStore(self.database, self.wakeups)
        self.line = Line(lambda: self.sessions.line(ROOM, time.time()), self.wakeups)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Replica]:
        await self.database.open()
        hinted = self.database.url.startswith("postgresql")
        listening = asyncio.create_task(self._listen()) if hinted else None
        try:
            yield self
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            await self.database.close()

    async def _listen(self) -> None:
        await Notifications(self.database, DatabaseSettings(url=self.database.url), self.wakeups).run()


@pytest.fixture(params=KINDS)
async def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    async with opened(request.param, tmp_path) as database:
        first, second = Replica(database.url), Replica(database.url)
        async with first.running(), second.running():
            yield first, second


async def test_visitors_of_two_processes_stand_in_one_line(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    runs = await first.sessions.create(WANTED, time.time(), ROOM)
    (runs,) = await first.sessions.start([runs], {runs.id: []}, time.time(), ROOM)
    early = await first.sessions.create(WANTED, time.time(), ROOM)
    late = await second.sessions.create(WANTED, time.time(), ROOM)
    async with (
        asyncio.timeout(20),
        contextlib.aclosing(first.line.follow(early.id)) as of_early,
        contextlib.aclosing(second.line.follow(late.id)) as of_late,
    ):
        assert (await anext(of_early)).fields["position"] == 1
        assert (await anext(of_late)).fields["position"] == 2
        for state in (SessionState.STOPPING, SessionState.STOPPED):
            assert await first.sessions.advance(runs, state, [], time.time()) is not None
        # Controllers of both processes give the one free place at the same moment.
        now, quiet = time.time(), {early.id: (), late.id: ()}
        given = await asyncio.gather(*(each.sessions.start([early, late], quiet, now, ROOM) for each in replicas))
        assert [row.id for started in given for row in started] == [early.id]
        assert (await anext(of_late)).fields["position"] == 1
