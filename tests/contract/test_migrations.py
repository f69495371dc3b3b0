"""What migrations promise, on every database."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from bindery.errors import DatabaseRefused, SchemaOutdated
from bindery.settings import DatabaseSettings
from db.engine import Database
from db.migrate import connected, migrate, pending, require, revisions, upgrade
from db.tables import metadata
from tests.support.databases import KINDS, empty_url
from tests.support.postgres import postgres

#: What one database calls otherwise than the other.
_TYPES = {"DOUBLE PRECISION": "FLOAT"}


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with empty_url(request.param, tmp_path) as found:
        yield found


def test_one_after_the_other_they_give_the_declared_schema(url: str) -> None:
    for revision in revisions():
        with connected(url) as connection:
            assert pending(connection)[0] == revision
            migrate(connection, revision)
    with connected(url) as connection:
        assert pending(connection) == []
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_nothing_is_done_twice(url: str) -> None:
    assert upgrade(url)
    assert not upgrade(url)


def test_both_databases_get_the_same_schema(tmp_path: Path) -> None:
    schemas = []
    with contextlib.ExitStack() as stack:
        for kind in KINDS:
            url = stack.enter_context(empty_url(kind, tmp_path))
            upgrade(url)
            with connected(url) as connection:
                schemas.append(_schema(connection))
    assert schemas[0] == schemas[1]


async def test_replicas_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    with empty_url("postgresql", tmp_path) as url:
        answers = await asyncio.gather(*(asyncio.to_thread(upgrade, url) for _ in range(5)))
    assert sorted(answers) == [False, False, False, False, True]


async def test_the_first_of_all_questions_may_come_at_once(tmp_path: Path) -> None:
    for number in range(20):
        database = Database(f"sqlite+aiosqlite:///{tmp_path}/{number}.db")
        await database.open()

        async def look(database: Database = database) -> str:
            async with database.read() as connection:
                return str(await connection.scalar(text("PRAGMA journal_mode")))

        async def write(database: Database = database) -> None:
            async with database.write() as connection:
                await connection.execute(text("UPDATE alembic_version SET version_num = version_num"))

        *modes, _ = await asyncio.gather(look(), look(), look(), write())
        await database.close()
        assert modes == ["wal"] * 3


async def test_a_service_that_may_not_migrate_says_what_is_missing(url: str) -> None:
    database = Database(url, DatabaseSettings(migrate=False))
    with pytest.raises(SchemaOutdated, match=revisions()[-1]) as refused:
        await database.open()
    assert "bindery db upgrade" in refused.value.hint
    upgrade(url)
    await database.open()
    await database.close()


def test_the_former_version_goes_on_after_an_upgrade(url: str) -> None:
    upgrade(url)
    with connected(url) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    require(url)
    assert not upgrade(url)


def test_a_wrong_login_is_told_without_the_password() -> None:
    server = postgres()
    wrong = server.url().replace(server.password, "s3cret")
    with pytest.raises(DatabaseRefused, match="password authentication failed") as refused:
        upgrade(wrong)
    assert "s3cret" not in str(refused.value)


def test_a_missing_database_is_told() -> None:
    with pytest.raises(DatabaseRefused, match='"nosuch" does not exist'):
        upgrade(postgres().url("nosuch"))


def _schema(connection: Connection) -> dict[str, object]:
    looked = inspect(connection)
    return {table: _table(connection, table) for table in looked.get_table_names()}


def _table(connection: Connection, table: str) -> tuple[object, ...]:
    looked = inspect(connection)
    columns = [
        (each["name"], _TYPES.get(str(each["type"]), str(each["type"])), each["nullable"], _default(each["default"]))
        for each in looked.get_columns(table)
    ]
    indexes = {
        (str(each["name"]), tuple(each["column_names"]), bool(each["unique"]))
        for each in looked.get_indexes(table)
        if "duplicates_constraint" not in each
    }
    uniques = {(each["name"], tuple(each["column_names"])) for each in looked.get_unique_constraints(table)}
    keys = {
        (each["name"], tuple(each["constrained_columns"]), each["referred_table"], str(each["options"]))
        for each in looked.get_foreign_keys(table)
    }
    return columns, indexes, uniques, keys, looked.get_pk_constraint(table)["constrained_columns"]


def _default(value: str | None) -> str | None:
    return None if value is None else re.sub(r"^'(.*)'(::[a-z ]+)?$", r"\1", value)
