"""Bringing a database's schema up to date (alembic)."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Connection

#: The newest revision in `db/migrations/versions`; a test holds it.
HEAD = "0005"

_ASYNC_DRIVERS = {"sqlite+aiosqlite": "sqlite"}


def upgrade(url: str) -> None:
    """Apply every migration that the database lacks; takes the asynchronous URL."""
    scheme, separator, rest = url.partition("://")
    engine = create_engine(_ASYNC_DRIVERS.get(scheme, scheme) + separator + rest)
    try:
        with engine.begin() as connection:
            if _revision(connection) != HEAD:
                _migrate(connection)
    finally:
        engine.dispose()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _migrate(connection: Connection) -> None:
    # Imported here: alembic costs start-up time and memory that an up-to-date database need not pay.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
