"""What the rows say about who runs and who waits; every function works on a caller's transaction."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import ColumnElement

from db.line import Waiting
from db.states import SESSION_ENDS, BuildState, SessionState
from db.tables import builds, sessions

#: A visitor who has not been seen for so many seconds does not wait any more.
UNWATCHED_SECONDS = 60.0

#: States of sessions that take a place. Named one by one, not as "not ended": only so does the index help.
RUNNING = (SessionState.STARTING, SessionState.READY, SessionState.STOPPING)
UNFINISHED = tuple(state for state in SessionState if state not in SESSION_ENDS)

#: How many of the last ends tell how soon a place becomes free, and how few do not.
_ENDS = 20
_TOO_FEW_ENDS = 3
#: Any number: everybody who counts sessions and then adds one takes this lock.
_LOCK = 0x42494E44


async def alone(connection: AsyncConnection) -> None:
    """Let nobody else count until the transaction ends. On SQLite a write transaction is alone anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


async def present(connection: AsyncConnection, now: float, repository: str | None = None) -> int:
    """How many sessions run or have a visitor who waits for them, of all or of one repository."""
    query = select(func.count()).select_from(sessions).where(or_(sessions.c.state.in_(RUNNING), _waits(now)))
    if repository is not None:
        query = query.where(sessions.c.repository == repository)
    return int(await connection.scalar(query) or 0)


async def occupied(connection: AsyncConnection) -> dict[str, int]:
    """How many sessions of each repository run."""
    query = select(sessions.c.repository, func.count()).where(sessions.c.state.in_(RUNNING))
    rows = await connection.execute(query.group_by(sessions.c.repository))
    return {row[0]: row[1] for row in rows}


async def waiting(connection: AsyncConnection, now: float, *, built: bool) -> list[Waiting]:
    """Who waits, in the order in which they came; only those whose image is there, if `built`.

    Whoever had to wait for a build has come when that ended.
    """
    came_at = func.coalesce(builds.c.finished_at, sessions.c.created_at)
    query = (
        select(sessions.c.id, sessions.c.repository, sessions.c.allowance)
        .select_from(sessions.outerjoin(builds, builds.c.id == sessions.c.build_id))
        .where(_waits(now))
        .order_by(came_at, sessions.c.created_at, sessions.c.id)
    )
    if built:
        query = query.where(or_(sessions.c.build_id.is_(None), builds.c.state == BuildState.BUILT))
    return [
        Waiting(session_id, repository, json.loads(allowance).get("sessions", 0))
        for session_id, repository, allowance in await connection.execute(query)
    ]


async def pace(connection: AsyncConnection, repository: str, now: float) -> float | None:
    """Seconds from one session's end to the next, lately; of one repository, or (empty) of all."""
    ran = sessions.c.finished_at.is_not(None) & sessions.c.started_at.is_not(None)
    query = select(sessions.c.finished_at).where(ran)
    if repository:
        query = query.where(sessions.c.repository == repository)
    ends = (await connection.scalars(query.order_by(sessions.c.finished_at.desc()).limit(_ENDS))).all()
    return None if len(ends) < _TOO_FEW_ENDS else max(now - ends[-1], 1.0) / len(ends)


def _waits(now: float) -> ColumnElement[Any]:
    return (sessions.c.state == SessionState.PENDING) & (sessions.c.watched_at >= now - UNWATCHED_SECONDS)
