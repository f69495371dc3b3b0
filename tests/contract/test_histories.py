"""What remains of builds, launches and environments, on every database."""

from __future__ import annotations

from typing import Any

import pytest

from bindery.errors import QuotaReached
from bindery.settings import StatusSettings
from db.builds import BuildStore, LeaseLost, Step, Wanted
from db.engine import Database
from db.environments import EnvironmentRecord, EnvironmentStore
from db.events import Event, Failure
from db.images import ImageRecord, ImageStore
from db.launches import LaunchStore, Outcome
from db.previews import PreviewStore
from db.pruning import BATCH, prune
from db.sessions import Session, SessionStore, SessionWanted
from db.states import BuildState, PreviewState, SessionState
from db.wakeups import Wakeups
from tests.contract.test_stores import WANTED, builds, database, sessions
from web.health import Health
from web.service_report import Reporter

__all__ = ["builds", "database", "sessions"]

BROKEN = Failure("install_failed", "no", "", False)
BUSY = Failure("host_busy", "later", "", True)


def wanted(name: str = "r", build_id: str | None = None, provider: str = "gh", ref: str = "HEAD") -> SessionWanted:
    request = {"binder_request": f"v2/{provider}/o/{name}/{ref}", "repo_url": f"https://example.org/o/{name}"}
    return SessionWanted("o-r", "gh-o-r:abc", build_id, "http://127.0.0.1:1/", request)


async def launched(
    sessions: SessionStore, asked: SessionWanted, begun: float, ended: float, failure: Failure | None = None
) -> Session:
    session = await sessions.create(asked, begun)
    if failure is not None:
        await sessions.fail(session, failure, ended)
        return session
    await sessions.advance(session, SessionState.STARTING, [], begun)
    await sessions.advance(session, SessionState.READY, [], ended, ready_at=ended)
    return session


class TestSteps:
    async def test_a_build_tells_when_it_entered_each_state(self, database: Database) -> None:
        builds = BuildStore(database, Wakeups(), clock=lambda: 3.0)
        build, _ = await builds.request(WANTED, [], 1.0)
        claimed = await builds.claim("w", 30, 2.0)
        assert claimed is not None
        await builds.advance(claimed, BuildState.PLANNING)
        await builds.finish(claimed, BuildState.FAILED, [], 4.0, BROKEN)
        assert await builds.steps(build.id) == [
            Step(0, BuildState.QUEUED, 1.0),
            Step(1, BuildState.FETCHING, 2.0),
            Step(1, BuildState.PLANNING, 3.0),
            Step(1, BuildState.FAILED, 4.0),
        ]

    async def test_a_second_attempt_has_steps_of_its_own(self, builds: BuildStore) -> None:
        build, _ = await builds.request(WANTED, [], 1.0)
        await builds.claim("w", 1, 2.0)
        await builds.claim("w", 1, 9.0)
        assert [(step.attempt, step.entered_at) for step in await builds.steps(build.id)] == [
            (0, 1.0), (1, 2.0), (2, 9.0)
        ]  # fmt: skip

    async def test_who_is_before_a_build_and_who_waits_for_it(self, builds: BuildStore, sessions: SessionStore) -> None:
        await builds.request(WANTED, [], 1.0)
        second, _ = await builds.request(Wanted("other:1", *list(WANTED.__dict__.values())[1:]), [], 2.0)
        assert await builds.ahead_of(second) == 1
        await sessions.create(wanted(build_id=second.id), 2.0)
        await launched(sessions, wanted(build_id=second.id), 2.0, 3.0, BROKEN)
        assert await builds.waiting_for(second) == 1


