"""Sessions: one row for each visitor's notebook server, from the first request to its end."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import ColumnElement, case, func, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bindery.errors import QuotaReached
from db import admission, batch, event_log, launches, seats
from db.admission import Claim
from db.batch import Batch
from db.engine import Database
from db.event_log import LoggedEvent, Tail
from db.events import Event, Failure
from db.launches import Launch, Outcome
from db.line import Allowance, Place, Room, Waiting, seat
from db.seats import UNFINISHED
from db.states import SESSION_ENDS, SessionState, session_sources
from db.tables import session_events, sessions
from db.wakeups import Wakeups

#: Topic that wakes the controller.
PENDING = "sessions"

_SUFFIX = "abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass(frozen=True)
class SessionWanted:
    """What a session is asked for with.

    `slug` begins its name. `launch_host` is the service's own URL as the visitor sees it, with a trailing slash.
    `request` holds the fields of the protocol's `ready` event that are known before the server is. `repository` tells
    whose quota it counts for. `launch_event` is what the operator's log of launches says once it is ready.
    """

    slug: str
    image: str
    build_id: str | None
    launch_host: str
    request: Mapping[str, str]
    #: Whose it is: the hash of a browser's secret; None: nobody's who could come back for it.
    browser: str | None = None
    #: Host of the session's own, with `{name}` in it; empty: the service's.
    host: str = ""
    repository: str = ""
    allowance: Allowance = field(default_factory=Allowance)
    launch_event: str | None = None
    #: What its log begins with.
    first: Sequence[Event] = ()

    @property
    def claim(self) -> Claim:
        """What it needs a place of."""
        return Claim(self.repository, self.request.get("repo_url", ""), self.allowance.sessions)


@dataclass(frozen=True)
class Session:
    """One row. `id` is secret: whoever knows it may read the session's stream, token included; `name` is public."""

    id: str
    name: str
    token: str
    image: str
    build_id: str | None
    request: Mapping[str, str]
    launch_host: str
    repository: str
    allowance: Allowance
    launch_event: str | None
    state: SessionState
    last_seq: int
    address: str | None
    stop_reason: str | None
    error_code: str | None
    error_message: str | None
    error_hint: str | None
    error_retryable: bool | None
    created_at: float
    watched_at: float
    started_at: float | None
    ready_at: float | None
    opened_at: float | None
    active_at: float | None
    finished_at: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in SESSION_ENDS

    @property
    def waiting(self) -> Waiting:
        """How it stands in line."""
        return Waiting(self.id, self.repository, self.allowance.sessions)

    @property
    def url(self) -> str:
        """Where the visitor reaches the server; ends with a slash."""
        return self.request.get("url") or f"{self.launch_host}user/{self.name}/"


@dataclass(frozen=True)
class _Creation:
    wanted: SessionWanted
    now: float
    room: Room

    @property
    def limited(self) -> bool:
        """Whether others have to be counted first."""
        return bool(self.room.sessions or self.wanted.allowance.sessions)


_COLUMNS = [sessions.c[field.name] for field in fields(Session)]
#: What a new row has in columns that nobody has written yet.
_UNSET: Mapping[str, Any] = {**dict.fromkeys(each.name for each in fields(Session)), "last_seq": 0}


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
                    rows.append(_new_row(creation.wanted, creation.now))
                    created.append(creation)
                    answers.append(_session({name: rows[-1].get(name, value) for name, value in _UNSET.items()}))
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
        async with self._database.read() as connection:
            query = select(*_COLUMNS).where(sessions.c.state.in_(UNFINISHED)).order_by(sessions.c.created_at)
            return [_session(row) for row in (await connection.execute(query)).mappings()]

    async def of_browser(self, browser: str, most: int) -> list[Session]:
        """A browser's sessions, the newest first."""
        query = select(*_COLUMNS).where(sessions.c.browser == browser).order_by(sessions.c.created_at.desc())
        async with self._database.read() as connection:
            return [_session(row) for row in (await connection.execute(query.limit(most))).mappings()]

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
            row = (await connection.execute(change.values(**values).returning(*_COLUMNS))).mappings().first()
            if row is None:
                return None
            moved = _session(row)
            await event_log.append(connection, session_events, session.id, moved.last_seq, events, now)
            if (ended := _launch(moved, now)) is not None:
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
            rows = await connection.execute(update(sessions).where(mine).values(values).returning(*_COLUMNS))
            moved = [_session(row) for row in rows.mappings()]
            if not moved:
                return
            last = [event_log.rows(session_events, row.id, row.last_seq, [failure.event()], now)[0] for row in moved]
            await connection.execute(insert(session_events), last)
            await launches.record(connection, *(ended for row in moved if (ended := _launch(row, now)) is not None))
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


