"""Which commit a spec pointed to a short while ago."""

from __future__ import annotations

from sqlalchemy import delete, select

from db.engine import Database
from db.tables import resolutions
from db.upsert import upsert


class ResolutionStore:
    """A cache that all processes of a service share; the values are JSON texts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str, now: float) -> str | None:
        """The value, unless it has expired."""
        query = select(resolutions.c.resolved).where(resolutions.c.key == key, resolutions.c.expires_at > now)
        async with self._database.read() as connection:
            value: str | None = await connection.scalar(query)
            return value

    async def put(self, key: str, resolved: str, ttl_seconds: float, now: float) -> None:
        """Keep a value for so long; drops what has expired."""
        values = {"resolved": resolved, "expires_at": now + ttl_seconds}
        async with self._database.write() as connection:
            await connection.execute(delete(resolutions).where(resolutions.c.expires_at <= now))
        async with self._database.write() as connection:
            statement = upsert(connection, resolutions).values(key=key, **values)
            await connection.execute(statement.on_conflict_do_update(index_elements=["key"], set_=values))
