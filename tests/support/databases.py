"""Both kinds of database, empty, for tests that shall hold on each."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from db.engine import Database
from db.migrate import upgrade
from tests.support.postgres import postgres

KINDS = ["sqlite", "postgresql"]


@contextlib.contextmanager
def empty_url(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if kind == "sqlite":
        yield f"sqlite+aiosqlite:///{folder}/bindery.db"
        return
    with postgres().database() as url:
        yield url


@functools.cache
def _migrated() -> str:
    """A PostgreSQL database whose schema is up to date, to copy."""
    postgres().run("CREATE DATABASE migrated")
    upgrade(postgres().url("migrated"))
    return "migrated"


@contextlib.asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Database]:
    """A database whose schema is up to date."""
    with empty_url(kind, folder) if kind == "sqlite" else postgres().database(_migrated()) as url:
        database = Database(url)
        await database.open()
        try:
            yield database
        finally:
            await database.close()
