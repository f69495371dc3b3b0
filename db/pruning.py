"""Pruning: what has ended long ago goes, a little at a time, so that nobody else's write waits for it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Table, delete, select

from db.engine import Database
from db.states import BUILD_ENDS, PREVIEW_ENDS, SESSION_ENDS
from db.tables import builds, environments, images, launches, previews, sessions

#: Rows that one transaction removes; what belongs to a row, such as its log, goes with it.
BATCH = 100


async def prune(database: Database, *, records_before: float, launches_before: float) -> int:
    """Remove ended builds, sessions and previews, and launches, that began before a time; returns how many rows."""
    removed = 0
    for table, condition in _old(records_before, launches_before):
        key = next(iter(table.primary_key))
        batch = select(key).where(condition).limit(BATCH)
        while True:
            async with database.write() as connection:
                gone = (await connection.execute(delete(table).where(key.in_(batch)))).rowcount
            removed += gone
            if gone < BATCH:
                break
    return removed


def _old(records_before: float, launches_before: float) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    for table, ends in ((sessions, SESSION_ENDS), (builds, BUILD_ENDS), (previews, PREVIEW_ENDS)):
        yield table, table.c.state.in_(ends) & (table.c.created_at < records_before)
    yield launches, launches.c.ended_at < launches_before
    used = select(images.c.environment_key).where(images.c.environment_key == environments.c.key)
    yield environments, (environments.c.created_at < records_before) & ~used.exists()
