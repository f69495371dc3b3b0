"""Bringing a database's schema up to date (alembic)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Engine, create_engine, event, func, inspect, select, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from bindery.errors import SchemaOutdated
from db import postgres

log = structlog.get_logger(__name__)

#: Number of the advisory lock of whoever migrates.
LOCK = 0x62696E64657279
_VERSIONS = Path(__file__).parent / "migrations" / "versions"


def upgrade(url: str) -> bool:
    """Apply every migration that the database lacks; returns whether there was any. Takes the asynchronous URL.

    Of several that begin at once one migrates, the others wait for it.
    """
    with connected(url) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
        if missing := pending(connection):
            log.info("database.migrating", revisions=missing)
            migrate(connection, "head")
    return bool(missing)


def require(url: str) -> bool:
    """Raise `SchemaOutdated` when the database lacks a migration; returns False: nothing was changed."""
    with connected(url) as connection:
        missing = pending(connection)
    if missing:
        raise SchemaOutdated(f"The database lacks the migrations {', '.join(missing)}.")
    return False


def pending(connection: Connection) -> list[str]:
    """The migrations that a database lacks; none when a newer version of the program has migrated it."""
    present = _revision(connection)
    return [each for each in revisions() if each > present]


def revisions() -> list[str]:
    """All revisions of this version, in their order."""
    return sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))


def migrate(connection: Connection, target: str) -> None:
    """Migrate up to one revision, in the connection's transaction."""
    # Imported here: alembic costs start-up time and memory that an up-to-date database need not pay.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_VERSIONS.parent))
    config.attributes["connection"] = connection
    command.upgrade(config, target)


def _revision(connection: Connection) -> str:
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "")


@contextlib.contextmanager
def connected(url: str) -> Iterator[Connection]:
    """One transaction on a database, however its schema is."""
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        if engine.dialect.name == "postgresql" and (meaning := postgres.told(error)) is not None:
            raise meaning from error
        raise
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    if url.startswith("sqlite"):
        engine = create_engine(url.replace("sqlite+aiosqlite", "sqlite", 1))
        event.listen(engine, "connect", _write_ahead)
        return engine
    return postgres.direct(url)


def _write_ahead(connection: Any, record: object) -> None:
    """The file keeps this mode. It is changed while nobody else is there: of several that do so some would fail."""
    connection.execute("PRAGMA journal_mode=WAL")
