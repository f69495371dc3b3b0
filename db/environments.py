"""Environments that were made: what is installed in them, kept where every replica can read it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from db.engine import Database
from db.images import ImageRecord
from db.tables import environments, images
from db.upsert import upsert


@dataclass(frozen=True)
class EnvironmentRecord:
    """One row. `lock` is what is installed, one a line, as the engine lists it; times are Unix seconds."""

    key: str
    lock: str
    size_bytes: int
    created_at: float


class EnvironmentStore:
    """What Bindery knows of environments, and which commits share one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, key: str) -> EnvironmentRecord | None:
        """The record of an environment."""
        query = select(environments).where(environments.c.key == key)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        return None if row is None else EnvironmentRecord(**row)

    async def put(self, record: EnvironmentRecord) -> None:
        """Record an environment. One that does not know what it has does not replace what is known."""
        values = dict(record.__dict__)
        async with self._database.write() as connection:
            statement = upsert(connection, environments).values(values)
            if record.lock:
                known = statement.on_conflict_do_update(index_elements=["key"], set_=values)
            else:
                known = statement.on_conflict_do_nothing(index_elements=["key"])
            await connection.execute(known)

    async def shared_by(self, key: str, most: int) -> tuple[list[ImageRecord], int]:
        """The newest images that stand on an environment, and how many there are."""
        standing = images.c.environment_key == key
        async with self._database.read() as connection:
            newest = select(images).where(standing).order_by(images.c.created_at.desc()).limit(most)
            rows = [ImageRecord(**row) for row in (await connection.execute(newest)).mappings()]
            count = await connection.scalar(select(func.count()).select_from(images).where(standing))
        return rows, int(count or 0)
