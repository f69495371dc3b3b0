"""The database: one writer and several readers on SQLite, one pool on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import structlog
from sqlalchemy import event, exc, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from bindery.errors import DatabaseUnavailable
from bindery.settings import DatabaseSettings
from db import postgres
from db.migrate import require, upgrade

log = structlog.get_logger(__name__)

#: How long a connection waits, in milliseconds, for another process's write to end.
BUSY_MILLISECONDS = 10_000
#: Seconds between two tries to reach a database that does not answer.
RETRY_SECONDS = 0.5
#: Seconds that a service waits for its database at the start.
START_SECONDS = 60.0


class Database:
    """Connections to the one database of a service.

    - `write` blocks run one after the other on SQLite (`BEGIN IMMEDIATE`), so that none fails half-way for want of
      the lock; on PostgreSQL they run side by side, READ COMMITTED, and those that are `alone` under one name wait for
      each other. Leaving the block commits, an exception rolls back.
    - `read` blocks never wait for writers; on SQLite a block, on PostgreSQL a statement, sees one consistent state.
    - A PostgreSQL that does not answer is waited for a moment before a block begins; then, or when it leaves within
      one, `DatabaseUnavailable` is raised.
    """

    def __init__(self, url: str, settings: DatabaseSettings | None = None) -> None:
        self.url = url
        #: Whether other processes may use it at the same time.
        self.shared = not url.startswith("sqlite")
        self._settings = settings or DatabaseSettings()
        if self.shared:
            self._writer = postgres.pooled(url, self._settings)
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        else:
            self._writer = _sqlite(url, begin="BEGIN IMMEDIATE", connections=1)
            self._reader = _sqlite(url, begin="BEGIN", connections=3)
        # In the order in which they came: the pool lets newcomers past, and in a crowd somebody would wait for ever.
        self._turns = asyncio.Lock()

    async def open(self) -> bool:
        """Bring the schema up to date, or see that it is, as the settings say; returns whether it changed.

        Waits for a database that starts.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + START_SECONDS
        while True:
            try:
                return await asyncio.to_thread(upgrade if self._settings.migrate else require, self.url)
            except DatabaseUnavailable as error:
                if loop.time() > until:
                    raise
                log.warning("database.waiting", reason=str(error.__cause__))
            await asyncio.sleep(RETRY_SECONDS)

    async def close(self) -> None:
        """Give all connections back."""
        await self._reader.dispose()
        await self._writer.dispose()

    @contextlib.asynccontextmanager
    async def write(self, alone: str = "") -> AsyncIterator[AsyncConnection]:
        """A transaction that may change rows; those of one name `alone` run one after the other."""
        turn = contextlib.nullcontext() if self.shared else self._turns
        async with turn, self._connected(self._writer) as connection, connection.begin():
            if alone and self.shared:
                await connection.execute(select(func.pg_advisory_xact_lock(lock_number(alone))))
            yield connection

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Connection for statements that only read."""
        async with self._connected(self._reader) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        try:
            async with contextlib.AsyncExitStack() as stack:
                connection = await self._connect(engine)
                stack.push_async_callback(_closed, connection)
                yield connection
        except DBAPIError as error:
            if self.shared and (meaning := postgres.told(error)) is not None:
                raise meaning from error
            raise

    async def _connect(self, engine: AsyncEngine) -> AsyncConnection:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.wait_seconds
        while True:
            try:
                return await engine.connect()
            except exc.TimeoutError as error:
                raise DatabaseUnavailable("The database has no connection left for this.") from error
            except DBAPIError as error:
                waiting = self.shared and isinstance(postgres.told(error), DatabaseUnavailable)
                if not waiting or loop.time() > until:
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def lock_number(name: str) -> int:
    """The number of an advisory lock."""
    return int.from_bytes(hashlib.sha256(f"bindery {name}".encode()).digest()[:8], signed=True)


async def _closed(connection: AsyncConnection) -> None:
    # Whatever cancels us, the pool gets its connection back.
    await asyncio.shield(connection.close())


def _sqlite(url: str, *, begin: str, connections: int) -> AsyncEngine:
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
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
