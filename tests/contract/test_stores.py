"""What the stores promise, on every database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bindery.errors import QuotaReached, RefNotFound, RepositoryQuotaReached
from db.builds import BuildStore, LeaseLost, Wanted
from db.documents import KEEP_SECONDS, MOST, DocumentStore
from db.durations import BuildDuration, DurationStore
from db.engine import Database
from db.events import Event, Failure
from db.images import ImageRecord, ImageStore
from db.line import Allowance, Room
from db.rates import RateStore
from db.resolutions import ResolutionStore
from db.seats import UNWATCHED_SECONDS
from db.sessions import SessionStore, SessionWanted
from db.states import BuildState, SessionState
from db.wakeups import Wakeups
from tests.support.databases import KINDS, opened

WANTED = Wanted("gh-o-r:abc", "gh", "o/r/abc", "https://example.org/o/r", "abc", "https://example.org/o/r/tree/abc")
SESSION = SessionWanted("o-r", "gh-o-r:abc", None, "http://127.0.0.1:1/", {"image": "gh-o-r:abc"})


@pytest.fixture(params=KINDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(request.param, tmp_path) as database:
        yield database


@pytest.fixture
def builds(database: Database) -> BuildStore:
    return BuildStore(database, Wakeups())


@pytest.fixture
def sessions(database: Database) -> SessionStore:
    return SessionStore(database, Wakeups())


class TestBuilds:
    async def test_however_many_ask_there_is_one_build(self, builds: BuildStore) -> None:
        answers = await asyncio.gather(*(builds.request(WANTED, [Event("waiting", "x\n")], 1.0) for _ in range(20)))
        assert len({build.id for build, _ in answers}) == 1
        assert [new for _, new in answers].count(True) == 1
        assert len(await builds.events(answers[0][0].id, 0)) == 1

    async def test_a_build_that_ends_while_another_is_asked_for_is_never_lost(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        for turn in range(10):
            claim = await builds.claim("w", 30, 2.0 + turn)
            assert claim is not None
            ending = asyncio.create_task(builds.finish(claim, BuildState.FAILED, [], 3.0 + turn))
            asked = await asyncio.gather(*(builds.request(WANTED, [], 3.0 + turn) for _ in range(6)))
            await ending
            await builds.request(WANTED, [], 3.0 + turn)
            assert len(await builds.unfinished()) == 1
            assert {build.id for build, _ in asked} <= {claim.id, (await builds.unfinished())[0].id}

    async def test_each_build_is_claimed_once(self, builds: BuildStore) -> None:
        for n in range(12):
            await builds.request(replace(WANTED, image=f"image:{n}"), [], float(n))
        claims = await asyncio.gather(*(builds.claim(f"w{n}", 30, 20.0) for n in range(20)))
        taken = [claim.id for claim in claims if claim is not None]
        assert len(taken) == len(set(taken)) == 12

    async def test_a_claim_is_exclusive(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        claims = await asyncio.gather(*(builds.claim(f"w{n}", 30, 2.0) for n in range(8)))
        assert sum(claim is not None for claim in claims) == 1

    async def test_a_worker_that_lost_its_lease_writes_nothing(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        first = await builds.claim("first", 30, 2.0)
        second = await builds.claim("second", 30, 33.0)
        assert first is not None
        assert second is not None
        assert second.attempt == 2
        for write in (
            builds.append(first, [Event("", "late\n")], 34.0),
            builds.advance(first, BuildState.PLANNING),
            builds.finish(first, BuildState.FAILED, [], 34.0),
        ):
            with pytest.raises(LeaseLost):
                await write
        with pytest.raises(LeaseLost):
            await builds.renew(first, 30, 34.0)
        assert await builds.events(first.id, 0) == []

    async def test_events_are_numbered_without_a_gap(self, builds: BuildStore) -> None:
        build, _ = await builds.request(WANTED, [Event("waiting", "a\n")], 1.0)
        claim = await builds.claim("w", 30, 2.0)
        assert claim is not None
        for batch in range(5):
            await builds.append(claim, [Event("building", f"{batch}.{line}\n") for line in range(3)], 3.0)
        assert [event.seq for event in await builds.events(build.id, 0)] == list(range(1, 17))
        assert [event.seq for event in await builds.events(build.id, 14)] == [15, 16]

    async def test_only_known_transitions_happen(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        claim = await builds.claim("w", 30, 2.0)
        assert claim is not None
        with pytest.raises(LeaseLost):
            await builds.advance(claim, BuildState.COMPOSING)
        with pytest.raises(LeaseLost):
            await builds.finish(claim, BuildState.BUILT, [], 3.0)

    async def test_a_failure_is_kept(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        claim = await builds.claim("w", 30, 2.0)
        assert claim is not None
        failure = Failure.of(RefNotFound("no such ref", hint="look again"))
        await builds.finish(claim, BuildState.FAILED, [failure.event()], 3.0, failure)
        build = await builds.get(claim.id)
        assert build is not None
        assert build.ended
        assert build.failure == failure
        again, new = await builds.request(WANTED, [], 4.0)
        assert new
        assert again.id != claim.id

    async def test_cancel_is_seen_at_the_next_renewal(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        claim = await builds.claim("w", 30, 2.0)
        assert claim is not None
        assert not await builds.renew(claim, 30, 3.0)
        assert await builds.cancel(claim.id)
        assert await builds.renew(claim, 30, 4.0)
        assert not await builds.cancel("nosuch")

    async def test_released_leases_can_be_claimed_at_once(self, builds: BuildStore) -> None:
        await builds.request(WANTED, [], 1.0)
        await builds.claim("w", 1000, 2.0)
        assert await builds.claim("other", 1000, 3.0) is None
        assert await builds.release() == 1
        assert await builds.claim("other", 1000, 3.0) is not None


class TestSessions:
    async def test_each_transition_comes_with_its_events(self, sessions: SessionStore) -> None:
        session = await sessions.create(SESSION, 1.0)
        assert session.url == f"http://127.0.0.1:1/user/{session.name}/"
        starting = await sessions.advance(session, SessionState.STARTING, [Event("launching", "a\n")], 2.0)
        assert starting is not None
        ready = await sessions.advance(session, SessionState.READY, [Event("ready", "b\n")], 3.0, address="unix:/x")
        assert ready is not None
        assert ready.address == "unix:/x"
        assert [event.seq for event in await sessions.events(session.id, 0)] == [1, 2]

    async def test_a_session_may_have_a_host_of_its_own(self, sessions: SessionStore) -> None:
        asked = replace(SESSION, launch_host="https://binder.example.org/b/", host="{name}.s.example.org")
        session = await sessions.create(asked, 1.0)
        assert session.url == f"https://{session.name}.s.example.org/b/user/{session.name}/"
        assert session.request["url"] == session.url

    async def test_a_transition_happens_once(self, sessions: SessionStore) -> None:
        session = await sessions.create(SESSION, 1.0)
        moves = [sessions.advance(session, SessionState.STARTING, [Event("", "x")], 2.0) for _ in range(6)]
        assert sum(move is not None for move in await asyncio.gather(*moves)) == 1
        assert len(await sessions.events(session.id, 0)) == 1

    async def test_forbidden_transitions_do_not_happen(self, sessions: SessionStore) -> None:
        session = await sessions.create(SESSION, 1.0)
        assert await sessions.advance(session, SessionState.READY, [], 2.0) is None
        assert await sessions.advance(session, SessionState.STOPPED, [], 2.0) is not None
        assert await sessions.advance(session, SessionState.STARTING, [], 2.0) is None

    async def test_the_quota_holds_under_a_rush(self, sessions: SessionStore) -> None:
        asked = [sessions.create(SESSION, 1.0, Room(3)) for _ in range(10)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, QuotaReached) for answer in answers) == 7
        assert await sessions.count() == 3

    async def test_places_are_given_in_one_transaction(self, sessions: SessionStore) -> None:
        rows = [await sessions.create(SESSION, 1.0) for _ in range(6)]
        events = {row.id: [Event("built", "a\n"), Event("launching", "b\n")] for row in rows}
        rush = [sessions.start(rows[::step], events, 2.0, Room(3, 9)) for step in (1, 1, -1, -1)]
        started = [row.id for each in await asyncio.gather(*rush) for row in each]
        assert len(started) == len(set(started)) == 3
        assert [event.seq for event in await sessions.events(started[0], 0)] == [1, 2]
        line = await sessions.line(Room(3, 9), 2.0)
        assert sorted(place.position for place in line.values()) == [1, 2, 3]
        assert not set(line) & set(started)

    async def test_a_repository_has_its_own_quota(self, sessions: SessionStore) -> None:
        wanted = replace(SESSION, repository="a", allowance=Allowance(sessions=1), request={"repo_url": "https://A"})
        await sessions.create(wanted, 1.0)
        with pytest.raises(RepositoryQuotaReached, match=r"^Too many users running https://A! Try again soon\.$"):
            await sessions.create(wanted, 1.0)
        await sessions.create(replace(wanted, repository="b"), 1.0)

    async def test_the_line_is_as_long_as_the_operator_says(self, sessions: SessionStore) -> None:
        asked = [sessions.create(SESSION, 1.0, Room(2, 3)) for _ in range(10)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, QuotaReached) for answer in answers) == 5

    async def test_a_crowd_fails_together(self, sessions: SessionStore) -> None:
        rows = [await sessions.create(SESSION, 1.0) for _ in range(5)]
        ready = await sessions.advance(rows[0], SessionState.STARTING, [Event("launching", "a\n")], 2.0)
        assert ready is not None
        assert await sessions.advance(rows[1], SessionState.STOPPED, [], 2.0) is not None
        await sessions.fail_all(rows, Failure.of(RefNotFound("no such ref", hint="look again")), 3.0)
        found = [await sessions.get(row.id) for row in rows]
        failed, stopped = SessionState.FAILED, SessionState.STOPPED
        assert [row and row.state for row in found] == [failed, stopped, failed, failed, failed]
        assert [event.seq for event in await sessions.events(rows[0].id, 0)] == [1, 2]
        assert [event.seq for event in await sessions.events(rows[4].id, 0)] == [1]
        assert await sessions.events(rows[1].id, 0) == []

    async def test_whoever_has_gone_is_not_in_line(self, sessions: SessionStore) -> None:
        gone = await sessions.create(SESSION, 1.0, Room(1))
        late = 2.0 + UNWATCHED_SECONDS
        await sessions.create(SESSION, late, Room(1))
        with pytest.raises(QuotaReached):
            await sessions.create(SESSION, late, Room(1))
        await sessions.watched([gone.id], late)
        assert len(await sessions.line(Room(1), late)) == 1

    async def test_the_line_is_estimated_by_how_sessions_ended(self, sessions: SessionStore) -> None:
        for end in (100.0, 110.0, 120.0):
            row = await sessions.create(SESSION, 1.0)
            for state in (SessionState.STARTING, SessionState.STOPPING, SessionState.STOPPED):
                moved = await sessions.advance(row, state, [], end, started_at=2.0)
                assert moved is not None
        waiting = [await sessions.create(SESSION, 130.0) for _ in range(3)]
        await sessions.start(waiting, {row.id: [] for row in waiting}, 130.0, Room(1, 5))
        estimates = {place.position: place.estimate_seconds for place in (await sessions.line(Room(1), 130.0)).values()}
        assert estimates == {1: 10.0, 2: 20.0}

    async def test_activity_opens_a_session_once(self, sessions: SessionStore) -> None:
        one = await sessions.create(SESSION, 1.0)
        two = await sessions.create(SESSION, 1.0)
        await sessions.active({one.name: 5.0})
        await sessions.active({one.name: 9.0, two.name: 7.0, "nosuch": 8.0})
        seen = {row.name: (row.opened_at, row.active_at) for row in await sessions.unfinished()}
        assert seen == {one.name: (5.0, 9.0), two.name: (7.0, 7.0)}

    async def test_a_replica_that_saw_less_does_not_turn_activity_back(self, sessions: SessionStore) -> None:
        one = await sessions.create(SESSION, 1.0)
        await sessions.active({one.name: 9.0})
        await sessions.active({one.name: 6.0})
        assert [row.active_at for row in await sessions.unfinished()] == [9.0]

    async def test_who_waits_for_a_build_that_goes_on_is_not_due(
        self, sessions: SessionStore, builds: BuildStore
    ) -> None:
        build, _ = await builds.request(WANTED, [], 1.0)
        await sessions.create(replace(SESSION, build_id=build.id), 10.0)
        left = await sessions.create(replace(SESSION, build_id=build.id), 1.0)
        ready = await sessions.create(SESSION, 10.0)
        assert [row.id for row in await sessions.due(5.0)] == [left.id, ready.id]
        claim = await builds.claim("w", 30, 11.0)
        assert claim is not None
        assert len(await sessions.due(5.0)) == 2
        await builds.finish(claim, BuildState.FAILED, [], 12.0)
        assert len(await sessions.due(5.0)) == len(await sessions.unfinished()) == 3

    async def test_many_replicas_note_many_sessions_at_once(self, sessions: SessionStore) -> None:
        rows = [await sessions.create(SESSION, 1.0) for _ in range(40)]
        orders = [random.Random(n).sample(rows, len(rows)) for n in range(12)]
        notes = [sessions.active({row.name: 5.0 for row in order}) for order in orders]
        looks = [sessions.watched([row.id for row in order], 6.0) for order in orders]
        await asyncio.gather(*notes, *looks)
        assert {(row.active_at, row.watched_at) for row in await sessions.unfinished()} == {(5.0, 6.0)}


async def test_resolutions_expire(database: Database) -> None:
    store = ResolutionStore(database)
    await store.put("gh:o/r/main", "{}", 60, 100.0)
    assert await store.get("gh:o/r/main", 159.0) == "{}"
    assert await store.get("gh:o/r/main", 161.0) is None


async def test_rates_are_counted_by_client_and_window(database: Database) -> None:
    store = RateStore(database)
    counts = [await store.count("a", 2, 60, 100.0) for _ in range(3)]
    assert [(rate.remaining, rate.exceeded, rate.reset_at) for rate in counts] == [
        (1, False, 120.0),
        (0, False, 120.0),
        (0, True, 120.0),
    ]
    assert (await store.count("b", 2, 60, 100.0)).count == 1
    assert (await store.count("a", 2, 60, 121.0)).count == 1


async def test_an_image_has_one_record(database: Database) -> None:
    store = ImageStore(database)
    for created in (1.0, 2.0):
        await store.add(ImageRecord("a:b", "key", "https://example.org", "b", created, created))
    await store.used("a:b", 5.0)
    record = await store.get("a:b")
    assert record is not None
    assert (record.created_at, record.used_at) == (2.0, 5.0)
    await store.forget("a:b")
    assert await store.get("a:b") is None


class TestDocuments:
    REPO = ("https://example.org/o/r", "abc")

    @pytest.fixture
    def documents(self, database: Database) -> DocumentStore:
        return DocumentStore(database, Wakeups())

    async def test_a_wish_is_kept_once_and_fulfilled_once(self, documents: DocumentStore) -> None:
        await asyncio.gather(*(documents.wish(*self.REPO, "README.md", 1.0) for _ in range(5)))
        assert await documents.wishes(*self.REPO) == ["README.md"]
        key = await documents.put(*self.REPO, "README.md", "<p>x</p>")
        assert await documents.wishes(*self.REPO) == []
        assert await documents.rendered(*self.REPO) == {"README.md": key}
        found = await documents.get(key)
        assert found is not None
        assert (found.path, found.html) == ("README.md", "<p>x</p>")

    async def test_what_cannot_be_shown_is_not_asked_for_again(self, documents: DocumentStore) -> None:
        await documents.wish(*self.REPO, "x.ipynb", 1.0)
        key = await documents.put(*self.REPO, "x.ipynb", "")
        assert await documents.wishes(*self.REPO) == []
        assert await documents.rendered(*self.REPO) == {}
        assert await documents.get(key) is None

    async def test_wishes_are_bounded(self, documents: DocumentStore) -> None:
        for number in range(MOST + 5):
            await documents.wish(*self.REPO, f"{number}.md", 1.0)
        await documents.wish(*self.REPO, "x" * 501, 1.0)
        assert len(await documents.wishes(*self.REPO)) == MOST
        assert await documents.wishes("https://example.org/o/other", "abc") == []

    async def test_of_too_many_the_oldest_go(self, documents: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("db.documents.MOST_OF_ALL", 3)
        for number in range(5):
            await documents.wish(f"https://example.org/{number}", "abc", "README.md", float(number))
        left = [number for number in range(5) if await documents.wishes(f"https://example.org/{number}", "abc")]
        assert left == [2, 3, 4]

    async def test_what_is_old_goes(self, documents: DocumentStore) -> None:
        await documents.wish(*self.REPO, "README.md", 1.0)
        key = await documents.put(*self.REPO, "README.md", "<p>x</p>")
        await documents.wish(*self.REPO, "other.md", KEEP_SECONDS + 2.0)
        assert await documents.get(key) is None


class TestDurations:
    async def test_only_what_succeeded_counts(
        self, database: Database, builds: BuildStore, sessions: SessionStore
    ) -> None:
        await builds.request(WANTED, [], 1.0)
        build = await builds.claim("w", 30, 10.0)
        assert build is not None
        assert await DurationStore(database).builds() == []
        await builds.advance(build, BuildState.PLANNING)
        await builds.advance(build, BuildState.BUILDING, plan='{"kind": "conda"}', environment_reused=False)
        await builds.advance(build, BuildState.COMPOSING)
        await builds.finish(build, BuildState.BUILT, [], 25.0)
        assert await DurationStore(database).builds() == [BuildDuration("conda", False, 15.0)]
        waiting = await sessions.create(SESSION, 1.0)
        starting = await sessions.advance(waiting, SessionState.STARTING, [], 5.0, started_at=5.0)
        assert starting is not None
        assert await DurationStore(database).starts() == []
        await sessions.advance(starting, SessionState.READY, [], 8.0, ready_at=8.0)
        assert await DurationStore(database).starts() == [3.0]
