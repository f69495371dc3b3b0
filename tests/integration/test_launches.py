"""Streams over real rows: what a visitor sees, wherever it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bindery.errors import InstallFailed, RefNotFound
from bindery.settings import FetchSettings, LimitSettings
from builder.fetch_limits import Tell
from builder.providers.base import ParsedSpec, Provider, Resolved
from builder.resolver import Resolver
from db.builds import Build, BuildStore
from db.documents import DocumentStore
from db.durations import DurationStore
from db.engine import Database
from db.events import Event, Failure
from db.images import ImageRecord, ImageStore
from db.line import Room
from db.resolutions import ResolutionStore
from db.sessions import SessionStore
from db.states import BuildState, SessionState
from db.wakeups import Wakeups
from launcher.rules import Rules
from registry.reference import ImageNames
from web.estimates import Estimates
from web.feed import WINDOW, Feeds
from web.intake import Intake, Visit
from web.introductions import Introductions
from web.launches import Launches
from web.line import Line

COMMIT = "c" * 40
NO_LIMIT = Room()
VISIT = Visit("gh", "o/r/main", "http://127.0.0.1:8585/", "127.0.0.1")


class KnowsOneRepository:
    display = {"id": "gh"}

    async def fetch(self, resolved: Resolved, folder: Path, limits: FetchSettings, tell: Tell) -> str:
        raise AssertionError("who shows pages fetches nothing")

    def parse(self, spec: str) -> ParsedSpec:
        return ParsedSpec("gh", spec, "https://example.org/o/r", spec.rpartition("/")[2], "o-r")

    async def resolve(self, parsed: ParsedSpec) -> Resolved:
        if parsed.ref != "main":
            raise RefNotFound("nothing is called that", hint="main is")
        tree = f"https://example.org/o/r/tree/{COMMIT}"
        return Resolved("gh", f"o/r/{COMMIT}", parsed.repo_url, COMMIT, tree, parsed.slug)


KNOWS_ONE = KnowsOneRepository()


async def _exists(image: str) -> bool:
    return True


class Stage:
    """The rows, and both sides: visitors, and whoever builds and launches."""

    def __init__(
        self,
        database: Database,
        room: Room = NO_LIMIT,
        limits: LimitSettings | None = None,
        *,
        host: Provider = KNOWS_ONE,
        remembered_seconds: float = 60,
    ) -> None:
        self.room = room
        wakeups = Wakeups()
        self.database = database
        self.builds = BuildStore(database, wakeups)
        self.sessions = SessionStore(database, wakeups)
        self.images = ImageStore(database)
        resolver = Resolver({"gh": host}, host, ResolutionStore(database), remembered_seconds)
        rules = Rules(limits or LimitSettings())
        intake = Intake(
            resolver,
            self.builds,
            self.sessions,
            self.images,
            rules,
            room,
            _exists,
            ImageNames("", "test"),
            allow_build_only=True,
        )
        line = Line(lambda: self.sessions.line(room, time.time()), wakeups)
        self.documents = DocumentStore(database, wakeups)
        introductions = Introductions(self.documents, Estimates(DurationStore(database)), lambda *repository: True)
        self.launches = Launches(intake, self.builds, self.sessions, Feeds(wakeups), line, introductions)

    def visit(self, **change: Any) -> Visitor:
        return Visitor(self.launches, replace(VISIT, **change))

    async def claimed(self) -> Build:
        async with asyncio.timeout(5):
            while (build := await self.builds.claim("w", 60, 1.0)) is None:
                await asyncio.sleep(0.005)
        return build

    async def build(self, lines: int = 3, failure: Failure | None = None) -> None:
        """Be the worker of the build that somebody asked for."""
        build = await self.claimed()
        await self.builds.append(build, [Event("building", f"line {n}\n") for n in range(lines)], 1.0)
        await self.end(build, failure)

    async def end(self, build: Build, failure: Failure | None = None) -> None:
        if failure is not None:
            await self.builds.finish(build, BuildState.FAILED, [], 2.0, failure)
            return
        for state in (BuildState.PLANNING, BuildState.BUILDING, BuildState.COMPOSING):
            await self.builds.advance(build, state)
        await self.images.add(ImageRecord(build.image, "k", build.repo_url, build.ref, 2.0, 2.0))
        await self.builds.finish(build, BuildState.BUILT, [], 2.0)

    async def launch(self) -> None:
        """Be the controller of all sessions that wait; one will."""
        async with asyncio.timeout(5):
            while not await self.sessions.count():
                await asyncio.sleep(0.005)
        for session in await self.sessions.unfinished():
            build = await self.builds.get(session.build_id) if session.build_id else None
            if build is not None and build.failure is not None:
                await self.sessions.fail(session, build.failure, 3.0)
                continue
            launching = [Event("built", "Built image, launching...\n"), Event("launching", "Launching server...\n")]
            starting = await self.sessions.advance(session, SessionState.STARTING, launching, 3.0)
            assert starting is not None
            ready = Event("ready", "server running\n", {**session.request, "url": session.url, "token": session.token})
            await self.sessions.advance(starting, SessionState.READY, [ready], 4.0, ready_at=4.0)


class Visitor:
    """Reads a stream; may go away at any event."""

    def __init__(self, launches: Launches, visit: Visit) -> None:
        self.launches = launches
        self.visit = visit
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._grown = asyncio.Event()
        self._task = asyncio.create_task(launches.stream(visit, self._take))

    async def _take(self, chunk: bytes) -> None:
        for block in chunk.decode().split("\n\n")[:-1]:
            first, _, second = block.partition("\n")
            self.events.append((first.removeprefix("id: "), json.loads(second.removeprefix("data: "))))
        self._grown.set()

    @property
    def phases(self) -> list[str]:
        return [event.get("phase", "") for _, event in self.events]

    @property
    def ids(self) -> list[str]:
        return [event_id for event_id, _ in self.events]

    async def seen(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.events) < count:
                self._grown.clear()
                await self._grown.wait()

    async def end(self) -> None:
        async with asyncio.timeout(5):
            await self._task

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/bindery.db")
    await database.open()
    yield Stage(database)
    await database.close()


async def test_a_fresh_build(stage: Stage) -> None:
    visitor = stage.visit()
    await stage.build()
    await stage.launch()
    await visitor.end()
    assert visitor.phases == ["waiting", "building", "building", "building", "built", "launching", "ready"]
    ready = visitor.events[-1][1]
    assert ready["binder_request"] == "v2/gh/o/r/main"
    assert ready["binder_persistent_request"] == f"v2/gh/o/r/{COMMIT}"
    assert ready["url"].startswith("http://127.0.0.1:8585/user/o-r-")
    assert len(set(visitor.ids)) == len(visitor.ids)


async def test_two_visitors_share_one_build_and_both_see_all_of_it(stage: Stage) -> None:
    first = stage.visit()
    await first.seen(1)
    second = stage.visit()
    await stage.build(lines=50)
    async with asyncio.timeout(5):
        while await stage.sessions.count() < 2:
            await asyncio.sleep(0.005)
    await stage.launch()
    await asyncio.gather(first.end(), second.end())
    assert len(first.events) == len(second.events)
    assert [event["message"] for _, event in first.events[:51]] == [event["message"] for _, event in second.events[:51]]
    assert first.events[-1][1]["url"] != second.events[-1][1]["url"]


async def test_a_late_visitor_sees_the_whole_log(stage: Stage) -> None:
    early = stage.visit()
    build = await stage.claimed()
    lines = [Event("building", f"line {n}\n") for n in range(WINDOW + 500)]
    for start in range(0, len(lines), 1000):
        await stage.builds.append(build, lines[start : start + 1000], 1.0)
    await early.seen(len(lines) + 1)
    late = stage.visit()
    await late.seen(len(lines) + 1)
    assert [event for _, event in late.events] == [event for _, event in early.events]
    await early.leave()
    await late.leave()


async def test_a_failed_build_ends_with_one_terminal_event(stage: Stage) -> None:
    visitor = stage.visit()
    await stage.build(failure=Failure.of(InstallFailed("It does not install.", hint="Mend it.")))
    await stage.launch()
    await visitor.end()
    assert visitor.phases.count("failed") == 1
    last = visitor.events[-1][1]
    assert last["message"] == "It does not install.\n"
    assert (last["code"], last["hint"]) == ("install_failed", "Mend it.")


async def test_a_spec_that_cannot_be_resolved(stage: Stage) -> None:
    visitor = stage.visit(spec="o/r/nosuch")
    await visitor.end()
    assert visitor.phases == ["failed"]
    last = visitor.events[-1][1]
    assert last["message"].startswith("Could not resolve ref for gh:o/r/nosuch.")
    assert last["status_code"] == 404
    assert await stage.launches.over(replace(VISIT, last_event_id=visitor.ids[-1]))


async def test_a_full_disk_is_called_so(stage: Stage) -> None:
    async with stage.database.write() as connection:
        # As small as it is now, SQLite says the same as on a full disk.
        await connection.exec_driver_sql("PRAGMA max_page_count = 1")
    visitor = stage.visit(launch_host=f"http://{'x' * 100_000}/")
    await visitor.end()
    assert [event["code"] for _, event in visitor.events] == ["disk_full"]


@pytest.mark.parametrize("leave_after", [1, 2, 4])
async def test_a_broken_stream_goes_on_where_it_broke(stage: Stage, leave_after: int) -> None:
    visitor = stage.visit()
    build = await stage.claimed()
    await stage.builds.append(build, [Event("building", f"line {n}\n") for n in range(3)], 1.0)
    await visitor.seen(4)
    await visitor.leave()
    kept = visitor.events[:leave_after]
    returned = stage.visit(last_event_id=kept[-1][0])
    await stage.end(build)
    await stage.launch()
    await returned.end()
    ids = [event_id for event_id, _ in kept] + returned.ids
    assert len(set(ids)) == len(ids) == 7
    assert await stage.sessions.count() == 1


async def test_whoever_returns_after_the_end_is_told_not_to(stage: Stage) -> None:
    visitor = stage.visit()
    await stage.build()
    await stage.launch()
    await visitor.end()
    assert await stage.launches.over(replace(VISIT, last_event_id=visitor.ids[-1]))
    assert not await stage.launches.over(replace(VISIT, last_event_id=visitor.ids[-2]))
    assert await stage.sessions.count() == 1


async def test_one_who_missed_the_end_still_gets_it_and_no_second_session(stage: Stage) -> None:
    visitor = stage.visit()
    await stage.build()
    await stage.launch()
    await visitor.end()
    returned = stage.visit(last_event_id=visitor.ids[-2])
    await returned.end()
    assert returned.phases == ["ready"]
    assert await stage.sessions.count() == 1


async def test_an_id_of_another_request_begins_anew(stage: Stage) -> None:
    visitor = stage.visit()
    await visitor.seen(1)
    other = stage.visit(spec="x/y/main", last_event_id=visitor.ids[0])
    await other.seen(1)
    assert await stage.sessions.count() == 2
    await visitor.leave()
    await other.leave()


async def test_a_session_that_nobody_waited_for_says_so(stage: Stage) -> None:
    visitor = stage.visit()
    await visitor.seen(1)
    await stage.build()
    (session,) = await stage.sessions.unfinished()
    await stage.sessions.advance(session, SessionState.STOPPED, [], 9.0, stop_reason="Nobody waited.")
    await visitor.end()
    assert visitor.events[-1][1]["message"] == "Nobody waited.\n"
    assert await stage.launches.over(replace(VISIT, last_event_id=visitor.ids[-1]))


async def test_build_only_ends_ready_without_a_session(stage: Stage) -> None:
    visitor = stage.visit(build_only=True)
    await stage.build()
    await visitor.end()
    assert visitor.phases[-1] == "ready"
    assert "url" not in visitor.events[-1][1]
    again = stage.visit(build_only=True)
    await again.end()
    assert [event["message"] for _, event in again.events] == ["Done! Found built image\n"]
    assert await stage.sessions.count() == 0
    assert await stage.launches.over(replace(VISIT, build_only=True, last_event_id=visitor.ids[-1]))


@contextlib.asynccontextmanager
async def _limited(tmp_path: Path, room: Room, **limits: Any) -> AsyncIterator[Stage]:
    """A stage on which the image is there already."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/bindery.db")
    await database.open()
    stage = Stage(database, room, LimitSettings(**limits))
    image = stage.launches.intake.image(await stage.launches.intake.resolve(VISIT))
    await stage.images.add(ImageRecord(image, "k", "https://example.org/o/r", COMMIT, 1.0, 1.0))
    try:
        yield stage
    finally:
        await database.close()