class TestLaunches:
    async def test_each_launch_is_counted_once_when_it_ends(self, database: Database, sessions: SessionStore) -> None:
        ready = await launched(sessions, wanted(), 100.0, 102.0)
        await sessions.advance(ready, SessionState.STOPPING, [], 110.0)
        await sessions.advance(ready, SessionState.STOPPED, [], 110.0)
        await launched(sessions, wanted(), 100.0, 161.0, BROKEN)
        await sessions.advance(await sessions.create(wanted(), 100.0), SessionState.STOPPED, [], 162.0)
        tallies = await LaunchStore(database).tallies(100.0, 60)
        assert sorted((each.slot, each.outcome.value, each.error_code, each.count) for each in tallies) == [
            (0, Outcome.READY, None, 1), (1, Outcome.FAILED, "install_failed", 1), (1, Outcome.LEFT, None, 1)
        ]  # fmt: skip

    async def test_how_long_launches_took(self, database: Database, sessions: SessionStore) -> None:
        for seconds in range(1, 101):
            await launched(sessions, wanted(), 1000.0, 1000.0 + seconds)
        await launched(sessions, wanted(build_id="b"), 1000.0, 1500.0)
        await launched(sessions, wanted(), 1000.0, 1999.0, BROKEN)
        known, built = await LaunchStore(database).times(1000.0)
        assert (known.built, known.count, known.median, known.p95, known.p99) == (False, 100, 50.0, 95.0, 99.0)
        assert (built.built, built.count, built.median) == (True, 1, 500.0)
        assert await LaunchStore(database).times(3000.0) == []

    async def test_what_is_launched_most(self, database: Database, sessions: SessionStore) -> None:
        for name, provider, ref, times in (
            ("a", "gh", "main", 1), ("a", "gh", "HEAD", 2), ("b", "gh", "HEAD", 2), ("c", "git", "HEAD", 9)
        ):  # fmt: skip
            for _ in range(times):
                await launched(sessions, wanted(name, provider=provider, ref=ref), 1.0, 2.0)
        found = await LaunchStore(database).popular(0.0, ["git"], 5)
        assert [(each.repo_url, each.link, each.count) for each in found] == [
            ("https://example.org/o/a", "v2/gh/o/a/HEAD", 3), ("https://example.org/o/b", "v2/gh/o/b/HEAD", 2)
        ]  # fmt: skip

    async def test_what_was_launched_last(self, database: Database, sessions: SessionStore) -> None:
        for moment, (name, provider, failure) in enumerate(
            (("a", "gh", None), ("b", "gh", None), ("c", "git", None), ("a", "gh", None), ("d", "gh", BROKEN)), 2
        ):
            wish = wanted(name, provider=provider, ref=f"v{moment}")
            await launched(sessions, wish, 1.0, float(moment), *([failure] if failure else []))
        store = LaunchStore(database)
        found = await store.recent(0.0, ["git"], 5)
        assert [(each.repo_url, each.link, each.count) for each in found] == [
            ("https://example.org/o/a", "v2/gh/o/a/v5", 2), ("https://example.org/o/b", "v2/gh/o/b/v3", 1)
        ]  # fmt: skip
        assert await store.recent(0.0, ["git"], 1) == found[:1]
        assert await store.recent(6.5, [], 5) == []


class TestPreviews:
    async def test_a_preview_is_made_once(self, database: Database) -> None:
        store = PreviewStore(database, Wakeups())
        first = await store.request(WANTED, 1, 1.0)
        assert first.state is PreviewState.WANTED
        assert await store.request(WANTED, 1, 2.0) == first
        claimed = await store.claim(30, 3.0)
        assert claimed is not None
        assert await store.claim(30, 3.0) is None
        await store.finish(claimed, "{}", ["a note"], BROKEN, 4.0)
        made = await store.request(WANTED, 1, 5.0)
        assert (made.state, made.plan, made.notes, made.failure) == (PreviewState.PLANNED, "{}", ["a note"], BROKEN)

    async def test_only_so_many_are_waited_for(self, database: Database) -> None:
        store = PreviewStore(database, Wakeups())
        await store.request(WANTED, 1, 1.0)
        with pytest.raises(QuotaReached):
            await store.request(Wanted("other:1", *list(WANTED.__dict__.values())[1:]), 1, 1.0)

    async def test_whoever_lost_the_lease_writes_nothing(self, database: Database) -> None:
        store = PreviewStore(database, Wakeups())
        await store.request(WANTED, 1, 1.0)
        slow, quick = await store.claim(1, 1.0), await store.claim(1, 9.0)
        assert slow is not None
        assert quick is not None
        with pytest.raises(LeaseLost):
            await store.finish(slow, "{}", [], None, 10.0)
        await store.finish(quick, None, [], BUSY, 10.0)

    async def test_what_may_pass_is_tried_again(self, database: Database) -> None:
        store = PreviewStore(database, Wakeups())
        for failure, again in ((BUSY, PreviewState.WANTED), (BROKEN, PreviewState.FAILED)):
            await store.request(WANTED, 1, 1.0)
            claimed = await store.claim(30, 1.0)
            assert claimed is not None
            await store.finish(claimed, None, [], failure, 2.0)
            assert (await store.request(WANTED, 1, 3.0)).state is again


