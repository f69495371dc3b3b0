"""How long things took lately, for telling how long they will take."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import select

from db.engine import Database
from db.states import BuildState
from db.tables import builds, sessions

#: The newest builds and sessions that count.
MOST = 200


@dataclass(frozen=True)
class BuildDuration:
    """One build that succeeded: its kind, such as `python`, and whether its environment was there already."""

    kind: str
    reused: bool
    seconds: float


class DurationStore:
    """Reads the durations of the newest builds and launches that succeeded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def builds(self) -> list[BuildDuration]:
        """Of builds, from their claim to their end."""
        query = select(builds.c.plan, builds.c.environment_reused, builds.c.started_at, builds.c.finished_at).where(
            builds.c.state == BuildState.BUILT, builds.c.environment_reused.is_not(None)
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(builds.c.created_at.desc()).limit(MOST))
            return [
                BuildDuration(json.loads(plan).get("kind", ""), bool(reused), ended - began)
                for plan, reused, began, ended in rows
                if plan and began is not None
            ]

    async def starts(self) -> list[float]:
        """Of servers, from being asked for to their first answer."""
        query = select(sessions.c.started_at, sessions.c.ready_at).where(sessions.c.ready_at.is_not(None))
        async with self._database.read() as connection:
            rows = await connection.execute(query.order_by(sessions.c.ready_at.desc()).limit(MOST))
            return [ready - began for began, ready in rows if began is not None]