async def test_whoever_has_to_wait_is_told_where_it_stands(tmp_path: Path) -> None:
    async with _limited(tmp_path, Room(sessions=1, waiting=2)) as stage:
        first = stage.visit()
        await stage.launch()
        await first.end()
        (running,) = await stage.sessions.unfinished()
        second = stage.visit()
        await second.seen(2)
        third = stage.visit()
        await third.seen(2)
        assert second.events[-1][1]["position"] == 1
        assert {**third.events[-1][1], "message": ""} == {"phase": "waiting", "message": "", "position": 2, "ahead": 1}
        assert third.events[-1][1]["message"] == "All places are taken. You are number 2 in line.\n"
        refused = stage.visit()
        await refused.end()
        assert refused.phases == ["built", "failed"]
        assert refused.events[-1][1]["code"] == "quota_reached"
        assert refused.events[-1][1]["status_code"] == 503
        assert refused.events[-1][1]["retry_after_seconds"] == 60
        # Who leaves the line for a moment finds its place again, and nothing of it is logged.
        await second.leave()
        returned = stage.visit(last_event_id=second.ids[-1])
        await returned.seen(1)
        assert returned.events[-1][1]["position"] == 1
        await stage.sessions.advance(running, SessionState.STOPPING, [], 5.0)
        await stage.sessions.advance(running, SessionState.STOPPED, [], 5.0)
        waiting = await stage.sessions.unfinished()
        events = {row.id: [Event("launching", "x\n")] for row in waiting}
        (started,) = await stage.sessions.start(waiting, events, 6.0, stage.room)
        ready = Event("ready", "server running\n", {"url": started.url})
        await stage.sessions.advance(started, SessionState.READY, [ready], 6.0, ready_at=6.0)
        await returned.end()
        assert returned.phases == ["waiting", "launching", "ready"]
        await third.seen(3)
        assert third.phases == ["built", "waiting", "waiting"]
        assert third.events[-1][1]["position"] == 1
        await third.leave()


