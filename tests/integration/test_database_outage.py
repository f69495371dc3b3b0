"""A real PostgreSQL that crashes and comes back while streams are read and builds are written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from bindery.errors import DatabaseUnavailable
from bindery.settings import DatabaseSettings
from builder.build_log import BuildLog
from db.builds import Build, BuildStore, Wanted
from db.engine import Database
from db.events import Event
from db.sessions import SessionStore, SessionWanted
from db.states import BuildState, SessionState
from db.wakeups import Wakeups
from launcher.activity import Activity
from tests.integration.test_launches import Stage
from tests.support.postgres import Postgres, serve_postgres
from tests.support.wait import until
from web.session_routes import SessionRoutes

WANTED = Wanted("gh-o-r:abc", "gh", "o/r/abc", "https://example.org/o/r", "abc", "https://example.org/o/r/tree/abc")
IMPATIENT = DatabaseSettings(wait_seconds=0.5)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with serve_postgres() as server:
        yield server


@pytest.fixture
async def database(server: Postgres) -> AsyncIterator[Database]:
    with server.database() as url:
        database = Database(url, IMPATIENT)
        await database.open()
        yield database
        await database.close()


async def crash(server: Postgres) -> None:
    await asyncio.to_thread(server.stop, "immediate")


async def back(server: Postgres) -> None:
    await asyncio.to_thread(server.start)


async def test_whoever_asks_meanwhile_is_told_to_come_back(database: Database, server: Postgres) -> None:
    builds = BuildStore(database, Wakeups())
    await builds.request(WANTED, [], 1.0)
    await crash(server)
    began = time.monotonic()
    try:
        with pytest.raises(DatabaseUnavailable) as told:
            await builds.unfinished()
        assert time.monotonic() - began < 30
        assert (told.value.status, told.value.retryable, told.value.retry_after_seconds) == (503, True, 5.0)
    finally:
        await back(server)
    assert len(await builds.unfinished()) == 1


async def test_whoever_waits_a_moment_is_served(server: Postgres) -> None:
    with server.database() as url:
        database = Database(url, DatabaseSettings(wait_seconds=60))
        await database.open()
        builds = BuildStore(database, Wakeups())
        await builds.request(WANTED, [], 1.0)
        await crash(server)
        asking = asyncio.create_task(builds.unfinished())
        await back(server)
        assert len(await asking) == 1
        await database.close()


async def test_each_line_of_a_build_is_written_once(database: Database, server: Postgres) -> None:
    builds = BuildStore(database, Wakeups())
    await builds.request(WANTED, [Event("waiting", "first\n")], 1.0)
    build = await builds.claim("w", 1000, time.time())
    assert build is not None
    async with BuildLog(builds, build) as lines:
        for turn in range(3):
            for line in range(5):
                lines.say("building", f"{turn}.{line}\n")
            # A batch is being written, or is not any more: both must give the same.
            await asyncio.to_thread(server.restart, "immediate")
        for state in (BuildState.PLANNING, BuildState.BUILDING, BuildState.COMPOSING):
            await until(partial(_advanced, builds, build, state), 30)
        await lines.finish(BuildState.BUILT, [])
    found = await builds.events(build.id, 0)
    assert [event.seq for event in found] == list(range(1, 17))
    said = [event.payload for event in found[1:]]
    assert len(set(said)) == 15


async def _advanced(builds: BuildStore, build: Build, state: BuildState) -> bool:
    try:
        await builds.advance(build, state)
    except DatabaseUnavailable:
        return False
    return True


async def test_a_stream_goes_on_where_it_stood(database: Database, server: Postgres) -> None:
    stage = Stage(database)
    visitor = stage.visit()
    build = await stage.claimed()
    await stage.builds.append(build, [Event("building", f"line {n}\n") for n in range(3)], 1.0)
    await until(lambda: len(visitor.events) >= 4, 20, "the first lines are there")
    await crash(server)
    with pytest.raises(DatabaseUnavailable):
        await stage.builds.unfinished()
    await back(server)
    await stage.builds.append(build, [Event("building", "line 3\n")], 1.0)
    await stage.end(build)
    await stage.launch()
    await until(lambda: visitor.phases[-1:] == ["ready"], 30, "the launch is over")
    lines = [event["message"] for _, event in visitor.events if event["message"].startswith("line")]
    assert lines == [f"line {n}\n" for n in range(4)]
    ids = [place for place, _ in visitor.events]
    assert len(ids) == len(set(ids))


async def test_traffic_goes_on_by_routes_that_are_known(database: Database, server: Postgres) -> None:
    sessions = SessionStore(database, Wakeups())
    wanted = SessionWanted("o-r", "gh-o-r:abc", None, "http://127.0.0.1:1/", {})
    row = await sessions.create(wanted, 1.0)
    for state in (SessionState.STARTING, SessionState.READY):
        moved = await sessions.advance(row, state, [], 2.0, address="tcp:10.0.0.7:8888", ready_at=2.0)
        assert moved is not None
    now = 1000.0
    routes = SessionRoutes(sessions, Activity(), clock=lambda: now)
    known = await routes.resolve(row.name)
    now += 3600
    assert routes.lookup(row.name) is None
    await crash(server)
    try:
        assert await routes.resolve(row.name) == known
        with pytest.raises(DatabaseUnavailable):
            await routes.resolve("o-r-unknown")
    finally:
        await back(server)


async def test_activity_that_could_not_be_written_is_written_later(database: Database, server: Postgres) -> None:
    sessions, activity = SessionStore(database, Wakeups()), Activity()
    row = await sessions.create(SessionWanted("o-r", "gh-o-r:abc", None, "http://127.0.0.1:1/", {}), 1.0)
    activity.note(row.name, 7.0)
    await crash(server)
    try:
        with pytest.raises(DatabaseUnavailable):
            await activity.write(sessions)
    finally:
        await back(server)
    await activity.write(sessions)
    assert [each.active_at for each in await sessions.unfinished()] == [7.0]
