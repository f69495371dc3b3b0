"""The controller over real rows, with spawners named after what becomes of their servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from bindery.settings import SessionSettings
from db.builds import BuildStore
from db.engine import Database
from db.images import ImageStore
from db.sessions import Session, SessionStore, SessionWanted
from db.states import SessionState
from db.wakeups import Wakeups
from launcher.activity import Activity
from launcher.controller import Controller, Launchpad
from launcher.spawners.base import Address, Running, SessionRequest, Status
from tests.support.databases import opened
from tests.support.wait import until

WANTED = SessionWanted("s", "image:1", None, "http://127.0.0.1/", {"binder_request": "v2/gh/o/r/HEAD"})


class ServesAll:
    """Every session runs, and one server answers for all."""

    def __init__(self, address: Address) -> None:
        self.at = address
        self.names: set[str] = set()
        self.stopped: list[str] = []

    async def start(self, request: SessionRequest) -> None:
        self.names.add(request.name)

    async def poll(self, name: str) -> Status:
        return Status(Running.RUNNING if name in self.names else Running.MISSING)

    async def address(self, name: str) -> Address | None:
        return self.at if name in self.names else None

    async def stop(self, name: str) -> None:
        self.names.discard(name)
        self.stopped.append(name)

    async def list(self) -> list[str]:
        return sorted(self.names)

    async def logs(self, name: str, lines: int = 100) -> str:
        return "its last words\n"


class ServerDiesAtStart(ServesAll):
    """What is started has ended at once."""

    async def start(self, request: SessionRequest) -> None:
        pass


class ServerNeverRuns(ServesAll):
    """What is started waits for its place for ever."""

    async def poll(self, name: str) -> Status:
        return Status(Running.STARTING if name in self.names else Running.MISSING)


class ServesEachOnce(ServesAll):
    """Tells how often each server was begun, and takes a moment for it."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.begun: list[str] = []

    async def start(self, request: SessionRequest) -> None:
        if request.name not in self.names:
            self.begun.append(request.name)
        self.names.add(request.name)
        await asyncio.sleep(0.05)


class Stage:
    def __init__(self, database: Database, spawner: ServesAll) -> None:
        wakeups = Wakeups()
        self.sessions = SessionStore(database, wakeups)
        self.spawner = spawner
        # As two processes would have them.
        self.controller, self.other_controller = (self._controller(database, wakeups) for _ in range(2))

    def _controller(self, database: Database, wakeups: Wakeups) -> Controller:
        return Controller(
            Launchpad(
                sessions=self.sessions,
                builds=BuildStore(database, wakeups),
                images=ImageStore(database),
                spawner=self.spawner,
                wakeups=wakeups,
                activity=Activity(),
                settings=SessionSettings(check_seconds=0.2, start_timeout_seconds=10),
                base_url="/",
                clock=lambda: 1.0,
            )
        )

    async def session(self, *states: SessionState) -> Session:
        row: Session | None = await self.sessions.create(WANTED, 1.0)
        for state in states:
            assert row is not None
            values = {"ready_at": 1.0} if state is SessionState.READY else {}
            row = await self.sessions.advance(row, state, [], 1.0, **values)
        assert row is not None
        return row

    async def becomes(self, row: Session, state: SessionState) -> Session:
        async def has() -> bool:
            found = await self.sessions.get(row.id)
            return found is not None and found.state is state

        await until(has, 10, f"{row.name} becomes {state}")
        found = await self.sessions.get(row.id)
        assert found is not None
        return found


@pytest.fixture
async def address() -> AsyncIterator[Address]:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({})

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Address(host="127.0.0.1", port=runner.addresses[0][1])
    await runner.cleanup()


@pytest.fixture
async def stage(tmp_path: Path, address: Address, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    kind = getattr(request, "param", ServesAll)
    async with opened("postgresql" if kind is ServesEachOnce else "sqlite", tmp_path) as database:
        yield Stage(database, kind(address))


async def test_after_a_restart_each_session_is_adopted_started_finished_or_reaped(stage: Stage) -> None:
    starting = await stage.session(SessionState.STARTING)
    ready = await stage.session(SessionState.STARTING, SessionState.READY)
    interrupted = await stage.session(SessionState.STARTING)
    lost = await stage.session(SessionState.STARTING, SessionState.READY)
    stage.spawner.names = {starting.name, ready.name, "a-leftover"}
    await stage.controller.adopt()
    running = asyncio.create_task(stage.controller.run())
    try:
        assert (await stage.becomes(starting, SessionState.READY)).address == str(stage.spawner.at)
        await stage.becomes(interrupted, SessionState.READY)
        await stage.becomes(lost, SessionState.LOST)
        await stage.becomes(ready, SessionState.READY)
        assert "a-leftover" in stage.spawner.stopped
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("stage", [ServerDiesAtStart], indirect=True)
async def test_a_server_that_dies_at_start_leaves_its_words_and_nothing_else(stage: Stage) -> None:
    row = await stage.session()
    running = asyncio.create_task(stage.controller.run())
    try:
        failed = await stage.becomes(row, SessionState.FAILED)
        assert failed.error_code == "session_failed"
        assert any("its last words" in event.payload for event in await stage.sessions.events(row.id, 0))
        await until(lambda: row.name in stage.spawner.stopped, 5)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("stage", [ServerNeverRuns], indirect=True)
async def test_a_session_that_is_ended_while_it_starts_gives_up_its_place_at_once(stage: Stage) -> None:
    row = await stage.session()
    running = asyncio.create_task(stage.controller.run())
    try:
        starting = await stage.becomes(row, SessionState.STARTING)
        await until(lambda: row.name in stage.spawner.names, 5)
        await stage.sessions.advance(starting, SessionState.STOPPING, [], 1.0, stop_reason="It was ended.")
        stopped = await stage.becomes(row, SessionState.STOPPED)
        assert (stopped.stop_reason, stopped.error_code) == ("It was ended.", None)
        assert row.name in stage.spawner.stopped
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("stage", [ServesEachOnce], indirect=True)
async def test_two_controllers_at_once_do_no_harm(stage: Stage) -> None:
    rows = [await stage.session(SessionState.STARTING) for _ in range(8)]
    rows += [await stage.session() for _ in range(12)]
    running = [asyncio.create_task(each.run()) for each in (stage.controller, stage.other_controller)]
    try:
        for row in rows:
            await stage.becomes(row, SessionState.READY)
        assert isinstance(stage.spawner, ServesEachOnce)
        assert sorted(stage.spawner.begun) == sorted(row.name for row in rows)
        assert stage.spawner.stopped == []
        for row in rows:
            events = [json.loads(event.payload)["phase"] for event in await stage.sessions.events(row.id, 0)]
            assert events.count("ready") == 1
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
