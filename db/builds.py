"""Builds: durable jobs, claimed by workers under a lease."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, insert, or_, select, text, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from db import event_log
from db.engine import Database
from db.event_log import LoggedEvent, Tail
from db.events import Event, Failure
from db.states import BUILD_ENDS, SESSION_ENDS, BuildState, build_sources
from db.tables import UNFINISHED, build_events, build_steps, builds, sessions
from db.upsert import upsert
from db.wakeups import Wakeups

#: Topic that wakes workers.
QUEUE = "builds"
#: Topic that wakes whoever waits for any build to end.
ENDED = "builds-ended"


class LeaseLost(Exception):
    """Another worker goes on with this build; the one that reads this must stop and write nothing more."""


@dataclass(frozen=True)
class Wanted:
    """What a build is asked for with."""

    image: str
    provider: str
    spec: str
    repo_url: str
    ref: str
    ref_url: str


@dataclass(frozen=True)
class Build:
    """One row."""

    id: str
    image: str
    provider: str
    spec: str
    repo_url: str
    ref: str
    ref_url: str
    state: BuildState
    attempt: int
    cancel_requested: bool
    last_seq: int
    plan: str | None
    environment_key: str | None
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    error_retryable: bool | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in BUILD_ENDS

    @property
    def failure(self) -> Failure | None:
        """Why it failed or was cancelled."""
        if self.error_code is None:
            return None
        return Failure(self.error_code, self.error_message or "", self.error_hint or "", bool(self.error_retryable))


@dataclass(frozen=True)
class Step:
    """When a build entered a state, in which attempt (0: before the first)."""

    attempt: int
    state: BuildState
    entered_at: float


_COLUMNS = [builds.c[field.name] for field in fields(Build)]


class BuildStore:
    """Reads and writes builds.

    - However many ask for an image, it has one unfinished build.
    - A claim is exclusive while its lease is renewed; every write of a worker names its attempt, so that one that lost
      its lease writes nothing (`LeaseLost`).
    - Only transitions of `db.states` happen.
    """

    def __init__(self, database: Database, wakeups: Wakeups, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wakeups = wakeups
        self._clock = clock

    async def get(self, build_id: str) -> Build | None:
        """The build of this id."""
        async with self._database.read() as connection:
            return await _one(connection, builds.c.id == build_id)

    async def latest(self, image: str) -> Build | None:
        """The newest build of an image, however it ended."""
        query = select(*_COLUMNS).where(builds.c.image == image).order_by(builds.c.created_at.desc()).limit(1)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else _build(row)

    async def request(self, wanted: Wanted, first: Sequence[Event], now: float) -> tuple[Build, bool]:
        """The unfinished build of the image, and whether it is new; `first` begins a new one's log."""
        unfinished = (builds.c.image == wanted.image) & builds.c.state.not_in(BUILD_ENDS)
        # Another one's build may end between two looks: then the next round begins ours.
        while True:
            async with self._database.write() as connection:
                if (build := await _one(connection, unfinished)) is not None:
                    return build, False
                created = await self._create(connection, wanted, first, now)
            if created is not None:
                self._wakeups.notify(QUEUE)
                return created, True

    async def claim(self, owner: str, lease_seconds: float, now: float) -> Build | None:
        """Take the oldest build that is queued or whose worker's lease has ended; its state becomes `fetching`."""
        async with self._database.write() as connection:
            waiting = or_(
                builds.c.state == BuildState.QUEUED,
                builds.c.state.not_in(BUILD_ENDS) & (builds.c.lease_until < now),
            )
            query = select(builds.c.id).where(waiting).order_by(builds.c.created_at).limit(1)
            build_id = await connection.scalar(query.with_for_update(skip_locked=True))
            if build_id is None:
                return None
            change = {"lease_owner": owner, "lease_until": now + lease_seconds, "attempt": builds.c.attempt + 1}
            change |= {"state": BuildState.FETCHING, "started_at": now}
            await connection.execute(update(builds).where(builds.c.id == build_id).values(**change))
            claimed = await _one(connection, builds.c.id == build_id)
            assert claimed is not None
            await _enter(connection, build_id, claimed.attempt, BuildState.FETCHING, now)
            return claimed

    async def renew(self, build: Build, lease_seconds: float, now: float) -> bool:
        """Keep the lease; returns whether somebody asked for the build to be cancelled. Raises `LeaseLost`."""
        async with self._database.write() as connection:
            mine = update(builds).where(*_owned(build)).values(lease_until=now + lease_seconds)
            row = (await connection.execute(mine.returning(builds.c.cancel_requested))).first()
        if row is None:
            raise LeaseLost(build.id)
        return bool(row[0])

    async def advance(self, build: Build, state: BuildState, **values: Any) -> None:
        """Move to an unfinished state. Raises `LeaseLost`."""
        async with self._database.write() as connection:
            allowed = builds.c.state.in_(build_sources(state))
            change = update(builds).where(*_owned(build), allowed).values(state=state, **values)
            if (await connection.execute(change)).rowcount == 0:
                raise LeaseLost(build.id)
            await _enter(connection, build.id, build.attempt, state, self._clock())

    async def append(self, build: Build, events: Sequence[Event], now: float) -> None:
        """Add to the log. Raises `LeaseLost`."""
        async with self._database.write() as connection:
            await self._log(connection, build, events, now)
        self._wakeups.notify(topic(build.id))

    async def finish(
        self, build: Build, state: BuildState, events: Sequence[Event], now: float, failure: Failure | None = None
    ) -> None:
        """End the build, with its last events, in one transaction. Raises `LeaseLost`."""
        async with self._database.write() as connection:
            await self._log(connection, build, events, now)
            values: dict[str, Any] = {"state": state, "finished_at": now, "lease_until": None}
            if failure is not None:
                values |= {f"error_{name}": value for name, value in failure.__dict__.items()}
            allowed = builds.c.state.in_(build_sources(state))
            if (await connection.execute(update(builds).where(*_owned(build), allowed).values(**values))).rowcount == 0:
                raise LeaseLost(build.id)
            await _enter(connection, build.id, build.attempt, state, now)
        self._wakeups.notify(topic(build.id))
        self._wakeups.notify(ENDED)

    async def release(self, owner: str | None = None) -> int:
        """End the leases of `owner`, or of everybody, so that the next claim may take them; returns how many."""
        async with self._database.write() as connection:
            held = builds.c.lease_until.is_not(None) & builds.c.state.not_in(BUILD_ENDS)
            if owner is not None:
                held &= builds.c.lease_owner == owner
            result = await connection.execute(update(builds).where(held).values(lease_until=0.0))
        self._wakeups.notify(QUEUE)
        return int(result.rowcount)

    async def cancel(self, build_id: str) -> bool:
        """Ask for the build to be cancelled; False when it has ended or never was."""
        async with self._database.write() as connection:
            unfinished = (builds.c.id == build_id) & builds.c.state.not_in(BUILD_ENDS)
            result = await connection.execute(update(builds).where(unfinished).values(cancel_requested=True))
        self._wakeups.notify(cancel_topic(build_id))
        return bool(result.rowcount)

    async def follow(self, build_id: str, after: int) -> Tail:
        """The log from number `after` + 1 on, and whether the build has ended."""
        async with self._database.read() as connection:
            return await event_log.follow(connection, builds, build_events, build_id, after)

    async def events(self, build_id: str, after: int) -> list[LoggedEvent]:
        """The log from number `after` + 1 on."""
        async with self._database.read() as connection:
            return await event_log.read(connection, build_events, build_id, after)

    async def unfinished(self) -> list[Build]:
        """All builds that have not ended, oldest first."""
        async with self._database.read() as connection:
            query = select(*_COLUMNS).where(builds.c.state.not_in(BUILD_ENDS)).order_by(builds.c.created_at)
            return [_build(row) for row in (await connection.execute(query)).mappings()]

    async def by_state(self) -> dict[str, int]:
        """How many have not ended, by state."""
        query = select(builds.c.state, func.count()).where(builds.c.state.not_in(BUILD_ENDS)).group_by(builds.c.state)
        async with self._database.read() as connection:
            return {str(state): int(count) for state, count in await connection.execute(query)}

    async def steps(self, build_id: str) -> list[Step]:
        """When the build entered each of its states, in order."""
        query = select(build_steps.c.attempt, build_steps.c.state, build_steps.c.entered_at)
        query = query.where(build_steps.c.build_id == build_id)
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(build_steps.c.attempt, build_steps.c.entered_at))
            return [Step(attempt, BuildState(state), entered_at) for attempt, state, entered_at in rows]

    async def ahead_of(self, build: Build) -> int:
        """How many builds are queued before it."""
        queued = (builds.c.state == BuildState.QUEUED) & (builds.c.created_at < build.created_at)
        async with self._database.read() as connection:
            return int(await connection.scalar(select(func.count()).select_from(builds).where(queued)) or 0)

    async def waiting_for(self, build: Build) -> int:
        """How many visitors' sessions wait for it."""
        waiting = (sessions.c.build_id == build.id) & sessions.c.state.not_in(SESSION_ENDS)
        async with self._database.read() as connection:
            return int(await connection.scalar(select(func.count()).select_from(sessions).where(waiting)) or 0)

    async def _create(
        self, connection: AsyncConnection, wanted: Wanted, first: Sequence[Event], now: float
    ) -> Build | None:
        """A new build, unless another one of the image was begun since we looked."""
        row = {**wanted.__dict__, "id": secrets.token_hex(8), "state": BuildState.QUEUED, "created_at": now}
        new = upsert(connection, builds).values(**row, last_seq=len(first))
        new = new.on_conflict_do_nothing(index_elements=["image"], index_where=text(UNFINISHED))
        created = (await connection.execute(new.returning(*_COLUMNS))).mappings().first()
        if created is None:
            return None
        await event_log.append(connection, build_events, created["id"], len(first), first, now)
        await _enter(connection, created["id"], 0, BuildState.QUEUED, now)
        return _build(created)

    async def _log(self, connection: AsyncConnection, build: Build, events: Sequence[Event], now: float) -> None:
        reserve = update(builds).where(*_owned(build)).values(last_seq=builds.c.last_seq + len(events))
        row = (await connection.execute(reserve.returning(builds.c.last_seq))).first()
        if row is None:
            raise LeaseLost(build.id)
        await event_log.append(connection, build_events, build.id, row[0], events, now)


def topic(build_id: str) -> str:
    """The wake-up topic of a build's log."""
    return f"build:{build_id}"


def cancel_topic(build_id: str) -> str:
    """The wake-up topic of a build's cancellation."""
    return f"cancel:{build_id}"


def _owned(build: Build) -> tuple[Any, ...]:
    return builds.c.id == build.id, builds.c.attempt == build.attempt, builds.c.state.not_in(BUILD_ENDS)


async def _enter(connection: AsyncConnection, build_id: str, attempt: int, state: BuildState, now: float) -> None:
    step = {"build_id": build_id, "attempt": attempt, "state": state, "entered_at": now}
    await connection.execute(insert(build_steps).values(**step))


async def _one(connection: AsyncConnection, condition: Any) -> Build | None:
    row = (await connection.execute(select(*_COLUMNS).where(condition))).mappings().first()
    return None if row is None else _build(row)


def _build(row: RowMapping) -> Build:
    return Build(**{**row, "state": BuildState(row["state"])})
