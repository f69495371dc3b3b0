"""Wake-ups between processes, through a real PostgreSQL that may be restarted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from bindery.settings import DatabaseSettings
from db.engine import Database
from db.migrate import upgrade
from db.notifications import LONGEST, Notifications, payloads
from db.wakeups import Listener, Wakeups
from tests.support.postgres import Postgres, serve_postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with serve_postgres() as server:
        upgrade(server.url())
        yield server


@contextlib.asynccontextmanager
async def process(server: Postgres) -> AsyncIterator[Wakeups]:
    """What one process has, listening."""
    database, wakeups = Database(server.url(), DatabaseSettings(migrate=False)), Wakeups()
    running = asyncio.create_task(Notifications(database, DatabaseSettings(), wakeups).run())
    try:
        yield wakeups
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await database.close()


async def reaches(sender: Wakeups, listener: Listener, topic: str) -> None:
    """Say it until it is heard: whoever has just started may not listen yet."""
    async with asyncio.timeout(20):
        while not listener.woken.is_set():
            sender.notify(topic)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await listener.woken.wait()


async def test_a_wake_up_reaches_another_process_also_after_a_restart_of_the_server(server: Postgres) -> None:
    async with process(server) as one, process(server) as other:
        with other.listen("build:1") as listener, other.listen("build:2") as deaf:
            await reaches(one, listener, "build:1")
            await deaf.wait(0)
            await asyncio.to_thread(server.restart, "immediate")
            # Whatever was missed meanwhile: everybody is woken once the connection is there again.
            async with asyncio.timeout(20):
                await deaf.woken.wait()
            await listener.wait(0)
            await reaches(one, listener, "build:1")


def test_notifications_are_never_longer_than_the_server_takes() -> None:
    topics = [f"session:{n:06}" for n in range(2000)] + ["x" * 9000, "two\nlines"]
    sent = list(payloads("me", topics))
    assert all(len(each.encode()) <= LONGEST and each.startswith("me\n") for each in sent)
    assert [topic for each in sent for topic in each.split("\n")[1:]] == topics[:2000]
    assert list(payloads("me", [])) == []
