"""PostgreSQL: how to reach it, and which of its errors mean that it is not there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Engine, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from bindery.errors import BinderyError, DatabaseRefused, DatabaseUnavailable, DiskFull, ToolMissing
from bindery.settings import DatabaseSettings

#: Seconds after which a server that is gone without a word is noticed, by probes of the system.
_SILENT_SECONDS = 15
#: The server ends, or became one that only reads: this connection is of no use any more.
_LEAVING = frozenset({"57P01", "57P02", "57P03", "25006"})
_DISK_FULL = "53100"
#: Logins, names of databases and parameters that no waiting mends.
_REFUSALS = ("28", "3D", "42501")
#: The same, while connecting: libpq tells those in words only.
_REFUSED = re.compile(r"FATAL: .*(authentication failed|does not exist|no pg_hba\.conf entry|permission denied)")


def conninfo(url: str, settings: DatabaseSettings) -> str:
    """The connection string of libpq: the URL's own parameters, and ours where it says nothing.

    Raises `DatabaseRefused`, or `ToolMissing` without psycopg.
    """
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict, make_conninfo
    except ImportError as error:
        raise ToolMissing(
            "PostgreSQL needs psycopg, which is not installed.", hint="pip install 'bindery[postgresql]'"
        ) from error
    try:
        given = conninfo_to_dict(url)
    except ProgrammingError:
        raise DatabaseRefused("BINDERY_DATABASE__URL is no URL of a PostgreSQL database.") from None
    return make_conninfo(**{**_defaults(settings), **given})


def _defaults(settings: DatabaseSettings) -> Mapping[str, Any]:
    silent = {"keepalives_idle": _SILENT_SECONDS - 5, "keepalives_interval": 2, "keepalives_count": 3}
    limit = int(settings.statement_timeout_seconds * 1000)
    return {
        "application_name": "bindery",
        # Also for a database without an encoding, of which psycopg would take all text for bytes.
        "client_encoding": "utf8",
        "connect_timeout": settings.connect_timeout_seconds,
        # After a failover the former primary may still answer, and only read.
        "target_session_attrs": "read-write",
        "tcp_user_timeout": _SILENT_SECONDS * 1000,
        **silent,
        **({"options": f"-c statement_timeout={limit}"} if limit else {}),
    }


def pooled(url: str, settings: DatabaseSettings) -> AsyncEngine:
    """The pool of a process."""
    where = conninfo(url, settings)

    async def connect() -> Any:
        from psycopg import AsyncConnection

        # No prepared statements: they are a connection's own, which poolers between us and the server do not keep.
        return await AsyncConnection.connect(where, prepare_threshold=None)

    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=connect,
        pool_pre_ping=True,
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=settings.wait_seconds,
    )
    event.listen(engine.sync_engine, "handle_error", _mark_leaving)
    return engine


def direct(url: str) -> Engine:
    """One connection, for migrations: without a limit of time for statements."""
    where = conninfo(url, DatabaseSettings(statement_timeout_seconds=0))

    def connect() -> Any:
        import psycopg

        return psycopg.connect(where)

    return create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)


def told(error: DBAPIError) -> BinderyError | None:
    """What an error of the database means for whoever asked; None when it is a mistake of ours."""
    state = _state(error)
    if state == _DISK_FULL:
        return DiskFull("There is no space left on the database's disk.")
    if state.startswith(_REFUSALS) or (not state and _REFUSED.search(str(error.orig))):
        return DatabaseRefused(f"The database refuses the service: {_first_line(error)}.")
    if state in _LEAVING or _kind(error) in ("OperationalError", "InterfaceError"):
        return DatabaseUnavailable("The database does not answer at the moment.")
    return None


def _mark_leaving(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "sqlstate", None) in _LEAVING:
        context.is_disconnect = True


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _kind(error: DBAPIError) -> str:
    return type(error).__name__


def _first_line(error: DBAPIError) -> str:
    return next(iter(str(error.orig).strip().splitlines()), "it does not say why").rstrip(".")
