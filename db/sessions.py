"""Sessions: one row for each visitor's notebook server, from the first request to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, case, func, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bindery.errors import QuotaReached
from db import admission, batch, event_log, launches, seats
from db.batch import Batch
from db.engine import Database
from db.event_log import LoggedEvent, Tail
from db.events import Event, Failure
from db.line import Place, Room, seat
from db.seats import UNFINISHED
from db.session import COLUMNS, UNSET, Session, SessionWanted, ended_launch, new_row, read_row
from db.states import BUILD_ENDS, SESSION_ENDS, BuildState, SessionState, session_sources
from db.tables import builds, session_events, sessions
from db.wakeups import Wakeups

__all__ = ["PENDING", "Session", "SessionStore", "SessionWanted", "topic"]

#: Named one by one, so that the index helps.
_GOING_ON = tuple(state for state in BuildState if state not in BUILD_ENDS)
#: Rows that are read in one turn of the event loop.
PORTION = 100
#: Topic that wakes the controller.
PENDING = "sessions"


@dataclass(frozen=True)
class _Creation:
    wanted: SessionWanted
    now: float
    room: Room

    @property
    def limited(self) -> bool:
        """Whether others have to be counted first."""
        return bool(self.room.sessions or self.wanted.allowance.sessions)


class SessionStore:
    """Reads and writes sessions; only transitions of `db.states` happen, each with its events in one transaction."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups
        self._creations = Batch(self._create)

    async def create(self, wanted: SessionWanted, now: float, room: Room | None = None) -> Session:
        """A new pending session; raises `QuotaReached` when it would have no place, nor one in the line."""
        return await self._creations(_Creation(wanted, now, room or Room()))

    async def _create(self, asked: Sequence[_Creation]) -> list[Session | Exception]:
        answers: list[Session | Exception] = []
        rows: list[dict[str, Any]] = []
        created: list[_Creation] = []
        async with self._database.write() as connection:
            for creation in asked:
                try:
                    if creation.limited:
                        await _insert(connection, rows, created)
                        await admission.check(connection, creation.wanted.claim, creation.room, creation.now)
                except QuotaReached as error:
                    answers.append(error)
                else:
                    rows.append(new_row(creation.wanted, creation.now))
                    created.append(creation)
                    answers.append(read_row({name: rows[-1].get(name, value) for name, value in UNSET.items()}))
            await _insert(connection, rows, created)
        self._wakeups.notify(PENDING)
        return answers

    async def check_room(self, wanted: SessionWanted, now: float, room: Room) -> None:
        """Raise what `create` would raise now; it may still raise that later."""
        if room.sessions or wanted.allowance.sessions:
            async with self._database.write() as connection:
                await admission.check(connection, wanted.claim, room, now)

    async def start(
        self, candidates: Sequence[Session], events: Mapping[str, Sequence[Event]], now: float, room: Room
    ) -> list[Session]:
        """Move those pending sessions to `starting` for which there is room, the first of them first.

        `events` has what is written to each one's log, by id.
        """
        async with self._database.write() as connection:
            chosen = await admission.seated(connection, [each.waiting for each in candidates], room)
            if not chosen:
                return []
            await _lock(connection, sessions.c.id.in_(chosen))
            started = []
            for count in {len(events[session_id]) for session_id in chosen}:
                ids = [session_id for session_id in chosen if len(events[session_id]) == count]
                started += await _move_to_starting(connection, ids, count, now)
            for each in started:
                await event_log.append(connection, session_events, each.id, each.last_seq, events[each.id], now)
        for each in started:
            self._wakeups.notify(topic(each.id))
        return started

    async def line(self, room: Room, now: float) -> dict[str, Place]:
        """The places of all who wait although their image is there, by session id."""
        async with self._database.read() as connection:
            waiting = await seats.waiting(connection, now, built=True)
            if not waiting:
                return {}
            _, places = seat(waiting, await seats.occupied(connection), room)
            paces = {name: await seats.pace(connection, name, now) for name in {p.repository for p in places.values()}}
        return {
            session_id: replace(place, estimate_seconds=pace * place.position)
            if (pace := paces[place.repository]) is not None
            else place
            for session_id, place in places.items()
        }

    async def get(self, session_id: str) -> Session | None:
        """The session of this secret id."""
        async with self._database.read() as connection:
            return await _one(connection, sessions.c.id == session_id)

    async def named(self, name: str) -> Session | None:
        """The session of this public name."""
        async with self._database.read() as connection:
            return await _one(connection, sessions.c.name == name)

    async def unfinished(self) -> list[Session]:
        """All sessions that have not ended, oldest first."""
        return await self._all(sessions.c.state.in_(UNFINISHED))

    async def due(self, since: float) -> list[Session]:
        """Those that have not ended, oldest first, without any that waits for a build that goes on.

        One whose visitor was last there before `since` is due all the same.
        """
        going_on = select(builds.c.id).where(builds.c.state.in_(_GOING_ON))
        for_build = sessions.c.build_id.is_not(None) & sessions.c.build_id.in_(going_on)
        waits = (sessions.c.state == SessionState.PENDING) & (sessions.c.watched_at >= since) & for_build
        return await self._all(sessions.c.state.in_(UNFINISHED) & ~waits)

    async def _all(self, condition: ColumnElement[bool]) -> list[Session]:
        async with self._database.read() as connection:
            query = select(*COLUMNS).where(condition).order_by(sessions.c.created_at)
            rows = (await connection.execute(query)).mappings().all()
        return await _in_portions(rows)

    async def of_browser(self, browser: str, most: int) -> list[Session]:
        """A browser's sessions, the newest first."""
        query = select(*COLUMNS).where(sessions.c.browser == browser).order_by(sessions.c.created_at.desc())
        async with self._database.read() as connection:
            return [read_row(row) for row in (await connection.execute(query.limit(most))).mappings()]

    async def count(self) -> int:
        """How many sessions have not ended."""
        async with self._database.read() as connection:
            return await _count(connection)

    async def by_state(self) -> dict[str, int]:
        """How many have not ended, by state."""
        query = (
            select(sessions.c.state, func.count())
            .where(sessions.c.state.not_in(SESSION_ENDS))
            .group_by(sessions.c.state)
        )
        async with self._database.read() as connection:
            return {str(state): int(count) for state, count in await connection.execute(query)}

    async def advance(
        self, session: Session, state: SessionState, events: Sequence[Event], now: float, **values: Any
    ) -> Session | None:
        """Move to a state, with its events; None when the row's state does not allow it (any more)."""
        if state in SESSION_ENDS:
            values["finished_at"] = now
        async with self._database.write() as connection:
            allowed = (sessions.c.id == session.id) & sessions.c.state.in_(session_sources(state))
            change = update(sessions).where(allowed).values(state=state, last_seq=sessions.c.last_seq + len(events))
            row = (await connection.execute(change.values(**values).returning(*COLUMNS))).mappings().first()
            if row is None:
                return None
            moved = read_row(row)
            await event_log.append(connection, session_events, session.id, moved.last_seq, events, now)
            if (ended := ended_launch(moved, now)) is not None:
                await launches.record(connection, ended)
        self._wakeups.notify(topic(session.id))
        self._wakeups.notify(PENDING)
        return moved

    async def fail(self, session: Session, failure: Failure, now: float) -> Session | None:
        """Move to `failed`, with the protocol's terminal event."""
        values = {f"error_{name}": value for name, value in failure.__dict__.items()}
        return await self.advance(session, SessionState.FAILED, [failure.event()], now, **values)

    async def fail_all(self, failing: Sequence[Session], failure: Failure, now: float) -> None:
        """Move all of these that may to `failed`, for the same reason; a crowd waits for one transaction in turn."""
        for start in range(0, len(failing), batch.MOST):
            await self._fail_together([each.id for each in failing[start : start + batch.MOST]], failure, now)
        self._wakeups.notify(PENDING)

    async def _fail_together(self, ids: Sequence[str], failure: Failure, now: float) -> None:
        state = SessionState.FAILED
        values = {f"error_{name}": value for name, value in failure.__dict__.items()}
        values |= {"state": state, "finished_at": now, "last_seq": sessions.c.last_seq + 1}
        mine = sessions.c.id.in_(ids) & sessions.c.state.in_(session_sources(state))
        async with self._database.write() as connection:
            await _lock(connection, mine)
            rows = await connection.execute(update(sessions).where(mine).values(values).returning(*COLUMNS))
            moved = [read_row(row) for row in rows.mappings()]
            if not moved:
                return
            last = [event_log.rows(session_events, row.id, row.last_seq, [failure.event()], now)[0] for row in moved]
            await connection.execute(insert(session_events), last)
            await launches.record(
                connection, *(ended for row in moved if (ended := ended_launch(row, now)) is not None)
            )
        for row in moved:
            self._wakeups.notify(topic(row.id))

    async def log(self, session: Session, events: Sequence[Event], now: float) -> None:
        """Add events to a session that has not ended."""
        async with self._database.write() as connection:
            mine = (sessions.c.id == session.id) & sessions.c.state.not_in(SESSION_ENDS)
            reserve = update(sessions).where(mine).values(last_seq=sessions.c.last_seq + len(events))
            row = (await connection.execute(reserve.returning(sessions.c.last_seq))).first()
            if row is not None:
                await event_log.append(connection, session_events, session.id, row[0], events, now)
        self._wakeups.notify(topic(session.id))

    async def watched(self, session_ids: Collection[str], now: float) -> None:
        """Note that these sessions' visitors are waiting right now."""
        if not session_ids:
            return
        mine = sessions.c.id.in_(session_ids)
        async with self._database.write() as connection:
            await _lock(connection, mine)
            await connection.execute(update(sessions).where(mine).values(watched_at=now))

    async def active(self, seen: Mapping[str, float]) -> None:
        """Note when each named session was last used, unless that is known already; the first time also opens it."""
        if not seen:
            return
        mine = sessions.c.name.in_(list(seen))
        async with self._database.write() as connection:
            await _lock(connection, mine)
            times = case(dict(seen), value=sessions.c.name)
            latest = case((sessions.c.active_at > times, sessions.c.active_at), else_=times)
            opened = func.coalesce(sessions.c.opened_at, times)
            await connection.execute(update(sessions).where(mine).values(active_at=latest, opened_at=opened))

    async def follow(self, session_id: str, after: int) -> Tail:
        """The log from number `after` + 1 on, and the session's state."""
        async with self._database.read() as connection:
            return await event_log.follow(connection, sessions, session_events, session_id, after)

    async def events(self, session_id: str, after: int) -> list[LoggedEvent]:
        """The log from number `after` + 1 on."""
        async with self._database.read() as connection:
            return await event_log.read(connection, session_events, session_id, after)


