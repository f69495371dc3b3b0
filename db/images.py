"""Images that were built, and when each was last used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update

from db.engine import Database
from db.tables import images
from db.upsert import upsert

#: How exact, in seconds, an image's last use is.
USED_SECONDS = 60.0
_REMEMBERED = 1000


@dataclass(frozen=True)
class ImageRecord:
    """One row; times are Unix seconds."""

    reference: str
    environment_key: str
    repo_url: str
    ref: str
    created_at: float
    used_at: float


class ImageStore:
    """What Bindery knows of its images; the image store itself has them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, float] = {}

    async def get(self, reference: str) -> ImageRecord | None:
        """The record of a reference."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(images).where(images.c.reference == reference))).mappings().first()
        return None if row is None else ImageRecord(**row)

    async def all(self) -> list[ImageRecord]:
        """All records, the last used first."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(images).order_by(images.c.used_at.desc()))).mappings()
            return [ImageRecord(**row) for row in rows]

    async def add(self, record: ImageRecord) -> None:
        """Record an image, instead of any former one of its reference."""
        values: dict[str, Any] = dict(record.__dict__)
        async with self._database.write() as connection:
            statement = upsert(connection, images).values(values)
            await connection.execute(statement.on_conflict_do_update(index_elements=["reference"], set_=values))

    async def used(self, reference: str, now: float) -> None:
        """Note that a session was started from the image; to a minute, so that a crowd's starts are one write."""
        if now - self._used.get(reference, -USED_SECONDS) < USED_SECONDS:
            return
        if len(self._used) >= _REMEMBERED:
            self._used.clear()
        self._used[reference] = now
        async with self._database.write() as connection:
            await connection.execute(update(images).where(images.c.reference == reference).values(used_at=now))

    async def forget(self, reference: str) -> None:
        """Drop the record of an image that is gone."""
        async with self._database.write() as connection:
            await connection.execute(delete(images).where(images.c.reference == reference))
