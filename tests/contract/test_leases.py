"""What leases promise, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bindery.leadership import Leadership
from db.engine import Database
from db.leases import LeaseStore
from db.wakeups import Wakeups
from tests.support.databases import KINDS, opened
from tests.support.wait import until


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request.param, tmp_path) as database:
        yield database


@pytest.fixture
def leases(database: Database) -> LeaseStore:
    return LeaseStore(database, Wakeups())


class TestLeases:
    async def test_of_many_one_gets_it(self, leases: LeaseStore) -> None:
        taken = await asyncio.gather(*(leases.take("duty", f"w{n}", 30, 1.0) for n in range(8)))
        assert taken.count(True) == 1

    async def test_it_is_kept_while_it_is_renewed(self, leases: LeaseStore) -> None:
        assert await leases.take("duty", "first", 30, 1.0)
        assert await leases.take("duty", "first", 30, 20.0)
        assert not await leases.take("duty", "second", 30, 45.0)
        assert await leases.take("duty", "second", 30, 51.0)
        assert not await leases.take("duty", "first", 30, 52.0)

    async def test_it_can_be_given_back_by_its_owner_alone(self, leases: LeaseStore) -> None:
        assert await leases.take("duty", "first", 30, 1.0)
        await leases.release("duty", "second")
        assert not await leases.take("duty", "second", 30, 2.0)
        await leases.release("duty", "first")
        assert await leases.take("duty", "second", 30, 3.0)


class Chores:
    """Work of a leader: who does it now, and the most who ever did at once."""

    def __init__(self) -> None:
        self.now: list[str] = []
        self.begun: list[str] = []
        self.most = 0

    async def work(self, name: str) -> None:
        self.now.append(name)
        self.begun.append(name)
        self.most = max(self.most, len(self.now))
        try:
            await asyncio.Event().wait()
        finally:
            self.now.remove(name)


class TestLeadership:
    async def test_one_leads_and_the_next_one_follows_at_once(self, database: Database) -> None:
        wakeups, chores = Wakeups(), Chores()
        running = {name: asyncio.create_task(_lead(database, wakeups, chores, name)) for name in "abc"}
        try:
            for left in (2, 1, 0):
                await until(lambda: bool(chores.now), 10, "somebody leads")
                leader = running.pop(chores.now[0])
                leader.cancel()
                await asyncio.gather(leader, return_exceptions=True)
                assert len(running) == left
            assert sorted(chores.begun) == ["a", "b", "c"]
            assert chores.most == 1
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def test_whoever_lost_the_lease_stops_its_work(self, database: Database) -> None:
        wakeups, chores = Wakeups(), Chores()
        leading = asyncio.create_task(_lead(database, wakeups, chores, "slow", seconds=1.2))
        try:
            await until(lambda: bool(chores.now), 10, "it leads")
            # Far in the future its lease has ended: as after a pause of the whole process.
            assert await LeaseStore(database, wakeups).take("controller", "other", 1000, 1e12)
            await until(lambda: not chores.now, 10, "it stopped")
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)

    async def test_work_that_fails_is_begun_again(self, database: Database) -> None:
        tries: list[int] = []

        async def fails_once() -> None:
            tries.append(1)
            if len(tries) == 1:
                raise OSError("no engine")
            await asyncio.Event().wait()

        wakeups = Wakeups()
        leading = asyncio.create_task(Leadership(LeaseStore(database, wakeups), wakeups, fails_once, seconds=1.0).run())
        try:
            await until(lambda: len(tries) == 2, 10, "it was begun again")
        finally:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)


async def _lead(database: Database, wakeups: Wakeups, chores: Chores, name: str, seconds: float = 15.0) -> None:
    leases = LeaseStore(database, wakeups)
    await Leadership(leases, wakeups, lambda: chores.work(name), seconds=seconds, owner=name).run()