class TestEnvironments:
    async def test_what_is_known_is_not_forgotten(self, database: Database) -> None:
        store = EnvironmentStore(database)
        await store.put(EnvironmentRecord("k", "", 0, 1.0))
        known = EnvironmentRecord("k", "numpy==2.0\n", 10, 2.0)
        await store.put(known)
        await store.put(EnvironmentRecord("k", "", 0, 3.0))
        assert await store.get("k") == known
        assert await store.get("other") is None

    async def test_which_commits_share_it(self, database: Database) -> None:
        images = ImageStore(database)
        for number in range(3):
            await images.add(ImageRecord(f"a:{number}", "k", "https://example.org/o/r", f"c{number}", number, number))
        rows, count = await EnvironmentStore(database).shared_by("k", 2)
        assert ([row.ref for row in rows], count) == (["c2", "c1"], 3)


class TestPruning:
    async def test_what_ended_long_ago_goes(self, database: Database, sessions: SessionStore) -> None:
        builds = BuildStore(database, Wakeups())
        for number in range(BATCH + 1):
            build, _ = await builds.request(_image(number), [Event("waiting", "x\n")], 10.0)
            claimed = await builds.claim("w", 30, 10.0)
            assert claimed is not None
            await builds.finish(claimed, BuildState.FAILED, [], 11.0, BROKEN)
        running, _ = await builds.request(_image(0), [], 10.0)
        late = await launched(sessions, wanted(), 1000.0, 1001.0, BROKEN)
        await launched(sessions, wanted(), 10.0, 11.0, BROKEN)
        assert await prune(database, records_before=100.0, launches_before=100.0) == BATCH + 1 + 2
        assert await builds.get(build.id) is None
        assert await builds.events(build.id, 0) == []
        assert await builds.get(running.id) is not None
        assert await sessions.get(late.id) is not None
        assert [each.count for each in await LaunchStore(database).tallies(0.0, 10**6)] == [1]

    async def test_environments_stay_while_an_image_stands_on_them(self, database: Database) -> None:
        store, images = EnvironmentStore(database), ImageStore(database)
        for key in ("used", "unused"):
            await store.put(EnvironmentRecord(key, "x", 1, 1.0))
        await images.add(ImageRecord("a:b", "used", "https://example.org/o/r", "c", 1.0, 1.0))
        await prune(database, records_before=100.0, launches_before=100.0)
        assert await store.get("used") is not None
        assert await store.get("unused") is None


def _image(number: int) -> Wanted:
    values: dict[str, Any] = {**WANTED.__dict__, "image": f"a:{number}"}
    return Wanted(**values)


class TestReports:
    async def test_long_windows_are_looked_at_less_often(self, database: Database, sessions: SessionStore) -> None:
        now = [10_000_000.0]
        builds, health, settings = BuildStore(database, Wakeups()), Health({}), StatusSettings()
        reporter = Reporter(builds, sessions, LaunchStore(database), health, settings, clock=lambda: now[0])

        async def ready() -> list[int]:
            report = await reporter.report()
            return [look.outcomes.ready for look in report.looks] + [sum(each.count for each in report.popular)]

        assert await ready() == [0, 0, 0, 0]
        await launched(sessions, wanted(), now[0], now[0])
        assert await ready() == [0, 0, 0, 0]
        for seconds, counts in ((15, [1, 0, 0, 0]), (90, [1, 1, 0, 0]), (700, [1, 1, 1, 1])):
            now[0] = 10_000_000.0 + seconds
            assert await ready() == counts
        assert sum(slot.ready for slot in (await reporter.report()).looks[0].slots) == 1