async def test_nothing_is_built_for_whom_there_is_no_place(tmp_path: Path) -> None:
    async with _limited(tmp_path, Room(), per_repository=1) as stage:
        visitor = stage.visit()
        await stage.launch()
        await visitor.end()
        await stage.images.forget((await stage.sessions.unfinished())[0].image)
        refused = stage.visit()
        await refused.end()
        assert [event["code"] for _, event in refused.events] == ["repository_quota_reached"]
        assert refused.events[-1][1]["message"] == "Too many users running https://example.org/o/r! Try again soon.\n"
        assert await stage.builds.unfinished() == []


async def test_whoever_asks_is_told_first_what_is_known(stage: Stage) -> None:
    visitor = stage.visit(about=True, opens="n.ipynb")
    await visitor.seen(2)
    about = visitor.events[0][1]["about"]
    (session,) = await stage.sessions.unfinished()
    assert (about["session_id"], about["build_id"], about["ref"]) == (session.id, session.build_id, COMMIT)
    assert about["documents"] == {}
    assert about["forecast"]["start"] is None
    repository = ("https://example.org/o/r", COMMIT)
    assert await stage.documents.wishes(*repository) == ["n.ipynb"]
    key = await stage.documents.put(*repository, "n.ipynb", "<p>x</p>")
    await visitor.leave()
    # The introduction can be come back to as any other event.
    returned = stage.visit(about=True, last_event_id=visitor.ids[0])
    await returned.seen(1)
    assert returned.events[0][1]["phase"] == "waiting"
    await stage.build()
    await stage.launch()
    await returned.end()
    assert await stage.sessions.count() == 1
    again = stage.visit(about=True)
    await again.seen(1)
    assert again.events[0][1]["about"]["build_id"] is None
    assert again.events[0][1]["about"]["documents"] == {"n.ipynb": key}
    await again.leave()
