"""The database: one writer and several readers on SQLite, one pool on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from db.migrate import upgrade

#: How long a connection waits, in milliseconds, for another process's write to end.
BUSY_MILLISECONDS = 10_000


class Database:
    """Connections to the one database of a service.

    - `write` blocks run one after the other on SQLite (`BEGIN IMMEDIATE`), so that none fails half-way for want of
      the lock; leaving the block commits, an exception rolls back.
    - `read` blocks see one consistent state and never wait for writers (WAL).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._sqlite = url.startswith("sqlite")
        self._writer = _engine(url, begin="BEGIN IMMEDIATE", connections=1)
        self._reader = _engine(url, begin="BEGIN", connections=3) if self._sqlite else self._writer

    async def open(self) -> None:
        """Bring the schema up to date."""
        await asyncio.to_thread(upgrade, self.url)

    async def close(self) -> None:
        """Give all connections back."""
        await self._reader.dispose()
        await self._writer.dispose()

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may change rows."""
        async with self._writer.begin() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        async with self._reader.connect() as connection:
            yield connection


def _engine(url: str, *, begin: str, connections: int) -> AsyncEngine:
    if not url.startswith("sqlite"):
        return create_async_engine(url, pool_pre_ping=True)
    engine = create_async_engine(url, poolclass=AsyncAdaptedQueuePool, pool_size=connections, max_overflow=0)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", lambda connection: _begin(connection, begin))
    return engine


def _begin(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


def _prepare_sqlite(connection: Any, record: object) -> None:
    # The driver's own implicit BEGIN comes too late to take the write lock; see SQLAlchemy's pysqlite notes.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_MILLISECONDS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