def topic(session_id: str) -> str:
    """The wake-up topic of a session's log."""
    return f"session:{session_id}"


async def _lock(connection: AsyncConnection, condition: ColumnElement[bool]) -> None:
    """Lock several rows, always in the same order: two that lock some of the same never wait for each other."""
    await connection.execute(select(sessions.c.id).where(condition).order_by(sessions.c.id).with_for_update())


async def _in_portions(rows: Sequence[RowMapping]) -> list[Session]:
    """The sessions of many rows; others get their turn meanwhile."""
    read: list[Session] = []
    for start in range(0, len(rows), PORTION):
        read += map(read_row, rows[start : start + PORTION])
        await asyncio.sleep(0)
    return read


async def _count(connection: AsyncConnection) -> int:
    query = select(func.count()).select_from(sessions).where(sessions.c.state.in_(UNFINISHED))
    return int(await connection.scalar(query) or 0)


async def _insert(connection: AsyncConnection, rows: list[dict[str, Any]], created: list[_Creation]) -> None:
    """Write new rows with the beginnings of their logs, and forget that they have to be written."""
    if rows:
        await connection.execute(insert(sessions), rows)
        logs = [
            line
            for row, creation in zip(rows, created, strict=True)
            for line in event_log.rows(session_events, row["id"], row["last_seq"], creation.wanted.first, creation.now)
        ]
        if logs:
            await connection.execute(insert(session_events), logs)
        rows.clear()
        created.clear()


async def _move_to_starting(connection: AsyncConnection, ids: Sequence[str], events: int, now: float) -> list[Session]:
    """Move sessions that are to get so many events each."""
    mine = sessions.c.id.in_(ids) & sessions.c.state.in_(session_sources(SessionState.STARTING))
    values = {"state": SessionState.STARTING, "started_at": now, "last_seq": sessions.c.last_seq + events}
    moved = await connection.execute(update(sessions).where(mine).values(values).returning(*COLUMNS))
    return [read_row(row) for row in moved.mappings()]


async def _one(connection: AsyncConnection, condition: Any) -> Session | None:
    row = (await connection.execute(select(*COLUMNS).where(condition))).mappings().first()
    return None if row is None else read_row(row)