def _launch(moved: Session, now: float) -> Launch | None:
    """The launch that ended as the session came to its present state."""
    if moved.state is SessionState.READY:
        outcome = Outcome.READY
    elif moved.ready_at is None and moved.state in (SessionState.FAILED, SessionState.STOPPED):
        outcome = Outcome.FAILED if moved.state is SessionState.FAILED else Outcome.LEFT
    else:
        return None
    link = moved.request.get("binder_request", "")
    return Launch(
        session=moved.name,
        ended_at=now,
        outcome=outcome,
        error_code=moved.error_code,
        seconds=now - moved.created_at,
        built=moved.build_id is not None,
        provider=link.removeprefix("v2/").partition("/")[0],
        repo_url=moved.request.get("repo_url", ""),
        link=link,
    )


def _own_url(wanted: SessionWanted, name: str) -> Mapping[str, str]:
    """The `url` of a session that has a host of its own."""
    if not wanted.host:
        return {}
    service = urlsplit(wanted.launch_host)
    return {"url": f"{service.scheme}://{wanted.host.replace('{name}', name)}{service.path}user/{name}/"}


async def _lock(connection: AsyncConnection, condition: ColumnElement[bool]) -> None:
    """Lock several rows, always in the same order: two that lock some of the same never wait for each other."""
    await connection.execute(select(sessions.c.id).where(condition).order_by(sessions.c.id).with_for_update())


async def _count(connection: AsyncConnection) -> int:
    query = select(func.count()).select_from(sessions).where(sessions.c.state.in_(UNFINISHED))
    return int(await connection.scalar(query) or 0)


def _new_row(wanted: SessionWanted, now: float) -> dict[str, Any]:
    name = f"{wanted.slug}-{''.join(secrets.choice(_SUFFIX) for _ in range(8))}"
    return {
        "id": secrets.token_urlsafe(16),
        "name": name,
        "token": secrets.token_urlsafe(16),
        "image": wanted.image,
        "build_id": wanted.build_id,
        "request": json.dumps({**wanted.request, **_own_url(wanted, name)}),
        "launch_host": wanted.launch_host,
        "browser": wanted.browser,
        "repository": wanted.repository,
        "allowance": json.dumps(asdict(wanted.allowance)),
        "launch_event": wanted.launch_event,
        "last_seq": len(wanted.first),
        "state": SessionState.PENDING,
        "created_at": now,
        "watched_at": now,
    }


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
    moved = await connection.execute(update(sessions).where(mine).values(values).returning(*_COLUMNS))
    return [_session(row) for row in moved.mappings()]


async def _one(connection: AsyncConnection, condition: Any) -> Session | None:
    row = (await connection.execute(select(*_COLUMNS).where(condition))).mappings().first()
    return None if row is None else _session(row)


def _session(row: RowMapping | Mapping[str, Any]) -> Session:
    read = {
        "state": SessionState(row["state"]),
        "request": json.loads(row["request"]),
        "allowance": Allowance(**json.loads(row["allowance"])),
    }
    return Session(**{**row, **read})
